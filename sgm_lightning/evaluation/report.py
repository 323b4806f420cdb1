"""The sets of an evaluation side by side: metrics.json, scores, and the table that is printed."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from sgm_lightning.evaluation.evaluation import Results, Value
from sgm_lightning.evaluation.statistics import Estimate, mean_estimate
from sgm_lightning.files.atomic import write_atomically
from sgm_lightning.run.merge import write_columns

# What tables show, in this order; the files hold all.
LABELS = {
    "minority_score": "minority score",
    "nelbo": "NELBO (bits/dim)",
    "avg_knn": "AvgkNN (k=5)",
    "lof": "LOF (k=20)",
    "rarity_k3": "rarity (k=3)",
    "outside_k3": "outside all balls",
    "precision": "precision (k=3)",
    "density": "density",
    "recall": "recall",
    "coverage": "coverage",
    "memorised": "memorised share",
    "frechet": "Fréchet distance",
    "kid": "KID",
    "tail_frechet": "Fréchet to the tail",
    "tail_precision": "precision, tail",
    "tail_recall": "recall, tail",
}


class Report:
    """Results of several sets of images, and of the differences between those of the same noise.

    Args:
        sets: Results by the name of the set, in the order of the columns.
        pair: Two of the names whose sample i is of the same noise; the second minus the first is reported.
        text: What else the numbers hang on: model, chain, spaces.
    """

    def __init__(self, sets: dict[str, Results], pair: tuple[str, str] | None = None, text: Any = None) -> None:
        self.sets = sets
        self.pair = pair
        self.text = text or {}
        self.differences = {} if pair is None else paired_differences(sets[pair[0]], sets[pair[1]])

    def as_dict(self) -> dict[str, Any]:
        """What metrics.json holds."""
        found: dict[str, Any] = {
            "sets": {
                name: {"num_samples": len(results.index), "metrics": _plain(results.values)}
                for name, results in self.sets.items()
            }
        }
        if self.pair is not None:
            differences = {name: _finite(estimate._asdict()) for name, estimate in self.differences.items()}
            found["paired"] = {"difference": f"{self.pair[1]} − {self.pair[0]}", "metrics": differences}
        return {**found, **self.text}

    def write(self, path: Path) -> None:
        """Write metrics.json."""
        text = json.dumps(self.as_dict(), indent=1, ensure_ascii=False)
        write_atomically(path, lambda file: file.write(text.encode()))

    def table(self) -> str:
        """A table of all sets, for a terminal 80 columns or a little more wide."""
        heads = [f"{name} (N = {len(results.index)})" for name, results in self.sets.items()]
        if self.pair:
            heads.append("paired difference ± s.e.")
        lines = [["", *heads]]
        last = ""
        for space, key, label in self._rows():
            name = f"{space}/{key}" if space else key
            found = [results.values.get(name) for results in self.sets.values()]
            if all(value is None or value.value is None for value in found):
                continue
            cells = [_number(None if value is None else value.value) for value in found]
            if self.pair:
                difference = self.differences.get(name)
                cells.append("" if difference is None else f"{difference.value:+.3g} ± {difference.standard_error:.2g}")
            if space != last:
                lines.append([f"[{space}]", *[""] * len(cells)])
                last = space
            lines.append([label, *cells])
        widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]

        def padded(line: list[str]) -> str:
            cells = (cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))
            return "  ".join([line[0].ljust(widths[0]), *cells]).rstrip()

        return "\n".join(padded(line) for line in lines)

    def _rows(self) -> list[tuple[str, str, str]]:
        """(space, key, label) of every row that some set has."""
        known = list(dict.fromkeys(name for results in self.sets.values() for name in results.values))
        spaces = list(dict.fromkeys(name.rpartition("/")[0] for name in known if "/" in name))
        plain = [("", key, LABELS[key]) for key in LABELS if key in known]
        return plain + [(space, key, LABELS[key]) for space in spaces for key in LABELS if f"{space}/{key}" in known]


def paired_differences(first: Results, second: Results) -> dict[str, Estimate]:
    """Mean over samples of second − first, for every column that both have; samples are matched by index."""
    _, rows, others = np.intersect1d(first.index, second.index, return_indices=True)
    return {
        name: mean_estimate(second.per_sample[name][others] - first.per_sample[name][rows])
        for name in first.per_sample
        if name in second.per_sample and not name.endswith("_error") and "rarity" not in name
    }


def score_columns(results: Results, prefix: str = "") -> dict[str, np.ndarray]:
    """The per-sample columns as `scores.csv` names them: classifier/avg_knn becomes classifier_avg_knn."""
    return {prefix + name.replace("/", "_"): values for name, values in results.per_sample.items()}


def write_scores(path: Path, results: Results) -> None:
    """Write index and every per-sample value of one set as CSV."""
    columns = {"index": results.index, **score_columns(results)}
    write_atomically(path, lambda file: write_columns(file, columns))


def _plain(values: dict[str, Value]) -> dict[str, Any]:
    return {name: value.as_dict() for name, value in values.items()}


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    return {key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in values.items()}


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if abs(value) < 100 else f"{value:.1f}"
