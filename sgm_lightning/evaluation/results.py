"""The numbers that the evaluation of one set of images gives."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from sgm_lightning.evaluation.measures import Measure


@dataclass
class Value:
    """A number and everything that it depends on.

    Attributes:
        value: The number, or None if it could not be computed.
        num_samples: Number of samples, N.
        standard_error: Standard error of a mean over samples, or over KID's subsets.
        interval: 95 % bootstrap interval of a mean over samples.
        k: Number of neighbours.
        space: Name of the feature space.
        reference: Real images that it was compared with, and their number.
        note: Unit, or the reason why there is no number.
        caution: Condition of the measure that these images do not meet, although there is a number.
    """

    value: float | None
    num_samples: int
    standard_error: float | None = None
    interval: tuple[float, float] | None = None
    k: int | None = None
    space: str | None = None
    reference: str | None = None
    note: str | None = None
    caution: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the fields that are not None, and always `value`."""
        return {key: value for key, value in asdict(self).items() if value is not None or key == "value"}


@dataclass
class Results:
    """All numbers of one set of images. Names are `minority_score`, `nelbo`, and `SPACE/KEY` for the measures of a space.

    Attributes:
        index: (N,) int64 sample indices.
        per_sample: (N,) columns by name.
        values: Numbers by name, in the order of files.
        measures: Measure behind each number, by name, in the order of tables.
        factors: (N, 4) int64 factors that a reader of the emoji world saw, or None without one.
    """

    index: np.ndarray
    per_sample: dict[str, np.ndarray] = field(default_factory=dict)
    values: dict[str, Value] = field(default_factory=dict)
    measures: dict[str, Measure] = field(default_factory=dict)
    factors: np.ndarray | None = None


def measures_in(sets: Iterable[Results]) -> dict[str, Measure]:
    """Return the measures for which one of several sets has a number, in the order of tables."""
    known = list(sets)
    union = {name: measure for results in known for name, measure in results.measures.items()}
    return {name: measure for name, measure in union.items() if any(name in results.values for results in known)}


def full_label(name: str, measure: Measure) -> str:
    """Return the text of a name such as `imagenet/avg_knn`.

    Example:
        >>> full_label("imagenet/recall", Measure("recall", "recall", "set"))
        'recall, imagenet'
    """
    space = name.rpartition("/")[0]
    return f"{measure.text}, {space}" if space else measure.text
