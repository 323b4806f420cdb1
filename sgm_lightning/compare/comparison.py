"""Rows of a comparison, and the differences of the settings to one of them."""

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
    """A row of the table.

    Attributes:
        results: Measured values of the row.
        paired: Whether image i has the same seed as image i of every setting.
        cost: Cost of drawing an image; None for an anchor.
        seconds: Seconds per image, if they were measured.
    """

    results: Results
    paired: bool = True
    cost: Cost | None = None
    seconds: float | None = None

    @property
    def evaluations(self) -> float | None:
        """All operations of an image in units of one forward pass of the network; a backward pass counts by its cost."""
        return None if self.cost is None else self.cost.flops / self.cost.forward_flops


@dataclass
class Difference:
    """The mean paired difference of a row to the reference.

    Attributes:
        estimate: Difference with its standard error and 95 % bootstrap interval.
        p: Two-sided p-value of no difference.
        adjusted: The p-value after Holm's correction over the row's endpoints but the primary one; None for that one.
    """

    estimate: Estimate
    p: float
    adjusted: float | None


@dataclass
class Comparison:
    """All rows of a comparison.

    Attributes:
        rows: Rows by name, in the order of the table.
        reference: Name of the row to which differences are taken.
        primary: The one primary endpoint, such as `imagenet/avg_knn`.
        realism: Value that the plot shows as realism, such as `classifier/density`.
        text: Description of spaces, model and configuration, on which the numbers depend.
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
        """Return the text of a name such as `imagenet/avg_knn`."""
        measure = self.measures.get(name)
        return name if measure is None else full_label(name, measure)

    def differences(self) -> dict[str, dict[str, Difference]]:
        """Return the differences of every paired row but the reference, by row and endpoint."""
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
        """Return a sort key: the primary endpoint comes first, the model's own last; the others keep their order."""
        return key != self.primary, "/" not in key
