"""Tiny runs of `sgm-lightning predict` with a small network, and what they leave."""

import os

import numpy as np
import yaml

from sgm_lightning.cli import main
from support.configs import changed
from support.networks import small_model
from support.paths import ROOT

# A run of two samples of a short chain, of any configuration.
SHORT = ["--data.num_samples", "2", "--data.chunk_size", "2", "--model.spacing", "4", "--model.score.num_draws", "1"]


def settings(**changes):
    config = {
        "model": {
            "backbone": {
                "class_path": "sgm_lightning.backbones.DiffusersCheckpoint",
                "init_args": {"path": small_model()},
            },
            "guidance": {
                "class_path": "sgm_lightning.guidance.SelfGuidance",
                "init_args": {"scale": 1.0, "window": {"interval": 2}},
            },
            "spacing": 4,
            "score": {"num_draws": 1},
            "threads": 1,
        },
        "data": {
            "class_path": "sgm_lightning.predict.SampleIndices",
            "init_args": {"num_samples": 5, "chunk_size": 2},
        },
        "trainer": {"accelerator": "cpu"},
    }
    return changed(config, changes)


def predict(tmp_path, name="run", config=None, *args, config_folder=None):
    file = (config_folder or tmp_path) / f"{name}.yaml"
    file.write_text(yaml.safe_dump(config or settings()))
    return main(["predict", "--config", str(file), "--run_dir", str(tmp_path / name), *args])


def images(tmp_path, name="run"):
    with np.load(tmp_path / name / "samples.npz") as file:
        return file["arr_0"]


def times(folder):
    """When each file was written last."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def environment(**more):
    """Of a process of its own that runs this checkout."""
    return {**os.environ, "PYTHONPATH": str(ROOT), **more}
