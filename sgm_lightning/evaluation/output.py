"""Everything an evaluation leaves behind: metrics.json, figures, TensorBoard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.image

from sgm_lightning.evaluation.figures import Read, save_extremes, save_histograms, save_scatter
from sgm_lightning.evaluation.report import Report


def write_evaluation(folder: Path, report: Report, reads: dict[str, Read], experiment: Any = None) -> None:
    """Write `metrics.json`, `histograms.png`, `extremes.png` and, where both scores exist, `scatter.png`.

    Args:
        folder: Where to.
        report: The evaluation.
        reads: For each of its sets, a function from sample indices to (n, C, H, W) uint8 images.
        experiment: TensorBoard's `SummaryWriter`, which then gets scalars, histograms and the figures.
    """
    report.write(folder / "metrics.json")
    figures = []
    columns = list(dict.fromkeys(name for results in report.sets.values() for name in results.per_sample))
    if columns:
        save_histograms(folder / "histograms.png", report.sets)
        ranked = "minority_score" if "minority_score" in columns else next(c for c in columns if c.endswith("avg_knn"))
        sets = {name: (results, reads[name]) for name, results in report.sets.items() if ranked in results.per_sample}
        save_extremes(folder / "extremes.png", sets, ranked)
        figures += ["histograms", "extremes"]
    if {"minority_score", "nelbo"} <= set(columns):
        save_scatter(folder / "scatter.png", report.sets)
        figures.append("scatter")
    if experiment is None:
        return
    for name, results in report.sets.items():
        for key, value in results.values.items():
            if value.value is not None:
                experiment.add_scalar(f"{key}/{name}", value.value, value.num_samples)
        for key, values in results.per_sample.items():
            experiment.add_histogram(f"{key}/{name}", values, len(values))
    for figure in figures:
        image = matplotlib.image.imread(folder / f"{figure}.png")[..., :3]
        experiment.add_image(figure, image, 0, dataformats="HWC")
    experiment.flush()
