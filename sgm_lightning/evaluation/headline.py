"""The first lines of a report on pictures of the emoji world, for a reader who has not seen the table."""

from __future__ import annotations

from collections.abc import Callable

from sgm_lightning.evaluation.format import difference, with_error
from sgm_lightning.evaluation.report import Report
from sgm_lightning.evaluation.results import Value

_SENTENCES: dict[str, Callable[[str, str], str]] = {
    "world/true_rarity": lambda name, value: f"{name}: the mean true rarity is {value} nats",
    "world/rarest": lambda name, value: f"{name}: the share among the world's rarest tenth is {value}",
    "world/unreadable": lambda name, value: f"{name}: the share that cannot be read is {value}",
}


def headline(report: Report) -> list[str]:
    """Return a sentence for true rarity, the rarest tenth and what cannot be read; none if no reader has looked.

    The second set of a pair comes first, because it is the one that was drawn with a method.
    """
    first, *others = reversed(report.pair) if report.pair else report.sets
    lines = []
    for key, sentence in _SENTENCES.items():
        if key not in report.sets[first].values:
            continue
        told = sentence(first, _told(report.sets[first].values[key]))
        beside = [f"{name} {_told(report.sets[name].values[key])}" for name in others if key in report.sets[name].values]
        paired = report.differences.get(key)
        if paired is not None:
            beside.append(f"paired difference {difference(paired.value, paired.standard_error)}")
        lines.append("; ".join([told, *beside]) + ".")
    return lines


def _told(value: Value) -> str:
    return with_error(value.value, value.standard_error)
