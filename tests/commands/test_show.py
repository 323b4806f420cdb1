"""`sgm-lightning show` on a run that was written through the run folder's own interface."""

import matplotlib.image
import numpy as np
import pytest

from sgm_lightning.cli import main
from sgm_lightning.run import RunDir

SCORES = np.array([1.5, 9.25, np.nan, 3.0, 7.5], dtype=np.float32)


@pytest.fixture
def run(tmp_path):
    run = RunDir(tmp_path / "run")
    run.open({"seed": 0})
    images = np.stack([np.full((8, 8, 3), 50 * number, dtype=np.uint8) for number in range(5)])
    run.write_chunk(0, images=images, index=np.arange(5), score=SCORES)
    run.merge(5, 1)
    return run


def rows(text, title):
    lines = text[text.index(title) :].splitlines()[3:]
    return [line.split() for line in lines[: lines.index("")]]


def test_the_rarest_first_and_the_commonest(run, capsys):
    assert main(["show", str(run.path), "--rarest", "2", "--commonest", "1"]) == 0
    out = capsys.readouterr().out
    assert rows(out, "2 of 4 samples with the highest score") == [["1", "9.25"], ["4", "7.5"]]
    assert rows(out, "1 of 4 samples with the lowest score") == [["0", "1.5"]]
    picture = matplotlib.image.imread(run.figures / "shown.png")[..., :3]
    shades, counts = np.unique((picture[..., 0] * 255).round(), return_counts=True)
    large = set(shades[counts > 10_000])  # an image has 37,000 pixels of one shade, the letters have few
    assert large == {50, 200, 0, 255}  # samples 1, 4 and 0, and the ground


def test_any_column(run, tmp_path, capsys):
    run.add_scores({"far": np.array([1.0, 2.0, 9.0, 0.0, 3.0])})
    file = tmp_path / "far.png"
    assert main(["show", str(run.path), "--rarest", "1", "--by", "far", "--output", str(file)]) == 0
    assert rows(capsys.readouterr().out, "1 of 5 samples with the highest far") == [["2", "9", "nan"]]
    assert file.is_file() and not (run.figures / "shown.png").exists()


def test_the_table_is_as_wide_as_a_terminal(run, capsys):
    run.add_scores({f"measure_{number}": np.arange(5.0) for number in range(20)})
    assert main(["show", str(run.path), "--rarest", "1", "--by", "measure_19"]) == 0
    header = capsys.readouterr().out.splitlines()[2]
    assert header.split()[:3] == ["index", "measure_19", "score"] and 60 < len(header) <= 100


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--by", "beauty"], "--by must be one of score"),
        (["--rarest", "0"], "one of them ≥ 1, got 0 and 0"),
        (["--rarest", "-1"], "must be ≥ 0"),
    ],
)
def test_refusals(run, capsys, options, told):
    assert main(["show", str(run.path), *options]) == 1
    assert told in capsys.readouterr().err


def test_an_unfinished_run_is_refused(tmp_path, capsys):
    assert main(["show", str(tmp_path)]) == 1
    assert "holds no finished run" in capsys.readouterr().err


def test_a_sample_is_shown_at_one_end_alone(run, capsys):
    assert main(["show", str(run.path), "--rarest", "3", "--commonest", "3"]) == 0
    out = capsys.readouterr().out
    assert "4 samples are fewer than 3 and 3 together" in out
    assert rows(out, "2 of 4 samples with the highest score") == [["1", "9.25"], ["4", "7.5"]]
    assert rows(out, "2 of 4 samples with the lowest score") == [["0", "1.5"], ["3", "3"]]
