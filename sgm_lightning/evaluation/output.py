"""Writes the results of an evaluation: metrics.json, figures, and TensorBoard events."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np

from sgm_lightning.evaluation.figures import Read, save_extremes, save_histograms, save_scatter
from sgm_lightning.evaluation.headline import headline
from sgm_lightning.evaluation.report import Report
from sgm_lightning.evaluation.results import measures_in
from sgm_lightning.evaluation.world_figure import RARITY, save_side_by_side
from sgm_lightning.files.atomic import make_folder


def summary(folder: Path, report: Report, figures: Path | None = None) -> str:
    """Return what is printed at the end: the first lines, the paths of the other results, and the table."""
    first = "".join(f"{line}\n" for line in headline(report))
    files = f"Intervals, references: {folder / 'metrics.json'}; figures: {figures or folder}."
    return f"{first}{files}\n\n{report.table()}"


def write_evaluation(
    folder: Path, report: Report, reads: dict[str, Read], experiment: Any = None, figures: Path | None = None
) -> None:
    """Write `metrics.json`, `histograms.png`, `extremes.png`, and `scatter.png` or `side_by_side.png` where they apply.

    Args:
        folder: Folder to write into.
        report: Evaluation to write.
        reads: For each set of the report, a function from sample indices to (n, C, H, W) uint8 images.
        experiment: TensorBoard's `SummaryWriter`, if any; it gets scalars, histograms and the figures.
        figures: Folder of the figures, if another one.
    """
    report.write(folder / "metrics.json")
    figures = figures or folder
    make_folder(figures)
    drawn = []
    columns = [name for name, measure in measures_in(report.sets.values()).items() if measure.histogram]
    if columns:
        save_histograms(figures / "histograms.png", report.sets)
        # Ranked by the score, else by the first measure of a space, such as AvgkNN, else by any column.
        ranked = min(columns, key=lambda name: (name != "minority_score", "/" not in name))
        sets = {
            name: (results, reads[name])
            for name, results in report.sets.items()
            if np.isfinite(results.per_sample.get(ranked, np.nan)).any()
        }
        if sets:
            save_extremes(figures / "extremes.png", sets, ranked)
        drawn += ["histograms", "extremes"] if sets else ["histograms"]
    if RARITY in columns:
        save_side_by_side(figures / "side_by_side.png", {name: (own, reads[name]) for name, own in report.sets.items()})
        drawn.append("side_by_side")
    if {"minority_score", "nelbo"} <= set(columns):
        save_scatter(figures / "scatter.png", report.sets)
        drawn.append("scatter")
    if experiment is None:
        return
    for name, results in report.sets.items():
        for key, value in results.values.items():
            if value.value is not None:
                experiment.add_scalar(f"{key}/{name}", value.value, value.num_samples)
        for key, values in results.per_sample.items():
            if np.isfinite(values).any():  # TensorBoard takes no empty histogram, as of images none of which can be read
                experiment.add_histogram(f"{key}/{name}", values[np.isfinite(values)], len(values))
    for figure in drawn:
        image = matplotlib.image.imread(figures / f"{figure}.png")[..., :3]
        experiment.add_image(figure, image, 0, dataformats="HWC")
    experiment.flush()
