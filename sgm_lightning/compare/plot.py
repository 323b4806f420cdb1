"""Plots rarity against realism: one marker for each row, sized by cost and numbered as in the legend."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sgm_lightning.compare.comparison import Comparison
from sgm_lightning.evaluation.figures import COLOURS
from sgm_lightning.evaluation.grid import save_figure
from sgm_lightning.evaluation.statistics import Estimate, mean_estimate

_LARGEST, _SMALLEST, _ANCHOR = 34.0, 7.0, 9.0  # diameters in points


def save_plot(path: Path, comparison: Comparison) -> None:
    """Plot the primary endpoint over realism, with standard errors; anchors are squares, a circle's area is its cost."""
    rows = comparison.rows
    figure = Figure(figsize=(11, max(5.6, 2.6 + 0.29 * len(rows))), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    costs = {name: row.evaluations for name, row in rows.items() if row.evaluations is not None}
    largest = max(costs.values(), default=1.0)
    points: list[tuple[float, float]] = []
    radii: list[float] = []
    handles: list[Line2D] = []
    for number, (name, row) in enumerate(rows.items(), 1):
        x, y = (_mean(row.results.per_sample[key]) for key in (comparison.realism, comparison.primary))
        cost = costs.get(name)
        size = _ANCHOR if cost is None else _diameter(cost, largest)
        colour = "0.55" if cost is None else COLOURS[len(handles) % len(COLOURS)]
        shape = "s" if cost is None else "o"
        bars = {"fmt": "none", "ecolor": colour, "elinewidth": 1.0, "alpha": 0.55, "zorder": 1}
        axes.errorbar(x.value, y.value, y.standard_error, x.standard_error, **bars)  # type: ignore[arg-type]
        axes.plot(x.value, y.value, shape, markersize=size, color=colour, alpha=0.6, markeredgecolor="white", zorder=2)
        points.append((x.value, y.value))
        radii.append(size / 2)
        text = f"{number}  {name}" + ("" if cost is None else f"  ({cost:.0f})")
        handles.append(Line2D([], [], marker=shape, color=colour, markersize=8, linestyle="none", alpha=0.8, label=text))
    axes.set_xlabel(f"{comparison.label(comparison.realism)}: more real →")
    if comparison.measures[comparison.realism].lower:
        axes.invert_xaxis()
    axes.set_ylabel(f"{comparison.label(comparison.primary)}: rarer →")
    axes.grid(color="0.93")
    axes.margins(0.08)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    options: dict[str, Any] = {"frameon": False, "alignment": "left", "fontsize": 9}
    title = "number, row (network evaluations of an image)"
    figure.legend(handles=handles, loc="outside right upper", title=title, **options)
    sizes = [
        Line2D([], [], marker="o", color="0.6", markersize=_diameter(cost, largest), linestyle="none", label=f"{cost:.0f}")
        for cost in _examples(list(costs.values()))
    ]
    title = "area of a circle: network evaluations of an image\n"  # the empty line is for the largest
    room = _LARGEST / 9  # of the largest circle, in font sizes
    options |= {"ncols": 3, "handlelength": room, "handleheight": room}
    figure.legend(handles=sizes, loc="outside right lower", title=title, **options)
    figure.draw_without_rendering()  # places of labels are in pixels: the layout must be known
    _number(axes, points, radii, figure.dpi / 72)
    save_figure(path, figure)


def _mean(values: np.ndarray) -> Estimate:
    """Return the mean of the images that have a value."""
    return mean_estimate(values[~np.isnan(values)], 1)


def _diameter(cost: float, largest: float) -> float:
    """Return a diameter in points; the area is proportional to the cost, down to a visible minimum."""
    return max(_SMALLEST, _LARGEST * math.sqrt(cost / largest))


def _examples(costs: list[float]) -> list[float]:
    """Return up to three costs that show the scale of the areas: the least, the greatest and one between."""
    if not costs:
        return []
    least, most = min(costs), max(costs)
    return sorted({round(cost) for cost in ((least, math.sqrt(least * most), most) if most > 1.5 * least else (most,))})


def _number(axes: Axes, points: Sequence[tuple[float, float]], radii: Sequence[float], scale: float) -> None:
    """Write a number beside each marker, where it hides least of the other markers and numbers."""
    centres = np.array([axes.transData.transform(point) for point in points]) / scale
    placed: list[np.ndarray] = []
    for number, (centre, radius) in enumerate(zip(centres, radii, strict=True)):
        best, least = np.zeros(2), math.inf
        for distance in (radius + 7, radius + 15, radius + 26):
            for angle in np.linspace(0.25 * np.pi, 2.25 * np.pi, 16, endpoint=False):
                offset = distance * np.array([math.cos(angle), math.sin(angle)])
                at = centre + offset
                apart = np.linalg.norm(centres - at, axis=1) - np.array(radii)
                hidden = float(np.clip(8 - apart, 0, None).sum())
                hidden += sum(max(0.0, 14 - float(np.linalg.norm(at - other))) for other in placed)
                hidden += 0.1 * (distance - radius)
                if hidden < least:
                    best, least = offset, hidden
        placed.append(centre + best)
        axes.annotate(
            str(number + 1),
            points[number],
            xytext=(float(best[0]), float(best[1])),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=9,
            fontweight="bold",
            arrowprops={"arrowstyle": "-", "color": "0.6", "linewidth": 0.6, "shrinkA": 4, "shrinkB": 0},
            zorder=4,
        )
