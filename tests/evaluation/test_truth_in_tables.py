"""Truth metrics in the table of measures: paired, with notes, in figures, and from `predict`."""

import csv
import json

import numpy as np
import pytest
import torch
from torch.utils.tensorboard import SummaryWriter

from sgm_lightning.cli import main
from sgm_lightning.compare import plot
from sgm_lightning.compare.comparison import Comparison, Row
from sgm_lightning.evaluation import Evaluation, Results, world_figure
from sgm_lightning.evaluation.figures import save_extremes, save_histograms
from sgm_lightning.evaluation.headline import headline
from sgm_lightning.evaluation.output import write_evaluation
from sgm_lightning.evaluation.per_image import READING
from sgm_lightning.evaluation.report import Report
from sgm_lightning.images import EmojiWorld
from sgm_lightning.world import EmojiReader, Reading


@pytest.fixture(scope="module")
def reader():
    return EmojiReader(unreality=False)


def results(reader, images, readable):
    probabilities = torch.where(torch.as_tensor(readable), 0.99, 0.3)[:, None].expand(-1, 4)
    unknown = torch.full((len(images),), torch.nan, dtype=torch.float64)
    evaluation = Evaluation({}, synchronise=False, reader=reader)
    evaluation.update(
        {READING: Reading(torch.from_numpy(images.factors), probabilities, unknown).rows}, torch.arange(len(images))
    )
    return evaluation.compute()


def test_pairs_of_which_one_is_unreadable_have_no_difference(reader):
    first, second = EmojiWorld("test", seed=1, count=40), EmojiWorld("test", seed=2, count=40)
    one, other = np.arange(40) % 4 > 0, np.arange(40) % 5 > 0
    report = Report({"a": results(reader, first, one), "b": results(reader, second, other)}, ("a", "b"))
    found = report.differences["world/true_rarity"]
    both = one & other
    assert found.num_samples == both.sum()
    assert found.value == pytest.approx((second.rarity - first.rarity)[both].mean())
    value = report.sets["a"].values["world/true_rarity"]
    assert value.value == pytest.approx(first.rarity[one].mean()) and value.num_samples == one.sum()
    assert report.sets["a"].values["world/unreadable"].value == pytest.approx(0.25)
    assert report.sets["a"].values["world/unreality"].value is None
    text = report.table()
    assert "true rarity (nats)" in text and "[world]" in text
    assert "– unreality (grey levels), world: no sample has a value" in text


@pytest.mark.parametrize("readable", [0, 1, 9])
def test_figures_show_what_has_a_value(tmp_path, reader, readable, recwarn):
    images = EmojiWorld("test", seed=3, count=9)
    found = results(reader, images, np.arange(9) < readable)
    assert (found.values["world/shares_object"].value is None) == (readable == 0)
    assert readable or "can be read" in found.values["world/shares_object"].note
    save_histograms(tmp_path / "histograms.png", {"a": found})
    shown = []

    def read(indices):
        shown.extend(indices)
        return images.read(indices)

    if readable:
        save_extremes(tmp_path / "extremes.png", {"a": (found, read)}, "world/true_rarity", 4)
        assert set(shown) <= set(range(readable))
    write_evaluation(tmp_path, Report({"a": found}), {"a": images.read}, SummaryWriter(str(tmp_path / "events")))
    assert (tmp_path / "side_by_side.png").is_file()
    assert not [warning for warning in recwarn if "NaN" in str(warning.message)]


def test_the_first_lines_are_sentences_of_the_method_and_the_ordinary_samples(reader):
    first, second = EmojiWorld("test", seed=1, count=40), EmojiWorld("test", seed=2, count=40)
    report = Report(
        {"plain": results(reader, first, np.arange(40) > 3), "best": results(reader, second, np.arange(40) >= 0)}
    )
    assert headline(report)[2] == "Share that cannot be read: 0.100 ± 0.048 (plain), 0.000 ± 0.000 (best)."
    report = Report(report.sets, ("plain", "best"))
    told = headline(report)
    assert [line.partition(":")[0] for line in told][:2] == [
        "Mean true rarity in nats",
        "Share among the world's rarest tenth",
    ]
    assert told[2] == "Share that cannot be read: 0.000 ± 0.000 with best, 0.100 ± 0.048 without."
    assert headline(Report({"other": Results(np.arange(3))})) == []


def test_pictures_stand_side_by_side_the_rarest_first_and_what_is_unreadable_last(tmp_path, reader, monkeypatch):
    images = EmojiWorld("test", seed=1, count=20)
    found = results(reader, images, np.arange(20) > 2)
    drawn = {}
    monkeypatch.setattr(world_figure, "save_contact_sheet", lambda path, blocks, *_, **__: drawn.update(blocks=blocks))
    world_figure.save_side_by_side(tmp_path / "a.png", {"plain": (found, images.read)}, count=10)
    ((title, pictures, captions),) = drawn["blocks"]
    order = sorted(range(3, 10), key=lambda i: -images.rarity[i])
    np.testing.assert_array_equal(pictures[:7], images.read(order).permute(0, 2, 3, 1).numpy())
    assert captions[7:] == ["cannot be read"] * 3 and "3 of 10 cannot be read" in title
    for row, text in zip(order, captions, strict=False):
        thing, turn, *_ = images.captions([row])[0].split(", ")
        assert text.startswith(thing) and (turn in text) == (turn == "upside down")


def test_the_plot_of_a_comparison_shows_what_is_more_real_to_the_right(tmp_path, reader, monkeypatch):
    images = EmojiWorld("test", seed=1, count=20)
    rows = {f"row {n}": Row(results(reader, images, np.arange(20) >= n), True) for n in (2, 6)}
    figures = []
    monkeypatch.setattr(plot, "save_figure", lambda path, figure: figures.append(figure))
    plot.save_plot(tmp_path / "a.png", Comparison(rows, "row 2", "world/true_rarity", "world/unreadable"))
    axes = figures[0].axes[0]
    markers = {round(line.get_xdata()[0], 3): axes.transData.transform(line.get_xydata()[0])[0] for line in axes.lines}
    assert markers[0.1] > markers[0.3]
    assert all(np.isfinite(line.get_ydata()).all() for line in axes.lines)


@pytest.mark.slow
def test_predict_and_test_say_the_same(tmp_path, capsys):
    """The colour network's samples, measured while they are drawn and afterwards."""
    small = ["--data.num_samples", "4", "--data.chunk_size", "4", "--model.spacing", "4", "--model.baseline", "false"]
    assert main(["predict", "--config", "emoji_world", "--run_dir", str(tmp_path / "run"), *small]) == 0
    drawn = json.loads((tmp_path / "run/metrics.json").read_text())
    (first,) = drawn["sets"].values()
    with open(tmp_path / "run/scores.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4 and {"world_true_rarity", "world_unreadable", "world_unreality"} <= set(rows[0])
    settings = f"""
model:
  reader: {{class_path: sgm_lightning.world.EmojiReader}}
data:
  images: {tmp_path / "run"}
output: {tmp_path / "again"}
"""
    (tmp_path / "test.yaml").write_text(settings)
    assert main(["test", "--config", str(tmp_path / "test.yaml")]) == 0
    (second,) = json.loads((tmp_path / "again/metrics.json").read_text())["sets"].values()
    names = [name for name in first["metrics"] if name.startswith("world/")]
    assert len(names) >= 8
    for name in names:
        assert second["metrics"][name]["value"] == pytest.approx(first["metrics"][name]["value"], abs=1e-3), name
    capsys.readouterr()


def test_evaluate_needs_something(tmp_path):
    from sgm_lightning.errors import SGMError
    from sgm_lightning.predict.evaluate import Evaluate

    with pytest.raises(SGMError, match=r"no `spaces` and no `reader`"):
        Evaluate()
