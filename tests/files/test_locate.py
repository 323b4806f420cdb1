"""Files that a configuration names: beside it, here, or in what ships."""

import json
import os
import shutil

import pytest
import torch
import yaml
from support.paths import FASHION, ROOT
from support.runs import settings

from sgm_lightning import DiffusersCheckpoint, SGMError
from sgm_lightning.cli import main
from sgm_lightning.features import FashionMNISTClassifier, Reference
from sgm_lightning.files.locate import find_config, locate, looking_beside, shipped_configs, shipped_root

NAME = "checkpoints/fashion_mnist_28"


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
