"""Evaluation end to end: while sampling, afterwards, on one process and on two."""

import csv
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
import yaml
from test_cli import predict, settings
from test_features import GRAY, RGB, save_images

from sgm_lightning.cli import main
from sgm_lightning.evaluation.statistics import holm, mean_estimate, rank_correlation, two_sided_p
from sgm_lightning.features import RandomConvolutions
from sgm_lightning.features.reference import save_reference
from sgm_lightning.images import ArrayImages

REAL = torch.randint(0, 256, (60, 1, 28, 28), generator=torch.Generator().manual_seed(5), dtype=torch.uint8)


def space(folder, seed=0, tail_from=None):
    extractor = {"class_path": "sgm_lightning.features.RandomConvolutions", "init_args": {"seed": seed}}
    file = folder / f"reference_{seed}.safetensors"
    if not file.exists():
        save_reference(file, ArrayImages(REAL, name="noise"), RandomConvolutions(seed=seed))
    return {"extractor": extractor, "reference": {"file": str(file)}, "tail_from": tail_from}


@pytest.fixture
def spaces(tmp_path):
    return {"one": space(tmp_path, 0, "other"), "other": space(tmp_path, 1, "one")}


def with_evaluation(spaces):
    callback = {"class_path": "Evaluate", "init_args": {"spaces": spaces, "kid_subset_size": 4}}
    return settings(model__baseline=True, trainer__callbacks=[callback])


def metrics(folder):
    return json.loads((folder / "metrics.json").read_text())


def close(found, expected, path=""):
    """Equal but for float32's last digits.

    A standard error, a spread of nearly equal numbers, shows more of them; so does KID, which is a difference of means of
    kernels that are all about one: its error is absolute, some 1e-7 of one.
    """
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key in expected:
            close(found[key], expected[key], f"{path}/{key}")
    elif isinstance(expected, (float, list)):
        relative, absolute = 1e-5 if "standard_error" in path else 1e-6, 1e-7 if "/kid/" in path else 1e-9
        assert found == pytest.approx(expected, rel=relative, abs=absolute), path
    else:
        assert found == expected


def test_predict_ends_with_the_table(tmp_path, spaces, capsys):
    assert predict(tmp_path, "run", with_evaluation(spaces)) == 0
    run = tmp_path / "run"
    out = capsys.readouterr().out
    table = out[out.index("ancestral (N = 5)") :]
    assert "Run folder" not in table and "AvgkNN" in table and "paired difference" in table
    found = metrics(run)
    assert set(found["sets"]) == {"ancestral", "self-guided"} and set(found["spaces"]) == {"one", "other"}
    value = found["sets"]["self-guided"]["metrics"]["one/avg_knn"]
    assert value["num_samples"] == 5 and value["k"] == 5 and value["reference"] == "noise (N = 60)"
    assert value["interval"][0] <= value["value"] <= value["interval"][1]
    assert "rarest 6 of noise in other" in found["sets"]["ancestral"]["metrics"]["one/tail_frechet"]["reference"]
    rows = list(csv.DictReader((run / "scores.csv").read_text().splitlines()))
    assert len(rows) == 5 and {"score", "nelbo", "one_avg_knn", "baseline_other_lof"} <= set(rows[0])
    mean = np.mean([float(row["one_avg_knn"]) - float(row["baseline_one_avg_knn"]) for row in rows])
    assert found["paired"]["metrics"]["one/avg_knn"]["value"] == pytest.approx(mean, rel=1e-5)
    for picture in ("histograms", "extremes", "scatter"):
        assert (run / f"{picture}.png").stat().st_size > 2000
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "tensorboard")).Reload()
    assert "one/avg_knn/self-guided" in events.Tags()["scalars"]
    assert "nelbo/ancestral" in events.Tags()["histograms"] and "scatter" in events.Tags()["images"]

    # Again: nothing is measured, nothing changes, but for one chunk whose rows are gone and one that is damaged.
    os.remove(run / "measures" / "chunk-000000.npz")
    (run / "measures" / "chunk-000001.npz").write_bytes(b"damaged")
    kept = (run / "measures" / "chunk-000002.npz").stat().st_mtime_ns
    scores = (run / "scores.csv").read_bytes()
    assert predict(tmp_path, "run", with_evaluation(spaces)) == 0
    close(metrics(run), found)
    assert (run / "scores.csv").read_bytes() == scores
    assert (run / "measures" / "chunk-000002.npz").stat().st_mtime_ns == kept

    # Asked for fewer than the run holds, all that it holds is compared.
    assert predict(tmp_path, "run", with_evaluation(spaces), "--data.num_samples", "3") == 0
    close(metrics(run), found)

    # Afterwards, by `test`: the same samples give the same numbers.
    assert run_test(tmp_path, spaces, "--data.images", str(run), "--output", str(tmp_path / "test")) == 0
    again = metrics(tmp_path / "test")["sets"]
    assert set(again) == {"baseline", "samples"}
    for key, value in found["sets"]["self-guided"]["metrics"].items():
        if key != "nelbo":  # the test has no model here
            close(again["samples"]["metrics"][key], value)
    assert (tmp_path / "test" / "scores-samples.csv").is_file()


@pytest.mark.slow
def test_ranks_that_sample_measure_too(tmp_path, spaces):
    """Two ranks draw and measure, the first one compares: the same numbers as one process finds."""
    assert predict(tmp_path, "one", with_evaluation(spaces)) == 0
    command = [sys.executable, "-m", "sgm_lightning", "predict", "--config", str(tmp_path / "one.yaml")]
    command += ["--run_dir", str(tmp_path / "two"), "--trainer.devices", "2", "--trainer.strategy", "ddp"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=300)
    assert done.returncode == 0, done.stderr
    close(metrics(tmp_path / "two"), metrics(tmp_path / "one"))
    assert (tmp_path / "two" / "scores.csv").read_bytes() == (tmp_path / "one" / "scores.csv").read_bytes()


def run_test(tmp_path, spaces, *args, **model):
    file = tmp_path / "test.yaml"
    file.write_text(yaml.safe_dump({"model": {"spaces": spaces, "kid_subset_size": 4, **model}}))
    return main(["test", "--config", str(file), "--trainer.accelerator", "cpu", *args])


MODEL = {
    "backbone": {"class_path": "DiffusersCheckpoint", "init_args": {"path": "checkpoints/fashion_mnist_28"}},
    "spacing": 4,
    # Of the four steps 0, 333, 666 and 999: at the last one ᾱ is 2.4e-9, and the last bit of an output is 3e-6 of a score.
    "score": {"level": {"ratio": 0.5}, "num_draws": 1},
}


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


# Statistics.


def test_intervals_cover_and_errors_are_right():
    source = np.random.default_rng(1)
    estimates = [mean_estimate(source.exponential(size=200), seed=n) for n in range(200)]
    covered = np.mean([estimate.low <= 1 <= estimate.high for estimate in estimates])
    assert 0.88 < covered < 0.99
    assert np.mean([estimate.standard_error for estimate in estimates]) == pytest.approx(200**-0.5, rel=0.05)
    assert two_sided_p(mean_estimate(source.normal(size=10000))) > 1e-3
    assert max(holm({"a": 0.5, "b": 0.9}).values()) == 1.0


def test_rank_correlation_equals_scipy():
    from scipy.stats import spearmanr

    source = np.random.default_rng(2)
    x = source.integers(0, 9, 100).astype(float)
    y = x + source.normal(size=100) * 3
    assert rank_correlation(x, y) == pytest.approx(spearmanr(x, y).statistic)
    common = source.normal(size=2000)
    first, second = common + 0.1 * source.normal(size=2000), common + 0.1 * source.normal(size=2000)
    assert rank_correlation(first, second) > 0.95
    assert abs(rank_correlation(first, second, common[:, None])) < 0.1  # nothing is left, given the common cause
