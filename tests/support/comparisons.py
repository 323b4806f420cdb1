"""Tiny comparisons of two settings and two anchors, and their numbers."""

import json

import numpy as np
import torch
import yaml

from support.evaluations import space
from support.pictures import REAL
from support.runs import environment, settings

FREE = {
    "class_path": "sgm_lightning.guidance.SelfGuidance",
    "init_args": {"scale": 1.0, "window": {"interval": 2}, "gradient": "jacobian_free"},
}


def comparison(folder, num_samples=4, **methods):
    """Two settings, or others, and two anchors, in two spaces of random convolutions."""
    plain = settings(data__init_args__num_samples=num_samples, data__init_args__seed=0, model__guidance=None)
    np.savez(folder / "real.npz", REAL[:6].permute(0, 2, 3, 1).numpy())
    return {
        "base": {key: plain[key] for key in ("model", "data", "trainer")},
        "settings": methods or {"ancestral": None, "Self-guided, free": {"model": {"guidance": FREE}}},
        "anchors": {
            "real": {"class_path": "NpzImages", "init_args": {"path": str(folder / "real.npz")}},
            "noisy": {"class_path": "sgm_lightning.compare.Degraded", "init_args": {"of": "ancestral", "noise": 16}},
        },
        "reference": "ancestral",
        "primary": "one/avg_knn",
        "realism": "other/density",
        "evaluation": {
            "backbone": plain["model"]["backbone"],
            "spacing": 4,
            "score": {"num_draws": 1},
            "kid_subset_size": 4,
            "spaces": {"one": space(folder, 0, "other"), "other": space(folder, 1, "one")},
        },
    }


def command(folder, config, output="compare"):
    file = folder / "compare.yaml"
    file.write_text(yaml.safe_dump(config, sort_keys=False))
    return ["compare", "--config", str(file), "--output", str(folder / output)]


def numbers(output):
    found = json.loads((output / "table.json").read_text())
    del found["config"]  # of the reference: names its folder
    return found


def subprocess_environment(folder):
    """As many threads as here: they decide a measure's last digits."""
    return environment(SGM_CACHE=str(folder / "cache"), OMP_NUM_THREADS=str(torch.get_num_threads()))
