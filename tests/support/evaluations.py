"""Evaluations in spaces of random convolutions, and their numbers."""

import json

import pytest
import yaml

from sgm_lightning.cli import main
from sgm_lightning.features import RandomConvolutions
from sgm_lightning.features.reference import save_reference
from sgm_lightning.images import ArrayImages
from support.pictures import REAL
from support.runs import settings


def space(folder, seed=0, tail_from=None):
    extractor = {"class_path": "sgm_lightning.features.RandomConvolutions", "init_args": {"seed": seed}}
    file = folder / f"reference_{seed}.safetensors"
    if not file.exists():
        save_reference(file, ArrayImages(REAL, name="noise"), RandomConvolutions(seed=seed))
    return {"extractor": extractor, "reference": {"file": str(file)}, "tail_from": tail_from}


def with_evaluation(spaces):
    callback = {"class_path": "Evaluate", "init_args": {"spaces": spaces, "kid_subset_size": 4}}
    strong = {"model__guidance__init_args__scale": 50.0}  # so that the pairs differ by more than the digits of a file
    return settings(model__baseline=True, trainer__callbacks=[callback], **strong)


def metrics(folder):
    return json.loads((folder / "metrics.json").read_text())


def close(found, expected, path=""):
    """Equal but for float32's last digits.

    A standard error, a spread of nearly equal numbers, shows more of them, and so does the end of an interval of seven
    values, which is nearly one of them and not their mean. So does KID, which is a difference of means of kernels that are
    all about one: its error is absolute, some 1e-7 of one.
    """
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key in expected:
            close(found[key], expected[key], f"{path}/{key}")
    elif isinstance(expected, (float, list)):
        single = "standard_error" in path or "interval" in path
        relative, absolute = 1e-5 if single else 1e-6, 1e-7 if "/kid/" in path else 1e-9
        assert found == pytest.approx(expected, rel=relative, abs=absolute), (path, found, expected)
    else:
        assert found == expected


def run_test(tmp_path, spaces, *args, **model):
    file = tmp_path / "test.yaml"
    file.write_text(yaml.safe_dump({"model": {"spaces": spaces, "kid_subset_size": 4, **model}}))
    return main(["test", "--config", str(file), "--trainer.accelerator", "cpu", *args])
