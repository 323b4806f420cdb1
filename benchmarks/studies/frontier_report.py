"""Tables and plot of the frontier, from what `frontier.py` kept."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from benchmarks.studies.pages import DOCS, fill
from sgm_lightning.evaluation import LoadedSpace, Space, load_spaces
from sgm_lightning.evaluation.format import markdown
from sgm_lightning.evaluation.statistics import mean_estimate
from sgm_lightning.features import FashionMNISTClassifier, RandomConvolutions, Reference
from sgm_lightning.metrics import frechet_distance, moments

KEPT = Path("benchmarks/results/frontier")
FEATURES = "checkpoints/fashion_mnist_features"
# Column and head; the higher, the rarer or the more real.
COLUMNS = {
    "imagenet/avg_knn": "AvgkNN (ImageNet)",
    "classifier/avg_knn": "AvgkNN (classifier)",
    "imagenet/lof": "LOF",
    "minority_score": "score",
    "nelbo": "NELBO",
    "classifier/precision": "precision",
    "classifier/density": "density",
    "imagenet/precision": "precision (ImageNet)",
    "imagenet/density": "density (ImageNet)",
}
# Of the guidance: mean RMS of scale · g at a step; RMS added to the states in all; scale · Σσ².
PUSH = {"rms": "RMS", "shift": "Σ shift", "scale_variance": "scale · Σσ²"}
DISTANCES = ("FD", "FD to the tail")  # the lower, the better
EXPLORED, FINAL = (1,), (2, 3, 4, 5)  # seeds
REFERENCE = "released, L_2, 0.5"  # the released form as it was tuned


@dataclass
class Kept:
    """What is kept of a setting, over one seed or several."""

    name: str
    index: np.ndarray  # the sample's seed and index as one number
    columns: dict[str, np.ndarray]

    def at(self, rows: np.ndarray) -> Kept:
        return Kept(self.name, self.index[rows], {key: values[rows] for key, values in self.columns.items()})

    def frechet(self, real: LoadedSpace) -> tuple[float, float]:
        """To all real images and to their tail, in the classifier's features."""
        own = moments(torch.from_numpy(self.columns["features/classifier"]).float())
        return frechet_distance(own, real.moments), frechet_distance(own, real.tail_moments)


def read(seeds: Iterable[int]) -> list[Kept]:
    """Every setting that was drawn with one of the seeds; several are pooled."""
    found: dict[str, list[Kept]] = {}
    for seed in seeds:
        for file in sorted(KEPT.glob(f"*-seed{seed}.npz")):
            with np.load(file) as arrays:
                columns = {key: arrays[key] for key in arrays.files if key not in ("index", "sets", "name")}
                kept = Kept(str(arrays["name"]), arrays["index"] + seed * 10_000_000, columns)
                found.setdefault(kept.name, []).append(kept)
    return [
        Kept(
            name,
            np.concatenate([part.index for part in parts]),
            {key: np.concatenate([part.columns[key] for part in parts]) for key in parts[0].columns},
        )
        for name, parts in found.items()
    ]


def table(kept: list[Kept], costs: dict[str, dict[str, float]], real: LoadedSpace) -> str:
    heads = ["setting", "N", "evaluations", "ms/image", *PUSH.values(), *COLUMNS.values(), *DISTANCES]
    lines = []
    for row in sorted(kept, key=lambda row: costs.get(row.name, {}).get("evaluations", 1e9)):
        cost = costs.get(row.name, {})
        cells = [row.name, str(len(row.index))]
        cells.append(f"{cost['evaluations']:.0f}" if cost else "–")
        cells.append(f"{1000 * cost['seconds']:.0f}" if "seconds" in cost else "–")
        cells += [f"{cost[key]:.2f}" if key in cost else "–" for key in PUSH]
        for key in COLUMNS:
            estimate = mean_estimate(row.columns[key], resamples=1)
            cells.append(f"{estimate.value:.3g} ± {estimate.standard_error:.1g}")
        cells += [f"{distance:.2f}" for distance in row.frechet(real)]
        lines.append(cells)
    return markdown(heads, lines)


def margin(key: str, value: float) -> float:
    """How much less still counts as not worse: 0.05 of precision and density, 2 % of the rest."""
    return 0.05 if key.endswith(("precision", "density")) else 0.02 * abs(value)


def against(kept: list[Kept], name: str, real: LoadedSpace, resamples: int = 200) -> str:
    """Paired differences to a setting: the mean, its 95 % interval, and ✓ where that shows "not worse" than the margin."""
    first = next((row for row in kept if row.name == name), None)
    if first is None:
        return f"{name} has not been drawn with these seeds."
    lines = []
    for row in kept:
        _, own, others = np.intersect1d(first.index, row.index, return_indices=True)
        if row is first or not len(own):
            continue
        base, other = first.at(own), row.at(others)
        cells = [row.name, str(len(own))]
        for key in COLUMNS:
            d = mean_estimate(other.columns[key] - base.columns[key])
            shown = d.low >= -margin(key, float(base.columns[key].mean()))
            cells.append(f"{d.value:+.3g} ({d.low:+.2g} … {d.high:+.2g}){' ✓' * shown}")
        rng = np.random.default_rng(0)
        draws = [rng.integers(0, len(own), len(own)) for _ in range(resamples)]
        apart = np.array([np.subtract(other.at(rows).frechet(real), base.at(rows).frechet(real)) for rows in draws])
        difference = np.subtract(other.frechet(real), base.frechet(real))
        low, high = np.quantile(apart, [0.025, 0.975], axis=0)
        for k, value in enumerate(base.frechet(real)):
            shown = bool(high[k] <= margin("", value))
            cells.append(f"{difference[k]:+.2f} ({low[k]:+.2f} … {high[k]:+.2f}){' ✓' * shown}")
        lines.append(cells)
    return markdown([f"minus {name}", "N", *COLUMNS.values(), *DISTANCES], lines)


def plot(kept: list[Kept], costs: dict[str, dict[str, float]], path: Path) -> None:
    """Rarity over cost, its Pareto front joined, and rarity over realism with the anchors, in two spaces each."""
    figure = Figure(figsize=(15, 13), dpi=80, layout="constrained")
    axes = figure.subplots(2, 2)
    known = sorted((row for row in kept if row.name in costs), key=lambda row: costs[row.name]["evaluations"])
    anchors = [row for row in kept if row.name not in costs]
    for column, (space, name) in enumerate((("imagenet", "ImageNet"), ("classifier", "classifier"))):
        over_cost, over_realism = axes[:, column]
        front: list[tuple[float, float]] = []
        handles: list[tuple[Any, str]] = []
        for number, row in enumerate([*known, *anchors]):
            rarity = mean_estimate(row.columns[f"{space}/avg_knn"], resamples=1)
            realism = float(row.columns[f"{space}/density"].mean())
            anchor = row in anchors
            style = {"fmt": "osD^vP*"[number % 7], "color": "0.4" if anchor else f"C{number % 10}", "markersize": 7}
            handles.append((over_realism.errorbar(realism, rarity.value, rarity.standard_error, **style), row.name))
            places = [(over_realism, realism)]
            if not anchor:
                cost = costs[row.name]["evaluations"]
                over_cost.errorbar(cost, rarity.value, rarity.standard_error, **style)
                places.append((over_cost, cost))
                if not front or rarity.value > front[-1][1]:
                    front.append((cost, rarity.value))
            for where, x in places:
                where.annotate(str(number + 1), (x, rarity.value), textcoords="offset points", xytext=(6, 4), fontsize=9)
        over_cost.plot(*zip(*front, strict=True), color="0.6", linewidth=1, zorder=0)
        over_cost.set_xscale("log")
        over_cost.set_xticks([20, 30, 50, 100, 200, 400], labels=["20", "30", "50", "100", "200", "400"])
        over_cost.minorticks_off()
        over_cost.set_xlabel("network evaluations of an image")
        over_realism.set_xlabel(f"density ({name}): more real →")
        for where in (over_cost, over_realism):
            where.set_ylabel(f"AvgkNN ({name}): rarer →")
    labels = [f"{number + 1} {name}" for number, (_, name) in enumerate(handles)]
    figure.legend([handle for handle, _ in handles], labels, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    figure.savefig(path)


def classifier_space() -> LoadedSpace:
    """The space of the kept features, whose tail is chosen in the other one."""
    references = [Reference(file=f"{FEATURES}/{name}_half_b.safetensors") for name in ("classifier", "random")]
    spaces = {
        "classifier": Space(FashionMNISTClassifier(), references[0], tail_from="random"),
        "random": Space(RandomConvolutions(), references[1]),
    }
    return load_spaces(spaces)["classifier"]


def report() -> None:
    """Fill the page, and draw its plot."""
    file = KEPT / "costs_eager.json"
    costs = json.loads(file.read_text()) if file.is_file() else {}
    real, explored, final = classifier_space(), read(EXPLORED), read(FINAL)
    made = {
        "frontier": table(explored, costs, real),
        "against": against(explored, REFERENCE, real),
        "finalists": table(final, costs, real),
        "finalists against": against(final, REFERENCE, real),
    }
    fill(DOCS / "performance.md", made)
    plot(explored, costs, DOCS / "performance/frontier.png")
