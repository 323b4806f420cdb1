"""A configuration builds what its fields are for, and nothing else: no function and no class of anything."""

import contextlib
import copy

import pytest
import yaml
from jsonargparse import ArgumentParser
from support.paths import ROOT

from sgm_lightning.cli import main

CALLS = {
    "predict": ["--config", "fashion_mnist"],
    "estimate": ["--config", "fashion_mnist"],
    "fit": ["--config", "finetune_folder", "--data.root", "FOLDER"],
    "fit_classifier": ["--config", "class_classifier"],
    "test": ["--config", "fashion_mnist", "--data.images", "IMAGES"],
    "compare": ["--config", "fashion_mnist", "--output", "OUT"],
    "score": ["--config", "fashion_mnist", "--output", "OUT.safetensors"],
    "features": ["--config", "class_means", "--output", "OUT.safetensors"],
    "convert": ["--config", "fashion_mnist", "--output", "OUT"],
    "show": ["RUN"],
}


class Caught(BaseException):
    pass


@pytest.fixture
def parser_of(monkeypatch):
    """The parser of a command, with the arguments it is given."""

    def find(command):
        def parse_args(self, args=None, *_, **__):
            raise Caught(self, args)

        with monkeypatch.context() as patch:
            patch.setattr(ArgumentParser, "parse_args", parse_args)
            with pytest.raises(Caught) as caught:
                main([command, *CALLS[command]])
        return caught.value.args

    return find


def evil(mark):
    touch = f"touch {mark}"
    yield {"class_path": "os.system", "init_args": {"command": touch}}
    yield {"class_path": "subprocess.Popen", "init_args": {"args": ["touch", str(mark)]}}
    yield {"class_path": "subprocess.check_output", "dict_kwargs": {"args": ["touch", str(mark)]}}


def places(tree, path=()):
    """Every place of a tree of dictionaries and lists: leaves and branches."""
    for key in tree if isinstance(tree, dict) else range(len(tree)):
        yield (*path, key)
        if isinstance(tree[key], (dict, list)):
            yield from places(tree[key], (*path, key))


def with_value(tree, path, value):
    tree = copy.deepcopy(tree)
    inside = tree
    for key in path[:-1]:
        inside = inside[key]
    inside[path[-1]] = value
    return tree


@pytest.mark.slow
@pytest.mark.parametrize("command", CALLS)
def test_no_field_runs_what_it_is_not_for(command, parser_of, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    parser, args = parser_of(command)
    whole = yaml.safe_load(parser.dump(parser.parse_args(args), skip_none=False))
    mark = tmp_path / "ran"
    tried = accepted = 0
    for path in places(whole):
        for value in evil(mark):
            tried += 1
            try:
                config = parser.parse_object(with_value(whole, path, value))
            except Exception:
                continue
            accepted += 1
            with contextlib.suppress(Exception):
                parser.instantiate(config)
            assert not mark.exists(), (command, path, value)
    print(command, tried, accepted)
