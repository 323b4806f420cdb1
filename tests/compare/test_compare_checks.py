"""What `compare` refuses, at once and not after hours; and what it holds in memory meanwhile."""

import gc
import json
import weakref

import numpy as np
import pytest
import torch
from jsonargparse import ArgumentParser
from support.classifiers import FLAGS
from support.comparisons import FREE, command, comparison
from support.configs import of
from support.goldens import DIFFUSION
from support.networks import small_model
from support.paths import ROOT
from support.runs import times

from sgm_lightning import DiffusersCheckpoint, save_diffusers
from sgm_lightning.classifiers import ClassifierFlags, NewClassifier, save_classifier
from sgm_lightning.cli import main
from sgm_lightning.compare.drawing import Networks, Planned, network_key, plan
from sgm_lightning.compare.settings import read_base, read_settings
from sgm_lightning.compare.timing import seconds_per_image
from sgm_lightning.evaluation import Evaluation
from sgm_lightning.evaluation.format import finite
from sgm_lightning.evaluation.module import EvaluationModule
from sgm_lightning.files.locate import looking_beside
from sgm_lightning.predict import SamplingModule
from sgm_lightning.run import RunDir


def drawn(folder):
    return [path for path in folder.rglob("*") if path.name in ("manifest.json", "config.yaml", "chunks")]


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("primary", "one/avg_kn", "got one/avg_kn"),
        ("realism", "other/recall", "got other/recall"),  # of a set, of no sample
        ("reference", "ancestrl", "got ancestrl"),
        ("grid_images", 0, "grid_images"),
        ("anchors", {"noisy": of("sgm_lightning.compare.Degraded", of="ancestrl", noise=16)}, "Degraded.of"),
        ("settings", {"ancestral": {}, "Annealed": {"model": {"sampler": of("CADS")}}}, "Setting Annealed: CADS"),
        (
            "settings",
            {"ancestral": {}, "Steep": {"model": {"guidance": of("SelfGuidance", window={"interval": 0})}}},
            "Setting Steep",
        ),
    ],
)
def test_mistakes_are_told_before_anything_is_drawn(tmp_path, capsys, key, value, told):
    assert main(command(tmp_path, {**comparison(tmp_path), key: value})) == 1
    assert told in capsys.readouterr().err
    assert not drawn(tmp_path / "compare")


def test_an_anchor_must_name_a_space_and_fit_the_model(tmp_path, capsys):
    config = comparison(tmp_path)
    real = config["anchors"]["real"]
    config["anchors"]["rare"] = of("sgm_lightning.compare.RareImages", source=real, space="tow", count=2)
    assert main(command(tmp_path, config)) == 1
    assert "RareImages.space" in capsys.readouterr().err
    np.savez(tmp_path / "large.npz", np.zeros((6, 32, 32, 1), np.uint8))
    config["anchors"] = {"large": of("NpzImages", path=str(tmp_path / "large.npz"))}
    assert main(command(tmp_path, config)) == 1
    assert "in large" in capsys.readouterr().err
    assert not drawn(tmp_path / "compare")


def test_a_primary_endpoint_is_what_every_sample_has(tmp_path):
    """The names that are known beforehand are those that are measured."""
    parser = ArgumentParser()
    parser.add_class_arguments(EvaluationModule, "evaluation")
    found = parser.parse_object({"evaluation": comparison(tmp_path)["evaluation"]})
    module = parser.instantiate_classes(found).evaluation
    evaluation = Evaluation(module.spaces, False, 4)
    rows = {f"features/{name}": space.real.features[:6] for name, space in module.spaces.items()}
    evaluation.update({**rows, "minority_score": torch.ones(6), "nelbo": torch.ones(6)}, torch.arange(6))
    assert set(module.per_sample_names()) == set(evaluation.compute().per_sample)


@pytest.mark.slow
def test_finished_is_what_predict_would_not_touch(tmp_path, capsys, monkeypatch):
    """A classifier trained anew at the same path is another method; another way to run the same is not."""
    file = tmp_path / "classifier.safetensors"

    def train(seed):
        save_classifier(NewClassifier(ClassifierFlags(**FLAGS), seed=seed).load(), file)

    train(0)
    guided = {"guidance": of("ClassifierGuidance", classifier=of("TrainedClassifier", path=str(file)), label=1)}
    config = comparison(tmp_path, 2, ancestral={}, guided={"model": guided})
    line = command(tmp_path, config)
    assert main(line) == 0
    before = {name: times(tmp_path / "compare" / name) for name in ("ancestral", "guided")}
    config["base"]["trainer"] = {"accelerator": "cpu", "log_every_n_steps": 7}
    monkeypatch.setattr(Planned, "draw", lambda self: pytest.fail(f"{self.setting.name} is drawn"))
    assert main(command(tmp_path, config)) == 0
    assert capsys.readouterr().out.count(": finished") == 2
    train(1)
    assert main(line) == 1
    error = capsys.readouterr().err
    assert "Setting guided" in error and "classifiers" in error
    assert {name: times(tmp_path / "compare" / name) for name in before} == before


def test_one_network_at_a_time():
    networks = Networks()
    module = SamplingModule(DiffusersCheckpoint(small_model()))
    first = networks.load(module, "a")
    assert networks.load(module, "a") is first
    gone = weakref.ref(first)
    del first
    networks.load(module, "b")
    gc.collect()
    assert gone() is None


def test_plans_hold_no_network(tmp_path, monkeypatch):
    """Ten settings of a large model need the memory of one; equal ones are read once."""
    networks_made, modules_made = [], []

    def noting(function, made, of):
        def noted(self, *args):
            result = function(self, *args)
            made.append(weakref.ref(of(self, result)))
            return result

        return noted

    load = noting(DiffusersCheckpoint.load, networks_made, lambda _, backbone: backbone.network)
    monkeypatch.setattr(DiffusersCheckpoint, "load", load)
    prepare = noting(SamplingModule.prepare, modules_made, lambda module, _: module)
    monkeypatch.setattr(SamplingModule, "prepare", prepare)
    config = comparison(tmp_path, **{"a": {}, "b": {"model": {"guidance": FREE}}, "c": {"model": {"spacing": 3}}})
    networks, base = Networks(), read_base(config["base"])
    planned = [plan(base, setting, tmp_path, networks) for setting in read_settings(config["settings"])]
    networks.forget()
    gc.collect()
    assert len(planned) == 3 and len(networks_made) == 1 and networks_made[0]() is None
    assert sum(made() is not None for made in modules_made) <= 1  # with classifiers and the like; the parser holds the last


def timed_run(folder, threads):
    folder.mkdir()
    (folder / "manifest.json").write_text(json.dumps({"threads": threads}))
    return RunDir(folder)


def test_times_are_taken_with_the_threads_of_the_run(tmp_path, monkeypatch):
    seen = []
    module = SamplingModule(DiffusersCheckpoint(small_model()), spacing=2)
    real = module.sampler.forward
    monkeypatch.setattr(module.sampler, "forward", lambda *args: (seen.append(torch.get_num_threads()), real(*args))[1])
    threads = torch.get_num_threads()
    run = timed_run(tmp_path / "run", threads + 1)
    seconds = seconds_per_image(module, run, 1, torch.device("cpu"))
    assert seconds > 0 and seen == [threads + 1] * 2 and torch.get_num_threads() == threads
    assert seconds_per_image(module, run, 1, torch.device("cpu")) == seconds and len(seen) == 2


def test_an_upsampler_is_not_timed_and_json_stays_json(tmp_path, golden_backbone):
    save_diffusers(golden_backbone("adm_upsampler", DIFFUSION), tmp_path / "model")
    module = SamplingModule(DiffusersCheckpoint(str(tmp_path / "model")))
    assert seconds_per_image(module, timed_run(tmp_path / "run", 1), 1, torch.device("cpu")) is None
    assert not (tmp_path / "run/timed.json").exists()
    holes = {"a": [1.0, float("nan")], "b": (float("inf"),)}
    assert json.dumps(finite(holes), allow_nan=False) == '{"a": [1.0, null], "b": [null]}'


def test_two_networks_of_one_name_are_two(tmp_path, away):
    """Settings of a comparison share a network by its name, which two configurations may use of two files."""

    class Parsed:
        def __init__(self, path):
            self.config = {"predict": {"model": {"backbone": {"init_args": {"path": "model"}}}}}
            self.model = type("Model", (), {"backbone": DiffusersCheckpoint(path)})

    for name in ("first", "second"):
        (tmp_path / name / "model").mkdir(parents=True)
    keys = []
    for name in ("first", "second", "second"):
        with looking_beside([tmp_path / name / "a.yaml"]):
            keys.append(network_key(Parsed("model")))
    assert keys[0] != keys[1] == keys[2]


def test_settings_of_a_comparison_name_configs(tmp_path, away):
    (tmp_path / "own.yaml").write_text("model: {spacing: 3}\n")
    with looking_beside([tmp_path / "compare.yaml"]):
        setting = read_settings({"a": {"configs": ["own.yaml", "presets/fast"]}})[0]
    assert setting.configs == [str(tmp_path / "own.yaml"), str(ROOT / "configs/presets/fast.yaml")]
