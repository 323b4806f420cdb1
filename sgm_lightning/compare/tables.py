"""Writes a comparison as table.md, table.csv, table.json and differences.md, and what the clock measured as times.csv."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path
from typing import Any

from sgm_lightning.compare.comparison import Comparison, Difference, Row
from sgm_lightning.evaluation import Value
from sgm_lightning.evaluation.cautions import notes
from sgm_lightning.evaluation.format import ABSENT, error_digits, markdown, short, to_json, with_error
from sgm_lightning.evaluation.statistics import FEW
from sgm_lightning.files.atomic import write


def write_tables(comparison: Comparison, folder: Path) -> None:
    """Write the files, each whole or not at all. Only `times.csv` depends on the machine and the moment."""
    texts = {
        "table.md": markdown_table(comparison),
        "table.csv": csv_table(comparison),
        "table.json": to_json(as_dict(comparison)),
        "differences.md": markdown_differences(comparison),
    }
    seconds = {name: row.seconds for name, row in comparison.rows.items() if row.seconds is not None}
    if seconds:
        lines = [f'"{name}",{value:.4g}' for name, value in seconds.items()]
        texts["times.csv"] = "\n".join(["row,seconds_per_image", *lines, ""])
    for name, text in texts.items():
        write(folder / name, text)


def as_dict(comparison: Comparison) -> dict[str, Any]:
    """Return every number with N, k, standard error, interval, space and reference."""
    rows = {
        name: {
            "num_samples": len(row.results.index),
            "paired": row.paired,
            "cost": _cost(row),
            "metrics": {key: value.as_dict() for key, value in row.results.values.items()},
        }
        for name, row in comparison.rows.items()
    }
    differences = {
        name: {key: _difference(found) for key, found in differing.items()}
        for name, differing in comparison.differences().items()
    }
    return {
        "reference": comparison.reference,
        "primary": comparison.primary,
        "realism": comparison.realism,
        "rows": rows,
        "differences": differences,
        **comparison.text,
    }


def csv_table(comparison: Comparison) -> str:
    """Return CSV with one line for each number."""
    out = io.StringIO()
    heads = ["row", "space", "metric", "value", "standard_error", "low", "high", "num_samples", "k", "reference", "note"]
    table = csv.writer(out, lineterminator="\n")
    table.writerow(heads)
    for name, row in comparison.rows.items():
        for key, amount in _cost(row).items():
            table.writerow([name, "", key, amount, *[""] * 7])
        for key, value in row.results.values.items():
            low, high = value.interval or (None, None)
            note = "; ".join(text for text in (value.note, value.caution) if text) or None
            numbers = [value.value, value.standard_error, low, high, value.num_samples, value.k, value.reference, note]
            table.writerow([name, *key.rpartition("/")[::2], *("" if number is None else number for number in numbers)])
    return out.getvalue()


def markdown_table(comparison: Comparison) -> str:
    """Return an overview, then a table for every space."""
    rows = comparison.rows
    shown = {name: measure for name, measure in comparison.measures.items() if measure.label is not None}
    first = [comparison.primary, comparison.realism, *(name for name in shown if "/" not in name)]
    heads = ["", "N", "evaluations", "GFLOP", *map(comparison.label, first)]
    lines = []
    for name, row in rows.items():
        cost = _cost(row)
        cells = [short(cost.get(key)) for key in ("evaluations", "gflop")]
        lines.append([name, str(len(row.results.index)), *cells, *(_cell(row.results.values.get(key)) for key in first)])
    parts = ["# Comparison", _preface(comparison), markdown(heads, lines)]
    for space in dict.fromkeys(name.rpartition("/")[0] for name in shown if "/" in name):
        measures = {name: measure for name, measure in shown.items() if name.rpartition("/")[0] == space}
        lines = [[name, *(_cell(row.results.values.get(key)) for key in measures)] for name, row in rows.items()]
        parts += [f"## {space}", markdown(["", *(measure.text for measure in measures.values())], lines)]
    parts += notes([row.results for row in rows.values()])
    return "\n\n".join(parts) + "\n"


def markdown_differences(comparison: Comparison) -> str:
    """Return the primary endpoint of every row, then the other endpoints row by row."""
    found = comparison.differences()
    primary = comparison.primary
    heads = ["difference ± s.e.", "95 %", "p"]
    parts = [
        f"# Paired differences to {comparison.reference}",
        "Means over samples of the same seed; intervals are 95 % bootstraps, p two-sided by the normal approximation (none "
        f"for fewer than {FEW} samples, whose intervals hold less than 95 %). One "
        f"primary endpoint ({comparison.label(primary)}); the p of the others of a row are Holm's, over that row.",
        markdown(["", *heads], [[name, *_cells(differing[primary])] for name, differing in found.items()]),
    ]
    for name, differing in found.items():
        lines = [[comparison.label(key), *_cells(difference)] for key, difference in differing.items() if key != primary]
        parts += [f"## {name}", markdown(["", *heads[:2], "p (Holm)"], lines)]
    return "\n\n".join(parts) + "\n"


def _preface(comparison: Comparison) -> str:
    lines = [
        "± is one standard error. An evaluation is one forward of the network; backwards, and what else is computed, count "
        "by their operations. Score and NELBO come from one model, with the same draws for all rows. Fréchet distances are "
        "biased upwards at small N: compare rows of equal N alone.",
        *(f"Space {name}: {space['features']['name']}, {space['dimensions']} dimensions; reference "
          f"{space['reference']['name']} (N = {space['reference']['num_samples']})."
          for name, space in comparison.text.get("spaces", {}).items()),
    ]  # fmt: skip
    return "\n\n".join(lines)


def _cost(row: Row) -> dict[str, float | None]:
    if row.cost is None:
        return {}
    return {
        "forwards": row.cost.forwards,
        "backwards": row.cost.backwards,
        "evaluations": row.evaluations,
        "gflop": row.cost.flops / 1e9,
    }


def _difference(found: Difference) -> dict[str, Any]:
    return {**found.estimate._asdict(), "p": found.p, "p_holm": found.adjusted}


def _cells(found: Difference) -> list[str]:
    e = found.estimate
    p = found.p if found.adjusted is None else found.adjusted
    digits = error_digits(e.standard_error)
    interval = ABSENT if math.isnan(e.low) else f"{e.low:+.{digits}f} … {e.high:+.{digits}f}"
    error = "" if math.isnan(e.standard_error) else f" ± {e.standard_error:.{digits}f}"
    return [f"{e.value:+.{digits}f}{error}", interval, ABSENT if math.isnan(p) else f"{p:.1g}"]


def _cell(value: Value | None) -> str:
    return ABSENT if value is None else with_error(value.value, value.standard_error)
