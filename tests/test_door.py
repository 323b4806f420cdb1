"""The command line from anywhere: configurations by name, files beside them, names of before, and an installed wheel."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from conftest import FASHION
from safetensors.torch import save_file
from test_cli import ROOT, settings

from sgm_lightning import DiffusersCheckpoint, SGMError
from sgm_lightning.cli import COMMANDS, main
from sgm_lightning.commands import renamed
from sgm_lightning.commands.configs import summary
from sgm_lightning.commands.parsing import command_line
from sgm_lightning.compare.drawing import network_key
from sgm_lightning.compare.settings import read_settings
from sgm_lightning.features import FashionMNISTClassifier, Reference
from sgm_lightning.files.locate import find_config, locate, looking_beside, shipped_configs, shipped_root
from sgm_lightning.predict.settings import sample_settings
from sgm_lightning.version import __version__

NAME = "checkpoints/fashion_mnist_28"
SHORT = ["--data.num_samples", "2", "--data.chunk_size", "2", "--model.spacing", "4", "--model.score.num_draws", "1"]


@pytest.fixture
def away(tmp_path, monkeypatch):
    """A working directory with nothing in it."""
    folder = tmp_path / "away"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


# Where files are.


def test_files_are_looked_for_beside_the_config_then_here_then_in_what_ships(tmp_path, away):
    beside = tmp_path / "beside"
    beside.mkdir()
    assert locate("model.pt") == "model.pt"  # nowhere: as it was given
    assert locate(NAME) == str(shipped_root() / NAME)
    for folder in (away, beside):
        (folder / "model.pt").write_text("")
        (folder / NAME).mkdir(parents=True)
    assert locate("model.pt") == "model.pt" and locate(NAME) == NAME
    with looking_beside([beside / "a.yaml"]):
        assert locate("model.pt") == str(beside / "model.pt") and locate(NAME) == str(beside / NAME)
        assert locate(str(away / "model.pt")) == str(away / "model.pt")
        with looking_beside([shipped_configs()["predict/fashion_mnist"]]):
            assert locate(NAME) == str(shipped_root() / NAME)  # beside a shipped config is what ships
            assert locate("model.pt") == str(beside / "model.pt")
        assert locate(NAME) == str(beside / NAME)
    with looking_beside([beside / "a.yaml"], typed=["model.pt"]):
        assert locate("model.pt") == "model.pt"  # what is typed means what it means to the shell
    assert locate("model.pt") == "model.pt"


def test_the_last_configs_folder_comes_first(tmp_path, away):
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.pt").write_text("")
    with looking_beside([tmp_path / "first/a.yaml", tmp_path / "second/a.yaml"]):
        assert locate("model.pt") == str(tmp_path / "second/model.pt")


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../..", "tests", "Makefile", "runs/fashion_mnist", "google/ddpm-cifar10-32"]
)
def test_what_is_no_ones_file_stays_as_it_is(away, name):
    with looking_beside([shipped_configs()["predict/fashion_mnist"], ROOT / "tests/a.yaml"]):
        assert locate(name) == name


def test_loaders_look_there(tmp_path, away):
    assert torch.equal(DiffusersCheckpoint(NAME).load().betas, DiffusersCheckpoint(str(FASHION)).load().betas)
    assert FashionMNISTClassifier().name  # its default weights ship
    assert len(Reference(file="checkpoints/fashion_mnist_features/random_half_b.safetensors").file.read_bytes()) > 1_000_000
    with pytest.raises(SGMError, match=r"no reference features at own\.safetensors"):
        Reference(file="own.safetensors").features(FashionMNISTClassifier())


def test_the_manifest_does_not_depend_on_where_a_file_is(tmp_path, away):
    save_file({"a": torch.zeros(3)}, tmp_path / "means.safetensors")
    plain = settings(model__guidance={"class_path": "LowDensityGuidance", "init_args": {"means": "means.safetensors"}})
    plain["trainer"]["precision"] = None
    nowhere = sample_settings(plain)["guidance"]["init_args"]["means"]
    assert nowhere == "means.safetensors"
    with looking_beside([tmp_path / "a.yaml"]):
        beside = sample_settings(plain)
    shutil.copy(tmp_path / "means.safetensors", away)
    assert sample_settings(plain) == beside and beside["guidance"]["init_args"]["means"] != nowhere


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


def test_a_run_beside_its_own_config(tmp_path, away):
    """Weights named relative to the configuration; the same command elsewhere goes on with the same run."""
    shutil.copytree(FASHION, tmp_path / "house/network")
    config = settings(model__backbone__init_args__path="network", data__init_args__num_samples=2)
    (tmp_path / "house/a.yaml").write_text(yaml.safe_dump(config))
    assert main(["predict", "--config", "../house/a.yaml", "--run_dir", "run"]) == 0
    assert (away / "run/samples.npz").is_file() and not (tmp_path / "house/run").exists()
    manifest = (away / "run/manifest.json").read_text()
    os.chdir(tmp_path / "house")
    assert main(["predict", "--config", "a.yaml", "--run_dir", str(away / "run")]) == 0
    assert json.loads((away / "run/manifest.json").read_text()) == json.loads(manifest)


# Configurations by name.


@pytest.mark.parametrize(
    ("name", "command", "file"),
    [
        ("fashion_mnist", "predict", "predict/fashion_mnist"),
        ("fashion_mnist.yaml", "estimate", "predict/fashion_mnist"),
        ("fashion_mnist", "fit", "fit/fashion_mnist"),
        ("predict/fashion_mnist", "fit", "predict/fashion_mnist"),
        ("configs/predict/fashion_mnist.yaml", "predict", "predict/fashion_mnist"),
        ("methods/best_of", "predict", "methods/best_of"),
        ("best_of", "predict", "methods/best_of"),
        ("fast.yaml", "estimate", "presets/fast"),
    ],
)
def test_names_of_shipped_configs(away, name, command, file):
    assert find_config(name, command) == str(ROOT / f"configs/{file}.yaml")


def test_a_file_goes_before_a_shipped_config(away):
    (away / "fashion_mnist").mkdir()
    assert find_config("fashion_mnist") == str(ROOT / "configs/predict/fashion_mnist.yaml")
    (away / "fashion_mnist.yaml").write_text("{}")
    assert find_config("fashion_mnist.yaml") == "fashion_mnist.yaml"
    assert find_config("absent") is None and find_config("best_of", "fit") is None


@pytest.mark.parametrize("option", [["--config", "fashion_mnist"], ["--config=fashion_mnist"], ["-c", "fashion_mnist"]])
@pytest.mark.parametrize("command", ["predict", "fit", "test", "convert"])
def test_every_command_takes_names(away, capsys, command, option):
    output = ["--output", "x"] if command == "convert" else []
    with pytest.raises(SystemExit) as end:
        main([command, *option, *output, "--print_config"])
    assert end.value.code == 0 and "fashion_mnist_28" in capsys.readouterr().out


def test_the_demo_from_another_folder(away):
    assert main(["predict", "--config", "fashion_mnist", "--run_dir", "run", "--trainer.callbacks", "null", *SHORT]) == 0
    assert (away / "run/samples.npz").is_file() and [path.name for path in away.iterdir()] == ["run"]


@pytest.mark.parametrize("command", ["predict", "fit", "test", "compare", "score", "features", "estimate", "convert"])
def test_an_unknown_config_is_told(away, capsys, command):
    assert main([command, "--config", "fashion"]) == 2
    error = capsys.readouterr().err.strip()
    folder = "predict" if command == "estimate" else command
    assert error.startswith("error: There is no configuration fashion: ") and "\n" not in error
    assert str(away) in error and f"{folder}/" in error and "`sgm-lightning configs`" in error


def test_yaml_itself_may_be_given(away, capsys):
    with pytest.raises(SystemExit) as end:
        main(["predict", "--config", "fashion_mnist", "--config", "{model: {score: {num_draws: 77}}}", "--print_config"])
    assert end.value.code == 0 and "num_draws: 77" in capsys.readouterr().out


def test_settings_of_a_comparison_name_configs(tmp_path, away):
    (tmp_path / "own.yaml").write_text("model: {spacing: 3}\n")
    with looking_beside([tmp_path / "compare.yaml"]):
        setting = read_settings({"a": {"configs": ["own.yaml", "presets/fast"]}})[0]
    assert setting.configs == [str(tmp_path / "own.yaml"), str(ROOT / "configs/presets/fast.yaml")]


# `sgm-lightning configs`.


def test_configs_lists_what_is_shipped(away, capsys):
    assert main(["configs"]) == 0
    lines = capsys.readouterr().out.splitlines()
    shipped = shipped_configs()
    groups = [line for line in lines if line and not line.startswith(" ")]
    assert groups == sorted({name.partition("/")[0] for name in shipped})
    assert set(groups) - {"evaluation", "methods", "presets"} < set(COMMANDS)
    assert len([line for line in lines if line.startswith("  ")]) == len(shipped) > 40
    assert any(line.split()[0] == "celeba64" and line.endswith("self-guided as released") for line in lines if line)


def test_every_config_begins_with_a_line_that_says_what_it_is():
    for name, file in shipped_configs().items():
        text = file.read_text()
        assert text.startswith("# ") and text.partition("\n")[0].endswith("."), name
        assert 20 < len(summary(text)) <= 115, name
        assert all(len(line) <= 125 for line in text.splitlines()), name


def test_configs_prints_paths_and_text(away, capsys):
    assert main(["configs", "predict/celeba64"]) == 0
    assert capsys.readouterr().out == f"{ROOT / 'configs/predict/celeba64.yaml'}\n"
    assert main(["configs", "celeba64"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        str(ROOT / f"configs/{name}/celeba64.yaml") for name in ("predict", "test")
    ]
    assert main(["configs", "best_of", "--show"]) == 0
    assert capsys.readouterr().out == (ROOT / "configs/methods/best_of.yaml").read_text()
    for wrong in (["absent"], ["a", "b"], ["--show"]):
        assert main(["configs", *wrong]) == 2
        assert capsys.readouterr().err.startswith("error: ")
    assert main(["configs", "--help"]) == 0


# Names of before.


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("sgm_lightning.data.SampleIndices", "sgm_lightning.predict.SampleIndices"),
        ("sgm_lightning.data.FolderData", "sgm_lightning.fit.FolderData"),
        ("sgm_lightning.callbacks.Evaluate", "sgm_lightning.predict.Evaluate"),
        ("sgm_lightning.guidance.Lp", "sgm_lightning.scores.Lp"),
        ("sgm_lightning.guidance.distances.Lp", "sgm_lightning.scores.Lp"),
        ("sgm_lightning.sources.MinorityLevels", "sgm_lightning.images.MinorityLevels"),
        ("sgm_lightning.training.LossSecondMoment", "sgm_lightning.fit.LossSecondMoment"),
        ("sgm_lightning.modules.SamplingModule", "sgm_lightning.predict.SamplingModule"),
    ],
)
def test_an_old_class_is_told(tmp_path, capsys, old, new):
    file = tmp_path / "a.yaml"
    file.write_text(yaml.safe_dump(settings(model__guidance__init_args__score={"distance": {"class_path": old}})))
    assert main(["predict", "--config", str(file), "--run_dir", str(tmp_path / "run")]) == 1
    assert capsys.readouterr().err == f"error: {old} is now {new}; change it in {file}.\n"
    assert main(["predict", "--config", "fashion_mnist", "--model.guidance.distance", old]) == 1
    assert capsys.readouterr().err == f"error: {old} is now {new}; change it in the command line.\n"


def test_new_classes_are_there():
    from importlib import import_module

    for old, new in renamed.CLASSES.items():
        module, _, name = new.rpartition(".")
        assert hasattr(import_module(module), name), new
        with pytest.raises((ImportError, AttributeError)):
            getattr(import_module(old.rpartition(".")[0]), old.rpartition(".")[2])


@pytest.mark.parametrize("old", sorted(renamed.CONFIGS))
def test_an_old_config_is_told(away, capsys, old):
    new = renamed.CONFIGS[old]
    assert new in shipped_configs()
    assert main([new.partition("/")[0], "--config", f"{ROOT}/configs/{old}.yaml"]) == 2
    assert f"is now configs/{new}.yaml; give `--config {new}`." in capsys.readouterr().err


def refused(command, *configs, typed=()):
    with (
        pytest.raises(SGMError) as error,
        command_line([command, *(f"--config={yaml.safe_dump(c)}" for c in configs), *typed]),
    ):
        pass
    return str(error.value)


@pytest.fixture
def rows(monkeypatch):
    monkeypatch.setitem(renamed.ARGUMENTS, ("SelfGuidance", "old_rate"), "is now `rate`")
    monkeypatch.setitem(renamed.KEYS, ("predict", "model.old_draws"), "is now `model.new_draws`")


SELF = "sgm_lightning.guidance.SelfGuidance"


def test_an_old_argument_is_told_wherever_it_is_said(rows):
    told = "SelfGuidance's `old_rate` is now `rate`; change it in "
    named = {"model": {"guidance": {"class_path": SELF}}}
    old = {"model": {"guidance": {"class_path": SELF, "init_args": {"old_rate": 1}}}}
    assert told in refused("predict", old)
    assert told in refused("predict", {"model": {"guidance": {"init_args": {"old_rate": 1}}}}, {}, named, old)
    assert told in refused("predict", named, {"model": {"guidance": {"init_args": {"old_rate": 1}}}})
    assert told in refused("predict", named, typed=["--model.guidance.init_args.old_rate", "1"])
    assert told in refused("predict", named, typed=["--model.guidance.old_rate=1"])
    assert told in refused("predict", typed=["--model.guidance", "SelfGuidance", "--model.guidance.old_rate=1"])
    assert told in refused("predict", old, {"model": {"guidance": {"class_path": "ELBOGuidance"}}})  # parsed as well
    assert told in refused("compare", {"base": {}, "settings": {"a": old}})
    assert told in refused("compare", {"base": old, "settings": [{"name": "a"}]})
    other = {"model": {"guidance": {"class_path": "elsewhere.SelfGuidance", "init_args": {"old_rate": 1}}}}
    with command_line(["predict", f"--config={yaml.safe_dump(other)}"]):
        pass


def test_an_old_key_is_told(rows):
    told = "`model.old_draws` of predict is now `model.new_draws`; change it in "
    assert told in refused("predict", {"model": {"old_draws": 1}})
    assert told in refused("estimate", {"model": {"old_draws": 1}})
    assert told + "the command line." in refused("predict", typed=["--model.old_draws", "2"])
    assert told in refused("compare", {"base": {"model": {"old_draws": 1}}})
    with command_line(["fit", "--config={model: {old_draws: 1}}"]):
        pass


# An installed wheel.


@pytest.mark.slow
def test_a_wheel_runs_the_demo_from_an_empty_folder(tmp_path, away):
    pytest.importorskip("hatchling")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    wheels, site = tmp_path / "wheels", tmp_path / "site"
    build = ["wheel", "--no-build-isolation", "--no-deps", "--wheel-dir", str(wheels), str(ROOT)]
    subprocess.run([*pip, *build], check=True, capture_output=True)
    (wheel,) = wheels.iterdir()
    assert __version__ in wheel.name and wheel.stat().st_size < 50e6
    subprocess.run([*pip, "install", "--no-deps", "--target", str(site), str(wheel)], check=True, capture_output=True)

    def installed(*args):
        env = {**os.environ, "PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"}
        return subprocess.run([sys.executable, *args], check=True, capture_output=True, text=True, env=env, cwd=away).stdout

    where = installed("-c", "import sgm_lightning; print(sgm_lightning.__file__)")
    assert Path(where.strip()).is_relative_to(site)
    shipped = installed("-m", "sgm_lightning", "configs", "predict/fashion_mnist")
    assert shipped.strip() == str(site / "sgm_lightning/shipped/configs/predict/fashion_mnist.yaml")
    installed("-m", "sgm_lightning", "predict", "--config", "fashion_mnist", "--run_dir", "run", *SHORT)
    assert json.loads((away / "run/metrics.json").read_text())["sets"]
    assert str(ROOT) not in (away / "run/config.yaml").read_text()
    for name in shipped_configs():
        assert (site / f"sgm_lightning/shipped/configs/{name}.yaml").is_file()
