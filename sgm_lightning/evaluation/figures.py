"""Figures of an evaluation: histograms, the rarest and the commonest samples, minority score against bound."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor

from sgm_lightning.evaluation.grid import save_figure, save_grid
from sgm_lightning.evaluation.results import Results, full_label, measures_in
from sgm_lightning.evaluation.statistics import rank_correlation

# Okabe and Ito's colours without yellow, which colour-blind readers can tell apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")

# Of four pairs, the ranks agree or are reversed by chance with a probability of 2 / 4! = 8 %.
_LEAST_FOR_CORRELATION = 5
# Fewer values than bins have no density to show.
_LEAST_FOR_HISTOGRAM = 8

Read = Callable[[Sequence[int]], Tensor]


def save_histograms(path: Path, sets: Mapping[str, Results]) -> None:
    """Plot one panel for each measure with a histogram, such as the minority score and AvgkNN, and one line for each set.

    Of few samples, each has a mark instead.
    """
    measures = measures_in(sets.values())
    names = [name for name, measure in measures.items() if measure.histogram]
    colours = dict(zip(sets, COLOURS, strict=False))
    columns = min(3, len(names))
    rows = math.ceil(len(names) / columns)
    figure = Figure(figsize=(4.2 * columns, 3.1 * rows), dpi=110, layout="constrained")
    for position, name in enumerate(names):
        axes = figure.add_subplot(rows, columns, position + 1)
        found = {title: _known(results.per_sample[name]) for title, results in sets.items() if name in results.per_sample}
        most = max(map(len, found.values()))
        if not most:
            continue
        low, high = np.quantile(np.concatenate(list(found.values())), [0.0, 0.995])
        bins = np.linspace(low, high, min(30, max(8, int(2 * most**0.5))))
        for row, (title, values) in enumerate(found.items()):
            if not len(values):
                continue
            colour = colours[title]
            if most < _LEAST_FOR_HISTOGRAM or low == high:  # a mark for each value
                axes.plot(values, np.full(len(values), -row), "|", color=colour, markersize=14, markeredgewidth=1.8)
                axes.set_ylim(0.7 - len(found), 0.7)
                continue
            style: dict[str, Any] = {"histtype": "step", "linewidth": 1.8, "color": colour, "label": title}
            axes.hist(np.clip(values, low, high), bins.tolist(), density=True, **style)
            axes.axvline(values.mean(), color=colour, linestyle=":", linewidth=1.2)
        axes.set_xlabel(full_label(name, measures[name]))
        axes.set_yticks([])
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
    lines = [Line2D([], [], color=colour, linewidth=1.8, label=title) for title, colour in colours.items()]
    figure.legend(handles=lines, loc="outside upper center", ncols=min(3, len(lines)), frameon=False)
    save_figure(path, figure)


def _known(values: np.ndarray) -> np.ndarray:
    """Return the values of the samples that have one."""
    return values[~np.isnan(values)]


def save_scatter(path: Path, sets: Mapping[str, Results]) -> None:
    """Plot minority score against NELBO, one point for each sample, with Spearman's rank correlation from five on."""
    figure = Figure(figsize=(5.2, 4.2), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    for colour, (title, results) in zip(COLOURS, sets.items(), strict=False):
        if {"minority_score", "nelbo"} <= set(results.per_sample):
            x, y = results.per_sample["nelbo"], results.per_sample["minority_score"]
            label = title
            if len(x) >= _LEAST_FOR_CORRELATION and min(np.ptp(x), np.ptp(y)) > 0:
                label += f": ρ = {rank_correlation(x, y):.2f}"
            axes.scatter(x, y, s=9, color=colour, alpha=0.5, label=label, linewidths=0)
    measures = measures_in(sets.values())
    axes.set_xlabel(measures["nelbo"].text)
    axes.set_ylabel(measures["minority_score"].text)
    figure.legend(loc="outside upper center", frameon=False)
    save_figure(path, figure)


def save_extremes(path: Path, sets: Mapping[str, tuple[Results, Read]], column: str, count: int = 32) -> None:
    """Show the `count` rarest and commonest samples of every set by a per-sample column, the extreme ones first.

    A sample is not both: a set of fewer than 2 · `count` shows half of its samples as the rarest, half as the commonest.
    """
    blocks = []
    for title, (results, read) in sets.items():
        values = results.per_sample[column]
        order = np.argsort(-values, kind="stable")
        order = order[np.isfinite(values[order])]
        label = full_label(column, results.measures[column])
        shown = min(count, len(order) // 2)
        ends = [(f"{shown} rarest of {len(order)}", order[:shown]), (f"{shown} commonest", order[::-1][:shown])]
        for words, chosen in ends if shown else [("one sample", order)]:
            if len(chosen):
                images = read(results.index[chosen].tolist()).permute(0, 2, 3, 1).numpy()
                blocks.append((f"{title}, {words} by {label}: mean {values[chosen].mean():.3g}", images))
    save_grid(path, blocks, columns=16)
