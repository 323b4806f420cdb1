"""Rows of a comparison, and how the settings differ from one of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sgm_lightning.errors import SGMError
from sgm_lightning.evaluation import Measure, Results
from sgm_lightning.evaluation.report import paired_differences
from sgm_lightning.evaluation.results import full_label, measures_in
from sgm_lightning.evaluation.statistics import Estimate, holm, two_sided_p
from sgm_lightning.predict.cost import Cost


@dataclass
class Row:
    """A line of the table.

    Attributes:
        results: What was measured.
        paired: Whether image i is of the same seed as every setting's.
        cost: Of drawing an image; None for an anchor.
        seconds: Of an image, if it was timed.
    """

    results: Results
    paired: bool = True
    cost: Cost | None = None
    seconds: float | None = None

    @property
    def evaluations(self) -> float | None:
        """All operations of an image in units of one forward of the network: a backward counts as what it costs."""
        return None if self.cost is None else self.cost.flops / self.cost.forward_flops


@dataclass
class Difference:
    """A row's mean paired difference to the reference.

    Attributes:
        estimate: With standard error and 95 % bootstrap interval.
        p: Two-sided, of no difference.
        adjusted: The same after Holm's correction over the row's endpoints but the primary one; None for that one.
    """

    estimate: Estimate
    p: float
    adjusted: float | None


@dataclass
class Comparison:
    """All rows.

    Attributes:
        rows: By name, in the order of the table.
        reference: Name of the row that differences are to.
        primary: The one primary endpoint, such as `imagenet/avg_knn`.
        realism: What the plot sets it against, such as `classifier/density`.
        text: What else the numbers hang on.
    """

    rows: dict[str, Row]
    reference: str
    primary: str
    realism: str
    text: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        columns = self.rows[self.reference].results.per_sample
        for name, value in (("primary", self.primary), ("realism", self.realism)):
            if value not in columns:
                raise SGMError(f"{name} must be one of what every sample has ({', '.join(columns)}), got {value}.")

    @property
    def measures(self) -> dict[str, Measure]:
        """The measures that some row has, in the order of tables."""
        return measures_in(row.results for row in self.rows.values())

    def label(self, name: str) -> str:
        """`imagenet/avg_knn` in words."""
        measure = self.measures.get(name)
        return name if measure is None else full_label(name, measure)

    def differences(self) -> dict[str, dict[str, Difference]]:
        """Of every paired row but the reference, by endpoint."""
        reference = self.rows[self.reference].results
        found = {}
        for name, row in self.rows.items():
            if row.paired and name != self.reference:
                estimates = paired_differences(reference, row.results)
                p = {key: two_sided_p(estimate) for key, estimate in estimates.items()}
                tested = {key: value for key, value in p.items() if key != self.primary and value == value}
                adjusted = holm(tested)
                found[name] = {
                    key: Difference(estimates[key], p[key], adjusted.get(key)) for key in sorted(estimates, key=self._order)
                }
        return found

    def _order(self, key: str) -> tuple[bool, bool]:
        """The primary endpoint first, the model's own last; otherwise as they came."""
        return key != self.primary, "/" not in key
