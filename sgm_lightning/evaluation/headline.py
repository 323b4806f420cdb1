"""The first lines of a report on pictures of the emoji world, for a reader who has not seen the table."""

from __future__ import annotations

from sgm_lightning.evaluation.format import with_error
from sgm_lightning.evaluation.report import Report
from sgm_lightning.evaluation.results import Value

_LABELS = {
    "world/true_rarity": "Mean true rarity in nats",
    "world/rarest": "Share among the world's rarest tenth",
    "world/unreadable": "Share that cannot be read",
}


def headline(report: Report) -> list[str]:
    """Return a line for true rarity, the rarest tenth and what cannot be read; none if no reader has looked.

    The second set of a pair comes first, because it is the one that was drawn with a method.
    """
    lines = []
    for key, label in _LABELS.items():
        told = {name: _told(results.values[key]) for name, results in report.sets.items() if key in results.values}
        if report.pair and len(told) == len(report.sets):
            plain, method = report.pair
            text = f"{told[method]} with {method}, {told[plain]} without"
        else:
            text = ", ".join(f"{value} ({name})" for name, value in told.items())
        if text:
            lines.append(f"{label}: {text}.")
    return lines


def _told(value: Value) -> str:
    return with_error(value.value, value.standard_error)
