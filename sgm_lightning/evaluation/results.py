"""The numbers that an evaluation of one set of images gives."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from sgm_lightning.evaluation.measures import Measure


@dataclass
class Value:
    """A number and what it hangs on.

    Attributes:
        value: The number; None if it could not be had.
        num_samples: N.
        standard_error: Of a mean over samples, or over KID's subsets.
        interval: 95 % bootstrap interval of a mean over samples.
        k: Neighbours.
        space: Name of the feature space.
        reference: Real set it was compared with, and its size.
        note: Unit, or why there is no number.
    """

    value: float | None
    num_samples: int
    standard_error: float | None = None
    interval: tuple[float, float] | None = None
    k: int | None = None
    space: str | None = None
    reference: str | None = None
    note: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Without what does not apply; `value` always."""
        return {key: value for key, value in asdict(self).items() if value is not None or key == "value"}


@dataclass
class Results:
    """All numbers of one set of images. Names are `minority_score`, `nelbo`, and `SPACE/KEY` for the measures of a space.

    Attributes:
        index: (N,) sample indices.
        per_sample: (N,) columns by name.
        values: Numbers by name, in the order of files.
        measures: What is known about each number, by name, in the order of tables.
    """

    index: np.ndarray
    per_sample: dict[str, np.ndarray] = field(default_factory=dict)
    values: dict[str, Value] = field(default_factory=dict)
    measures: dict[str, Measure] = field(default_factory=dict)


def measures_in(sets: Iterable[Results]) -> dict[str, Measure]:
    """The measures of several sets that one of them has a number for, in the order of tables."""
    known = list(sets)
    union = {name: measure for results in known for name, measure in results.measures.items()}
    return {name: measure for name, measure in union.items() if any(name in results.values for results in known)}


def full_label(name: str, measure: Measure) -> str:
    """`imagenet/avg_knn` in words.

    Example:
        >>> full_label("imagenet/recall", Measure("recall", "recall", "set"))
        'recall, imagenet'
    """
    space = name.rpartition("/")[0]
    return f"{measure.text}, {space}" if space else measure.text
