"""Evaluation while sampling: measured rows beside the chunks, and the table at the end."""

import csv
import os
import subprocess
import sys

import numpy as np
import pytest
from support.evaluations import close, metrics, run_test, with_evaluation
from support.runs import predict


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
        assert (run / f".figures/{picture}.png").stat().st_size > 2000
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


@pytest.mark.slow
def test_a_finished_run_gives_the_same_numbers(tmp_path, spaces):
    assert predict(tmp_path, "run", with_evaluation(spaces)) == 0
    run = tmp_path / "run"
    found = metrics(run)
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


@pytest.mark.xdist_group("processes")
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
