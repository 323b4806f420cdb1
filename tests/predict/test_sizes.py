"""How many samples a run draws, and in which chunks."""

import json
import logging

import numpy as np
import pytest
from support.evaluations import with_evaluation
from support.runs import images, predict, settings


def asked(num_samples, chunk_size, **changes):
    sizes = {"data__init_args__num_samples": num_samples, "data__init_args__chunk_size": chunk_size}
    return settings(**sizes, **changes)


def chunks(tmp_path, name="run"):
    return [len(np.load(path)["index"]) for path in sorted((tmp_path / name / "chunks").glob("*.npz"))]


def test_no_more_samples_are_drawn_than_asked_for(tmp_path, capsys, caplog):
    caplog.set_level(logging.INFO)
    assert predict(tmp_path, config=asked(2, 16)) == 0
    assert chunks(tmp_path) == [2] and len(images(tmp_path)) == 2
    assert "Chunks are drawn whole" not in caplog.text

    # Extended, it goes on in its own chunks, and holds what a run of such chunks holds.
    assert predict(tmp_path, config=asked(5, 16)) == 0
    assert chunks(tmp_path) == [2, 2, 2]
    assert "goes on in chunks of 2, as it was started; data.chunk_size is 16" in caplog.text
    assert "Chunks are drawn whole: 1 more" in caplog.text
    assert predict(tmp_path, "other", asked(5, 2)) == 0
    assert np.array_equal(images(tmp_path), images(tmp_path, "other"))

    # Fewer than it holds: nothing is removed, and it says so.
    assert predict(tmp_path, config=asked(1, 16)) == 0
    assert "The run has 5 samples; data.num_samples is 1 and removes none" in caplog.text
    assert len(images(tmp_path)) == 5

    # Smaller chunks than it was started with are another run's.
    assert predict(tmp_path, config=asked(5, 1)) == 1
    assert "chunk_size: 2 → 1" in capsys.readouterr().err


def test_a_failed_start_leaves_no_size_behind(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    assert predict(tmp_path, "whole", asked(2, 16)) == 0
    manifest = json.loads((tmp_path / "whole/manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert predict(tmp_path, config=asked(3, 16)) == 0
    assert chunks(tmp_path) == [3]


@pytest.mark.parametrize("num_samples", [2, 3])
def test_chunks_whose_samples_depend_on_one_another_stay_whole(tmp_path, num_samples):
    particles = {"class_path": "ParticleGuidance", "init_args": {}}
    assert predict(tmp_path, config=asked(num_samples, 4, model__guidance=particles)) == 0
    assert chunks(tmp_path) == [4] and len(images(tmp_path)) == num_samples


@pytest.mark.parametrize("option", ["--trainer.limit_predict_batches", "--trainer.fast_dev_run"])
def test_a_run_that_lightning_ends_early_goes_on(tmp_path, spaces, capsys, option):
    assert predict(tmp_path, "run", with_evaluation(spaces), option, "1") == 0
    out = capsys.readouterr().out
    assert "ended the run early: 1 chunks are kept" in out and "AvgkNN" not in out
    assert chunks(tmp_path) == [2] and not (tmp_path / "run/samples.npz").exists()
    assert predict(tmp_path, "run", with_evaluation(spaces)) == 0
    assert len(images(tmp_path)) == 5 and "AvgkNN" in capsys.readouterr().out
