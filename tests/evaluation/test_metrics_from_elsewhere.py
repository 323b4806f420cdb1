"""A metric from outside the package, named by its class path in YAML, reaches every report without an edit."""

import csv
import json

import matplotlib.figure
import numpy as np
import pytest
import torch
from support.comparisons import command, comparison
from support.evaluations import metrics, run_test, space, with_evaluation
from support.pictures import GRAY, save_images
from support.runs import predict

from sgm_lightning import SGMError
from sgm_lightning.cli import main
from sgm_lightning.evaluation import Space, load_spaces
from sgm_lightning.features import RandomConvolutions, Reference
from sgm_lightning.images import ArrayImages, open_images
from sgm_lightning.metrics import AvgKNN, avg_knn

MODULE = '''
import torch
from sgm_lightning.metrics import IndexedMetric, PerSampleMetric, RealFeatures

class Farthest(PerSampleMetric):
    """Mean distance to the k farthest real images."""

    label = "farthest (k={k})"
    unit = "distance; higher = rarer"

    def __init__(self, real: RealFeatures, k: int = 2):
        super().__init__(row_shape=(real.features.shape[1],))
        self.real, self.k = real, k

    def values(self, rows):
        return torch.cdist(rows.double(), self.real.features.double()).topk(self.k).values.mean(1)

class Spread(IndexedMetric):
    def __init__(self, real: RealFeatures, power: float = 1.0):
        super().__init__(row_shape=(real.features.shape[1],))
        self.power = power

    def compute(self):
        deviation = self.ordered()[1].double().std(0) ** self.power
        return {"least": deviation.min(), "most": deviation.max()}
'''
FARTHEST = {"class_path": "metrics_elsewhere.Farthest", "init_args": {"k": 3}}


@pytest.fixture
def spaces(tmp_path, monkeypatch):
    (tmp_path / "metrics_elsewhere.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    own = {"farthest": FARTHEST, "spread": {"class_path": "metrics_elsewhere.Spread", "init_args": {"power": 2.0}}}
    # Of the package, too, with other settings; and where the usual ones are not wanted.
    more = {
        "farthest": FARTHEST,
        "rarity_k9": {"class_path": "sgm_lightning.metrics.RarityScore", "init_args": {"k": 9}},
        "kid_of_4": {"class_path": "sgm_lightning.metrics.KernelDistance", "init_args": {"subset_size": 4}},
    }
    return {
        "one": {**space(tmp_path, 0), "metrics": own},
        "other": {**space(tmp_path, 1), "measures": "frechet", "metrics": more},
    }


@pytest.fixture
def panels(monkeypatch):
    """Labels of the axes of every figure that is written, by the file's name."""
    found = {}
    save = matplotlib.figure.Figure.savefig

    def savefig(figure, file, **options):
        name = next(name for name in ("histograms", "extremes", "scatter", "plot", "grid", "") if name in str(file.name))
        found[name] = [axes.get_xlabel() for axes in figure.axes]
        return save(figure, file, **options)

    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", savefig)
    return found


def farthest(images, folder, seed=0):
    """The same by hand, over images (N, C, H, W)."""
    extractor = RandomConvolutions(seed=seed)
    real = Reference(file=str(folder / f"reference_{seed}.safetensors")).features(extractor)[0]
    distances = np.linalg.norm(extractor(images).double().numpy()[:, None] - real.double().numpy()[None], axis=2)
    return np.sort(distances, axis=1)[:, -3:].mean(1)


def row(table, label, space):
    """Cells of a line of the printed table, in the block of its space."""
    block = table[table.index(f"[{space}]") :]
    line = next(line for line in block.splitlines() if line.startswith(label))
    return line.removeprefix(label).split()


@pytest.mark.slow
def test_in_predict(tmp_path, spaces, panels, capsys):
    assert predict(tmp_path, "run", with_evaluation(spaces)) == 0
    run = tmp_path / "run"
    found = metrics(run)
    expected = farthest(open_images(str(run))["samples"].read(range(5)), tmp_path)

    value = found["sets"]["self-guided"]["metrics"]["one/farthest"]
    assert value["value"] == pytest.approx(expected.mean(), rel=1e-5) and value["interval"][0] < value["value"]
    assert value["k"] == 3 and value["note"].startswith("distance; higher = rarer")
    assert value["space"] == "one" and value["reference"] == "noise (N = 60)" and value["num_samples"] == 5
    spread = [found["sets"]["ancestral"]["metrics"][f"one/spread_{key}"]["value"] for key in ("least", "most")]
    assert 0 <= spread[0] < spread[1]
    paired = found["paired"]["metrics"]["one/farthest"]

    lines = list(csv.DictReader((run / "scores.csv").read_text().splitlines()))
    column = np.array([float(line["one_farthest"]) for line in lines])
    np.testing.assert_allclose(column, expected, rtol=1e-5)
    assert paired["value"] == pytest.approx(
        np.mean(column - [float(line["baseline_one_farthest"]) for line in lines]), rel=1e-4
    )

    table = capsys.readouterr().out
    assert row(table, "farthest (k=3)", "one")[1] == f"{expected.mean():.3f}"
    assert len(row(table, "spread, least", "one")) == 2 and "spread, most" in table
    assert panels["histograms"] == [
        "minority score",
        "NELBO (bits/dim)",
        *("AvgkNN (k=5), one", "LOF (k=20), one", "farthest (k=3), one"),
        "farthest (k=3), other",
    ]
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "tensorboard")).Reload()
    assert "one/farthest/self-guided" in events.Tags()["scalars"] and "one/farthest/ancestral" in events.Tags()["histograms"]


def test_in_test_beside_the_frechet_distance_alone(tmp_path, spaces, panels, capsys):
    """Without a model, too, and in a space that computes nothing else of its neighbours."""
    save_images(tmp_path / "set", GRAY[:7])
    del spaces["one"]
    arguments = ["--data.images", str(tmp_path / "set"), "--output", str(tmp_path / "out")]
    assert run_test(tmp_path, spaces, *arguments) == 0
    values = metrics(tmp_path / "out")["sets"]["set"]["metrics"]
    expected = farthest(GRAY[:7], tmp_path, seed=1)
    assert values["other/farthest"]["value"] == pytest.approx(expected.mean(), rel=1e-5)
    assert {"other/frechet", "other/farthest", "other/rarity_k9_rarity", "other/rarity_k9_outside", "other/kid_of_4"} == set(
        values
    )
    assert values["other/kid_of_4"]["standard_error"] > 0 and values["other/rarity_k9_outside"]["k"] == 9
    header = (tmp_path / "out" / "scores-set.csv").read_text().splitlines()[0]
    assert header == "index,other_farthest,other_rarity_k9"
    assert row(capsys.readouterr().out, "farthest (k=3)", "other") == [f"{expected.mean():.3f}"]
    assert panels["histograms"] == ["farthest (k=3), other"] and (tmp_path / "out" / "extremes.png").is_file()


@pytest.mark.slow
def test_in_compare(tmp_path, spaces, panels):
    config = comparison(tmp_path, num_samples=4, ancestral=None, other={"model": {"spacing": 3}})
    config["evaluation"]["spaces"] = spaces
    config |= {"primary": "one/farthest", "realism": "one/density"}
    assert main(command(tmp_path, config)) == 0
    output = tmp_path / "compare"
    found = json.loads((output / "table.json").read_text())
    assert found["rows"]["other"]["metrics"]["one/farthest"]["k"] == 3
    assert "one/farthest" in found["differences"]["other"] and "one/avg_knn" in found["differences"]["other"]
    text = (output / "table.md").read_text()
    assert "farthest (k=3), one" in text.partition("## one")[0]  # of the overview
    heads = next(line for line in text.partition("## one")[2].splitlines() if line.startswith("| "))
    assert heads.endswith("| KID | farthest (k=3) | spread, least | spread, most |")
    assert "primary endpoint (farthest (k=3), one)" in (output / "differences.md").read_text()
    lines = list(csv.DictReader((output / "table.csv").read_text().splitlines()))
    assert [line["k"] for line in lines if line["metric"] == "farthest" and line["space"] == "one"] == ["3"] * 4


@pytest.mark.parametrize(
    ("own", "status", "word"),
    [
        ({"avg_knn": FARTHEST}, 1, "that no usual metric has, got avg_knn"),
        ({"a/b": FARTHEST}, 1, "letters, digits and _"),
        # As any class path that does not fit its place.
        ({"far": {"class_path": "sgm_lightning.metrics.Memorised"}}, 2, "held_out"),
        ({"far": {"class_path": "metrics_elsewhere.Nearest"}}, 2, "Nearest"),
        ({"far": {"class_path": "sgm_lightning.images.NpzImages"}}, 2, "to be a subclass of"),
    ],
)
def test_bad_metrics(tmp_path, spaces, capsys, own, status, word):
    save_images(tmp_path / "set", GRAY)
    spaces["one"]["metrics"] = own
    found = run_test(tmp_path, spaces, "--data.images", str(tmp_path / "set"), "--output", str(tmp_path / "out"))
    assert found == status and word in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_metrics_made_in_python_are_checked_at_once():
    """A space that is loaded without a command line names what is wrong with its metric."""
    extractor = RandomConvolutions()
    reference = Reference(ArrayImages(GRAY, name="gray"))
    for make, word in ((lambda: AvgKNN(torch.ones(3, 1)), "TypeError"), (lambda real: avg_knn, "got function")):
        with pytest.raises(SGMError, match=word):
            load_spaces({"one": Space(extractor, reference, metrics={"far": make})})
