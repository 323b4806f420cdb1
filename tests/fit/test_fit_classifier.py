"""`sgm-lightning fit_classifier`, from scores to guided samples."""

import json
import os

import numpy as np
import pytest
import torch
import yaml
from support.levels import BACKBONE, FLAGS, SOURCE
from support.paths import ROOT

from sgm_lightning.classifiers import ClassifierFlags, NewClassifier, StackedClassifier, TrainedClassifier
from sgm_lightning.cli import main

pytestmark = pytest.mark.usefixtures("own_cache")
NEW = {"class_path": "NewClassifier", "init_args": {"flags": FLAGS}}


def fit(folder, classifier=NEW, **trainer):
    config = {
        "model": {
            "classifier": classifier,
            "noise_schedule": "cosine",
            "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 1e-3}},
        },
        "data": {
            "class_path": "TrainingData",
            "init_args": {
                "batch_size": 8,
                "held_out_share": 0.25,
                "source": {
                    "class_path": "MinorityLevels",
                    "init_args": {"source": SOURCE, "file": str(folder / "levels.safetensors")},
                },
            },
        },
        "average": {"decay": 0.5},
        "writer": {"save_every": 3, "keep_every": 3},
        "trainer": {"accelerator": "cpu", "max_steps": 6, "val_check_interval": 3, "log_every_n_steps": 1,
                    "enable_progress_bar": False, **trainer},
    }  # fmt: skip
    (folder / "fit.yaml").write_text(yaml.safe_dump(config))
    return main(["fit_classifier", "--config", str(folder / "fit.yaml"), "--run_dir", str(folder / "fit")])


def predict(folder, name, path, **changes):
    config = {
        "model": {
            "backbone": BACKBONE,
            "guidance": {
                "class_path": "ClassifierGuidance",
                "init_args": {
                    "classifier": {"class_path": "TrainedClassifier", "init_args": {"path": str(path)}},
                    "label": 2,
                    **changes,
                },
            },
            "spacing": 4,
            "score": {"num_draws": 1},
            "threads": 1,
        },
        "data": {"class_path": "SampleIndices", "init_args": {"num_samples": 3, "chunk_size": 3}},
        "trainer": {"accelerator": "cpu"},
    }
    (folder / "predict.yaml").write_text(yaml.safe_dump(config))
    return main(["predict", "--config", str(folder / "predict.yaml"), "--run_dir", str(folder / name)])


def drawn(folder, name):
    with np.load(folder / name / "samples.npz") as file:
        return file["arr_0"]


@pytest.mark.slow
def test_from_scores_to_samples(scored, capsys):
    tmp_path = scored
    assert fit(tmp_path) == 0
    assert list((tmp_path / "fit/tensorboard").glob("events*")) and (tmp_path / "fit/config.yaml").is_file()
    averaged, current = (
        TrainedClassifier(str(tmp_path / "fit"), weights).load().state_dict() for weights in ("auto", "current")
    )
    assert any(not torch.equal(averaged[name], current[name]) for name in current)

    assert predict(tmp_path, "guided", tmp_path / "fit", scale=50.0) == 0
    assert predict(tmp_path, "plain", tmp_path / "fit", scale=0.0) == 0
    assert not np.array_equal(drawn(tmp_path, "guided"), drawn(tmp_path, "plain"))
    assert len(json.loads((tmp_path / "guided/manifest.json").read_text())["classifiers"]) == 1
    # The same bytes in another place are the same run; other weights are another.
    (tmp_path / "moved").mkdir()
    os.rename(tmp_path / "fit/last.ckpt", tmp_path / "moved/last.ckpt")
    assert predict(tmp_path, "guided", tmp_path / "moved", scale=50.0) == 0
    content = torch.load(tmp_path / "moved/last.ckpt", weights_only=True)
    content["state_dict"]["classifier.head.3.bias"] += 1
    torch.save(content, tmp_path / "moved/last.ckpt")
    assert predict(tmp_path, "guided", tmp_path / "moved", scale=50.0) == 1
    assert "classifiers" in capsys.readouterr().err


@pytest.mark.slow
def test_a_stopped_training_ends_as_an_undisturbed_one(scored):
    """With dropout and the linear schedule."""
    assert fit(scored) == 0
    whole = TrainedClassifier(str(scored / "fit")).load().state_dict()
    os.replace(scored / "fit/step-000003.ckpt", scored / "fit/last.ckpt")
    assert fit(scored) == 0
    resumed = TrainedClassifier(str(scored / "fit")).load().state_dict()
    for name, value in whole.items():
        torch.testing.assert_close(resumed[name], value, rtol=1e-5, atol=1e-6)


def test_a_stacked_classifier_trains_its_head_alone(scored):
    flags = {**FLAGS, "image_size": 14, "in_channels": 32, "channel_mult": "1"}
    head = {"class_path": "NewClassifier", "init_args": {"flags": flags, "seed": 1}}
    assert fit(scored, {"class_path": "StackedClassifier", "init_args": {"extractor": NEW, "head": head}}, max_steps=2) == 0
    found = TrainedClassifier(str(scored / "fit")).load().state_dict()
    before = StackedClassifier(
        NewClassifier(ClassifierFlags(**FLAGS)), NewClassifier(ClassifierFlags(**flags), seed=1)
    ).load()
    for name, value in before.state_dict().items():
        assert torch.equal(found[name], value) == name.startswith("extractor."), name


@pytest.mark.slow
def test_another_classifier_is_not_resumed(scored, capsys):
    tmp_path = scored
    assert fit(tmp_path, max_steps=1) == 0
    other = yaml.safe_load((tmp_path / "fit.yaml").read_text())
    other["model"]["classifier"]["init_args"]["flags"]["channel_mult"] = "1,2"
    other["trainer"]["max_steps"] = 2
    (tmp_path / "fit.yaml").write_text(yaml.safe_dump(other))
    assert main(["fit_classifier", "--config", str(tmp_path / "fit.yaml"), "--run_dir", str(tmp_path / "fit")]) == 1
    assert "run_dir" in capsys.readouterr().err


def test_fit_names_the_command_for_classifiers(tmp_path, capsys):
    (tmp_path / "fit.yaml").write_text(yaml.safe_dump({"model": {"classifier": NEW, "noise_schedule": "cosine"}}))
    for given in (["--config", str(tmp_path / "fit.yaml")], ["--model.classifier", "NewClassifier"]):
        assert main(["fit", *given, "--run_dir", str(tmp_path / "run")]) == 1
        assert "sgm-lightning fit_classifier" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_minority_guidance_goes_over_the_default_config(tmp_path, monkeypatch):
    """Run for two samples of a short chain."""
    monkeypatch.chdir(ROOT)
    command = ["predict", "--config", "fashion_mnist", "--config", "configs/methods/minority_guidance.yaml"]
    command += ["--trainer.callbacks", "null", "--model.spacing", "4", "--data.num_samples", "2", "--data.chunk_size", "2"]
    assert main([*command, "--model.score.num_draws", "1", "--run_dir", str(tmp_path / "run")]) == 0
    with np.load(tmp_path / "run/baseline.npz") as file:
        assert not np.array_equal(file["arr_0"], drawn(tmp_path, "run"))
    guidance = json.loads((tmp_path / "run/manifest.json").read_text())["settings"]["guidance"]
    assert guidance["init_args"]["label"] == 9 and "path" not in guidance["init_args"]["classifier"]["init_args"]
