"""Evaluation by `sgm-lightning test`, on one process and on two."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from support.evaluations import close, metrics, run_test
from support.pictures import GRAY, REAL, RGB, save_images

MODEL = {
    "backbone": {"class_path": "DiffusersCheckpoint", "init_args": {"path": "checkpoints/fashion_mnist_28"}},
    "spacing": 4,
    # Of the four steps 0, 333, 666 and 999: at the last one ᾱ is 2.4e-9, and the last bit of an output is 3e-6 of a score.
    "score": {"level": {"ratio": 0.5}, "num_draws": 1},
}


@pytest.mark.xdist_group("processes")
@pytest.mark.slow
def test_two_processes_and_any_batch_size(tmp_path, spaces):
    np.savez(tmp_path / "images.npz", arr_0=GRAY[:7].permute(0, 2, 3, 1).numpy())
    images = ["--data.images", str(tmp_path / "images.npz")]
    assert run_test(tmp_path, spaces, *images, "--output", str(tmp_path / "one"), **MODEL) == 0
    batches = ["--data.batch_size", "3", "--output", str(tmp_path / "batches")]
    assert run_test(tmp_path, spaces, *images, *batches, **MODEL) == 0
    found = metrics(tmp_path / "one")
    assert found["sets"]["images"]["metrics"]["minority_score"]["value"] > 0
    close(metrics(tmp_path / "batches"), found)
    command = [sys.executable, "-m", "sgm_lightning", "test", "--config", str(tmp_path / "test.yaml"), *images]
    command += ["--trainer.accelerator", "cpu", "--trainer.devices", "2", "--trainer.strategy", "ddp"]
    command += ["--data.batch_size", "2", "--output", str(tmp_path / "two")]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=300)
    assert done.returncode == 0, done.stderr
    close(metrics(tmp_path / "two"), found)


def test_identical_sets(tmp_path, spaces):
    save_images(tmp_path / "real", REAL)
    assert run_test(tmp_path, spaces, "--data.images", str(tmp_path / "real"), "--output", str(tmp_path / "out")) == 0
    found = metrics(tmp_path / "out")["sets"]["real"]["metrics"]
    assert abs(found["one/frechet"]["value"]) < 1e-3
    assert found["one/precision"]["value"] == found["one/recall"]["value"] == 1


@pytest.mark.parametrize(
    ("spoil", "word"),
    [
        (lambda folder, s: save_images(folder / "set", RGB), "takes grayscale images of 1 channel"),
        (lambda folder, s: (folder / "set").mkdir(), "holds no images"),
        (lambda folder, s: save_images(folder / "set", [GRAY[0], GRAY[1, :, 2:]]), "must have one size"),
        (lambda folder, s: s["one"].update(tail_from="one"), "chosen in another space"),
        (lambda folder, s: s["one"].update(tail_from="none"), "chosen in another space"),
        (lambda folder, s: s["one"].update(reference=s["other"]["reference"]), "another extractor or other weights"),
        (lambda folder, s: s["one"].update(training=s["one"]["reference"]), "both `training` and `held_out`"),
    ],
)
def test_bad_input(tmp_path, spaces, capsys, spoil, word):
    spoil(tmp_path, spaces)
    if not (tmp_path / "set").exists():
        save_images(tmp_path / "set", GRAY)
    assert run_test(tmp_path, spaces, "--data.images", str(tmp_path / "set"), "--output", str(tmp_path / "out")) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ") and word in error
    assert not (tmp_path / "out").exists()


def test_a_model_that_does_not_fit(tmp_path, spaces, capsys):
    save_images(tmp_path / "set", GRAY[:, :, 2:])
    assert run_test(tmp_path, {}, "--data.images", str(tmp_path / "set"), **MODEL) == 1
    assert "judges images of shape (1, 28, 28), got (1, 26, 28)" in capsys.readouterr().err
    shutil.rmtree(tmp_path / "set")
    assert run_test(tmp_path, {}, "--data.images", str(tmp_path / "set")) == 1
    assert "nothing to evaluate" in capsys.readouterr().err
