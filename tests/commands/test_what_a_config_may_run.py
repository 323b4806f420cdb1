"""A configuration builds what its fields are for, and nothing else: no function and no class of anything."""

import contextlib
import copy
import random
from typing import Any

import pytest
import torch
import yaml
from jsonargparse import ArgumentParser
from support.configs import places
from support.paths import ROOT

from sgm_lightning.cli import main
from sgm_lightning.commands.parsing import command_line

CALLS = {
    "predict": ["--config", "fashion_mnist"],
    "estimate": ["--config", "fashion_mnist"],
    "fit": ["--config", "finetune_folder", "--data.root", "FOLDER"],
    "fit_classifier": ["--config", "class_classifier"],
    "fit_reader": ["--config", "emoji_reader"],
    "read": ["PICTURES"],
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
    whole = yaml.safe_load(parser.dump(parser.parse_args(args), skip_unset=False))
    mark = tmp_path / "ran"
    # Every field near the root, and some of the deeper ones, by one value each; configurations of `compare` parse slowly.
    found = list(places(whole))
    near, deep = ([path for path in found if (len(path) <= 2) is is_near] for is_near in (True, False))
    source = random.Random(0)
    for path in [*near, *source.sample(deep, min(len(deep), 10 if command == "compare" else 100))]:
        value = source.choice(list(evil(mark)))
        try:
            config = parser.parse_object(with_value(whole, path, value))
        except Exception:
            continue
        with contextlib.suppress(Exception):
            parser.instantiate(config)
        assert not mark.exists(), (command, path, value)


class Open(torch.nn.Module):
    """A class of which one field takes anything."""

    def __init__(self, anything: Any = None, names: dict[str, Any] | None = None) -> None:
        super().__init__()
        self.anything, self.names = anything, names


@pytest.mark.parametrize("field", ["anything", "names"])
def test_a_field_that_takes_anything_builds_nothing(field, tmp_path):
    """Whatever class a configuration names, here one of somebody else's; with the library's defaults it is run."""
    mark = tmp_path / "ran"
    for value in evil(mark):
        spec = {"class_path": f"{__name__}.Open", "init_args": {field: value if field == "anything" else {"a": value}}}
        parser = ArgumentParser(exit_on_error=False)
        parser.add_argument("--module", type=torch.nn.Module)
        with command_line(["show"]), contextlib.suppress(Exception):
            parser.instantiate(parser.parse_object({"module": spec}))
        assert not mark.exists(), value
