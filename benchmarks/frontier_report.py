"""Tables and plot of the frontier, from what `frontier.py` kept."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from protocol import fill, markdown

from sgm_lightning.evaluation.statistics import mean_estimate

PAGE = Path("docs/performance.md")
# Column, head, whether higher is rarer or more real.
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
SETS = {"classifier/frechet": "FD", "classifier/tail_frechet": "FD to the tail"}
PRIMARY = "imagenet/avg_knn"


@dataclass
class Kept:
    """What is kept of a setting."""

    name: str
    seed: int
    index: np.ndarray
    columns: dict[str, np.ndarray]
    sets: dict[str, float]


def read(folder: Path) -> list[Kept]:
    found = []
    for file in sorted(folder.glob("*-seed*.npz")):
        with np.load(file) as arrays:
            columns = {key: arrays[key] for key in arrays.files if key not in ("index", "sets", "name")}
            sets = json.loads(str(arrays["sets"]))
            found.append(Kept(str(arrays["name"]), int(file.stem.rpartition("seed")[2]), arrays["index"], columns, sets))
    return found


def table(kept: list[Kept], costs: dict[str, dict[str, float]]) -> str:
    heads = ["setting", "N", "evaluations", "ms/image", "RMS", *COLUMNS.values(), *SETS.values()]
    lines = []
    for row in sorted(kept, key=lambda row: costs.get(row.name, {}).get("evaluations", 1e9)):
        cost = costs.get(row.name, {})
        cells = [row.name, str(len(row.index))]
        cells += [f"{cost['evaluations']:.0f}", f"{1000 * cost['seconds']:.0f}", f"{cost['rms']:.2f}"] if cost else ["–"] * 3
        for key in COLUMNS:
            estimate = mean_estimate(row.columns[key], resamples=1)
            cells.append(f"{estimate.value:.3g} ± {estimate.standard_error:.1g}")
        cells += [f"{row.sets[key]:.2f}" for key in SETS]
        lines.append(cells)
    return markdown(heads, lines)


def against(kept: list[Kept], name: str, seed: int) -> str:
    """Paired differences to a setting, in its own units: the mean and its 95 % interval, over the samples of both."""
    first = next((row for row in kept if row.name == name and row.seed == seed), None)
    if first is None:
        return f"{name} has not been drawn with seed {seed}."
    lines = []
    for row in kept:
        if row.seed != seed or row is first:
            continue
        _, own, others = np.intersect1d(first.index, row.index, return_indices=True)
        cells = [row.name]
        for key in COLUMNS:
            d = mean_estimate(row.columns[key][others] - first.columns[key][own])
            cells.append(f"{d.value:+.3g} ({d.low:+.2g} … {d.high:+.2g})")
        cells += [f"{row.sets[key] - first.sets[key]:+.2f}" for key in SETS]
        lines.append(cells)
    return markdown([f"minus {name}", *COLUMNS.values(), *SETS.values()], lines)


def plot(kept: list[Kept], costs: dict[str, dict[str, float]], path: Path) -> None:
    """Rarity over cost, and rarity over realism; the Pareto front of the first is joined."""
    figure = Figure(figsize=(14, 7), dpi=90, layout="constrained")
    known = [row for row in kept if row.name in costs]
    panels = (
        ("network evaluations of an image", [costs[row.name]["evaluations"] for row in known], True),
        ("density (classifier): more real →", [float(row.columns["classifier/density"].mean()) for row in known], False),
    )
    rarity = [mean_estimate(row.columns[PRIMARY], resamples=1) for row in known]
    handles = []
    for position, (label, x, logarithmic) in enumerate(panels):
        axes = figure.add_subplot(1, 2, position + 1)
        handles = []
        for number, (row, value, y) in enumerate(zip(known, x, rarity, strict=True)):
            style = "osD^vP*"[number % 7]
            bar = axes.errorbar(value, y.value, y.standard_error, fmt=style, color=f"C{number % 10}", markersize=9)
            axes.annotate(str(number + 1), (value, y.value), textcoords="offset points", xytext=(7, 5))
            handles.append((bar, f"{number + 1} {row.name}"))
        if logarithmic:
            axes.set_xscale("log")
            best, front = -np.inf, []
            for value, y in sorted(zip(x, (estimate.value for estimate in rarity), strict=True)):
                if y > best:
                    best = y
                    front.append((value, y))
            axes.plot(*zip(*front, strict=True), color="0.6", linewidth=1, zorder=0)
        axes.set_xlabel(label)
        axes.set_ylabel("AvgkNN in ImageNet features: rarer →")
    figure.legend([h for h, _ in handles], [name for _, name in handles], loc="outside right upper", frameon=False)
    figure.savefig(path)


def report(folder: Path, reference: str = "released, L_2, 1", seed: int = 1) -> None:
    kept = read(folder)
    file = folder / "costs.json"
    costs = json.loads(file.read_text()) if file.is_file() else {}
    fill(PAGE, {"frontier": table(kept, costs), "against": against(kept, reference, seed)})
    plot(kept, costs, folder / "frontier.png")
