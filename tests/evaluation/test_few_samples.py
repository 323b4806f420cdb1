"""Few samples, or few real images: every number is right, has a caution beside it, or is absent with the reason."""

import math
import re
from functools import cache

import numpy as np
import pytest
import torch
from support.cases import some
from support.evaluations import metrics, run_test, space, with_evaluation
from support.pictures import GRAY, save_images
from support.runs import predict

from sgm_lightning.evaluation import Evaluation, Report
from sgm_lightning.evaluation.cautions import caution
from sgm_lightning.evaluation.figures import save_extremes, save_histograms, save_scatter
from sgm_lightning.evaluation.format import difference, fixed, with_error
from sgm_lightning.evaluation.loaded_space import LoadedSpace
from sgm_lightning.evaluation.measures import column_names
from sgm_lightning.evaluation.per_image import FEATURES
from sgm_lightning.evaluation.statistics import mean_estimate, two_sided_p
from sgm_lightning.metrics import RealFeatures
from sgm_lightning.metrics.frechet import frechet_distance, moments

DIMENSIONS, SUBSET = 4, 4


def loaded(real=60, share=0.1):
    features, elsewhere = (torch.randn(real, DIMENSIONS, generator=torch.Generator().manual_seed(n)) for n in (0, 1))
    whole = RealFeatures(features)
    text = {
        "reference": {"name": "noise", "num_samples": real},
        "tail": {"num_samples": whole.tail_size(share), "chosen_in": "elsewhere"},
    }
    return LoadedSpace(torch.nn.Identity(), whole, text, tail_from=RealFeatures(elsewhere), tail_share=share)


@cache
def results(count, real=60, shift=0.0, subset=SUBSET):
    """Of a set of samples that have a score and a bound, too."""
    source = torch.Generator().manual_seed(2)
    rows = {FEATURES + "one": torch.randn(count, DIMENSIONS, generator=source) + shift}
    rows |= {name: torch.rand(count, generator=source) + shift for name in ("minority_score", "nelbo")}
    evaluation = Evaluation({"one": loaded(real)}, False, subset)
    evaluation.update(rows, torch.arange(count))
    return evaluation.compute()


def nothing_odd(text):
    assert not re.search(r"nan|inf\b|-0\.0+\b|e-1\d", text), text


@pytest.mark.parametrize("count", [1, 2, 3, 5, 12])
def test_each_measure_has_a_number_or_a_reason(count):
    sets = {"plain": results(count), "rare": results(count, shift=0.5)}
    report = Report(sets, ("plain", "rare"))
    table = report.table()
    nothing_odd(table)
    for found in sets.values():
        assert found.values.keys() == results(12).values.keys()  # no measure vanishes
        for name, value in found.values.items():
            assert (value.value is None and value.note) or math.isfinite(value.value), name
            assert found.measures[name].label is None or found.measures[name].text in table, name
    absent = {name for name, value in sets["plain"].values.items() if value.value is None}
    assert {"one/recall", "one/coverage", "one/tail_recall"} <= absent if count <= 3 else "one/recall" not in absent
    assert ("one/frechet" in absent) == (count < 2) and ("one/kid" in absent) == (count < SUBSET)
    assert (f"needs at least 4 samples, got {count}; take more, or lower k." in table) == (count <= 3)
    assert (f"needs at least 4 samples, got {count}; take more, or lower kid_subset_size." in table) == (count <= 3)
    assert ("±" in table.partition("\n")[2]) == (count > 1)
    singular = f"* Fréchet distance, one; Fréchet to the tail, one: biased upwards: the covariance of {count} samples in 4"
    assert (singular in table) == (2 <= count <= DIMENSIONS)


def test_of_many_samples_nothing_is_said():
    keys = ("frechet", "tail_frechet", "recall", "tail_recall", "coverage", "kid", "avg_knn", "precision")
    assert {caution(key, 50_000, 50_000, 768, 1000, 3) for key in keys} == {None}
    assert {caution(key, 12, 50_000, 768, 10, 3) is None for key in keys[:6]} == {False}
    few = results(5).values["minority_score"]
    assert few.note.endswith("the interval of fewer than 6 values holds less than 95 %") and few.interval is not None
    assert results(6).values["minority_score"].note == "distance; higher = rarer"


@pytest.mark.parametrize("real", [2, 3, 5, 12, 21])
def test_few_real_images(real):
    found = results(30, real)
    table = Report({"set": found}).table()
    nothing_odd(table)
    for name, value in found.values.items():
        assert value.value is not None or "real" in value.note or "reference samples" in value.note, (name, value)
    assert (found.values["one/lof"].value is None) == (real <= 20)
    assert (found.values["one/avg_knn"].value is None) == (real < 5)
    per_sample = {name.removeprefix("one/") for name in found.per_sample if name.startswith("one/")}
    assert set(column_names(loaded(real))) == per_sample


def test_what_real_images_would_cover():
    """The expected coverage of a sample of the same distribution, by a simulation of one dimension."""
    source = np.random.default_rng(3)
    shares = []
    for _ in range(300):
        real, samples = source.random(40), source.random(12)
        radii = np.sort(np.abs(real[:, None] - real), 1)[:, 3]
        shares.append(np.mean([(np.abs(samples - x) < r).any() for x, r in zip(real, radii, strict=True)]))
    said = float(caution("coverage", 12, 40, DIMENSIONS, SUBSET, 3).rpartition(" ")[2])
    assert said == pytest.approx(np.mean(shares), abs=0.02)


def test_zero_is_zero():
    thirds = [1 / 3, 5 / 3, -2 / 3, -4 / 3]
    assert np.mean(thirds) != 0 and mean_estimate(np.array(thirds)).value == 0
    assert mean_estimate(np.array([1e-20])).value == 1e-20  # small is not zero
    assert fixed(-1e-9) == "0.000" and with_error(-1e-9, 0.1) == "0.00 ± 0.10" and with_error(1.0, math.nan) == "1"
    assert difference(0.01, math.nan) == "+0.01" and difference(math.nan, math.nan) == "–"
    same = moments(torch.randn(50, 8, generator=torch.Generator().manual_seed(4)))
    assert frechet_distance(same, same) >= 0


def test_few_values_have_no_p():
    values = np.array([1.0, 1.1, 0.9, 1.0, 1.2])
    assert math.isnan(two_sided_p(mean_estimate(values))) and two_sided_p(mean_estimate(np.append(values, 1))) < 1e-6


@pytest.mark.parametrize("count", [1, 2, 5, 12, 70])
def test_no_sample_is_rarest_and_commonest(tmp_path, monkeypatch, count):
    shown = []
    monkeypatch.setattr("sgm_lightning.evaluation.figures.save_grid", lambda path, blocks, columns: shown.extend(blocks))

    def read(indices):
        return torch.tensor(indices, dtype=torch.uint8).reshape(-1, 1, 1, 1)

    found = results(count)
    save_extremes(tmp_path / "x.png", {"set": (found, read)}, "minority_score")
    numbers = np.concatenate([images.flatten() for _, images in shown])
    assert len(set(numbers)) == len(numbers) == min(64, count - count % 2 if count > 1 else 1)
    half = min(32, count // 2)
    ends = [f"set, {half} rarest of {count}", f"set, {half} commonest"] if half else ["set, one sample"]
    assert [title.partition(" by ")[0] for title, _ in shown] == ends
    values = [found.per_sample["minority_score"][images.flatten()] for _, images in shown]
    assert count == 1 or values[0].min() >= values[1].max()


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.filterwarnings("error")
def test_figures_of_few_samples(tmp_path, count):
    sets = {"one": results(count), "two": results(count, shift=1.0)}
    save_histograms(tmp_path / "histograms.png", {"alone": sets["one"]})
    save_histograms(tmp_path / "histograms.png", sets)
    save_scatter(tmp_path / "scatter.png", sets)


@pytest.mark.parametrize("count", some([1, 2, 5], often=(0,)))
def test_predict_and_test(tmp_path, spaces, capsys, count):
    args = ["--data.num_samples", str(count), "--writer.grid_images", "3"]
    assert predict(tmp_path, "run", with_evaluation(spaces), *args) == 0
    out = capsys.readouterr().out
    nothing_odd(out)
    absent = [line for line in out.splitlines() if line.startswith("–")]
    assert f"ancestral (N = {count})" in out and any("recall, one" in line for line in absent) == (count <= 3)
    images = ["--data.images", str(tmp_path / "run"), "--output", str(tmp_path / "test")]
    assert run_test(tmp_path, spaces, *images) == 0
    nothing_odd(capsys.readouterr().out)
    for folder in ("run", "test"):
        for found in metrics(tmp_path / folder)["sets"].values():
            assert all(v["value"] is not None or v["note"] for v in found["metrics"].values())


def test_one_real_image_is_refused_at_the_start(tmp_path, capsys):
    one = {**space(tmp_path), "reference": {"images": {"class_path": "ImageFolder", "init_args": {"path": str(tmp_path)}}}}
    save_images(tmp_path, GRAY[:1])
    assert predict(tmp_path, "run", with_evaluation({"one": one})) == 1
    assert "at least 2 real images, got 1" in capsys.readouterr().err and not (tmp_path / "run").exists()


@pytest.mark.parametrize("key", ["nelbo_strata", "kid_subset_size"])
def test_settings_of_the_evaluation_are_refused_at_the_start(tmp_path, spaces, capsys, key):
    config = with_evaluation(spaces)
    config["trainer"]["callbacks"][0]["init_args"][key] = 0
    assert predict(tmp_path, "run", config) == 1
    assert f"{key} must be at least" in capsys.readouterr().err and not (tmp_path / "run").exists()
