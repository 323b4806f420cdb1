"""The sets of an evaluation side by side: metrics.json, scores, and the printed table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from sgm_lightning.evaluation.cautions import notes
from sgm_lightning.evaluation.format import ABSENT, difference, fixed, plain_table, to_json
from sgm_lightning.evaluation.results import Results, measures_in
from sgm_lightning.evaluation.statistics import Estimate, mean_estimate
from sgm_lightning.files.atomic import write, write_atomically
from sgm_lightning.run.merge import write_columns


class Report:
    """Results of several sets of images, and the paired differences of two of them.

    Args:
        sets: Results by the name of the set, in the order of the columns.
        pair: Two names of sets in which sample i comes from the same noise; the second minus the first is reported.
        text: Description of model, chain and spaces, on which the numbers depend.
    """

    def __init__(self, sets: dict[str, Results], pair: tuple[str, str] | None = None, text: Any = None) -> None:
        self.sets = sets
        self.pair = pair
        self.text = text or {}
        self.differences = {} if pair is None else paired_differences(sets[pair[0]], sets[pair[1]])

    def as_dict(self) -> dict[str, Any]:
        """Return the content of metrics.json."""
        found: dict[str, Any] = {
            "sets": {
                name: {"num_samples": len(results.index), "metrics": {key: v.as_dict() for key, v in results.values.items()}}
                for name, results in self.sets.items()
            }
        }
        if self.pair is not None:
            differences = {name: estimate._asdict() for name, estimate in self.differences.items()}
            found["paired"] = {"difference": f"{self.pair[1]} − {self.pair[0]}", "metrics": differences}
        return {**found, **self.text}

    def write(self, path: Path) -> None:
        """Write metrics.json."""
        write(path, to_json(self.as_dict()), new_folder=False)

    def table(self) -> str:
        """Return a table of all sets, for a terminal of 80 columns or slightly more."""
        heads = [f"{name} (N = {len(results.index)})" for name, results in self.sets.items()]
        if self.pair:
            heads.append("paired difference ± s.e.")
        lines = [["", *heads]]
        said = notes(list(self.sets.values()))
        mark = any(line.startswith("*") for line in said)
        last = ""
        for name, measure in measures_in(self.sets.values()).items():
            found = [results.values.get(name) for results in self.sets.values()]
            if measure.label is None:
                continue
            cells = [ABSENT if value is None else fixed(value.value) for value in found]
            if mark:
                careful = [value is not None and value.value is not None and value.caution is not None for value in found]
                cells = [cell + ("*" if star else " ") for cell, star in zip(cells, careful, strict=True)]
            if self.pair:
                paired = self.differences.get(name)
                cells.append("" if paired is None else difference(paired.value, paired.standard_error))
            space = name.rpartition("/")[0]
            if space != last:
                lines.append([f"[{space}]", *[""] * len(cells)])
                last = space
            lines.append([measure.text, *cells])
        return "\n".join([plain_table(lines), *([""] if said else []), *said])


def paired_differences(first: Results, second: Results) -> dict[str, Estimate]:
    """Return the mean of second − first for every common column whose mean is a measure; samples match by index."""
    _, rows, others = np.intersect1d(first.index, second.index, return_indices=True)
    found = {}
    for name in first.per_sample:
        measure = first.measures.get(name)
        if name in second.per_sample and measure is not None and measure.averaged is None:
            difference = second.per_sample[name][others] - first.per_sample[name][rows]
            found[name] = mean_estimate(difference[~np.isnan(difference)] if measure.partial else difference)
    return found


def score_columns(results: Results, prefix: str = "") -> dict[str, np.ndarray]:
    """Return the per-sample columns by their names in `scores.csv`: classifier/avg_knn becomes classifier_avg_knn."""
    return {prefix + name.replace("/", "_"): values for name, values in results.per_sample.items()}


def write_scores(path: Path, results: Results) -> None:
    """Write index and every per-sample value of one set as CSV."""
    columns = {"index": results.index, **score_columns(results)}
    write_atomically(path, lambda file: write_columns(file, columns))
