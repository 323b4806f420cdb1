"""Metrics whose states record sample indices, so that order, repetition and the number of processes do not matter."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from sgm_lightning.errors import SGMError


@dataclass(frozen=True)
class PerSample:
    """A value for every sample.

    Attributes:
        index: Sample indices, (N,) int64, ascending, each once.
        values: Values of the samples, (N,) float64.
    """

    index: Tensor
    values: Tensor


class IndexedMetric(Metric, ABC):
    """Keeps a row for every sample index; a sample that comes twice, as padding or after a restart, counts once.

    Args:
        row_shape: Shape of a row: () for values, (D,) for features.
        **kwargs: Options of `torchmetrics.Metric`.
    """

    full_state_update = False
    index: list[Tensor]
    rows: list[Tensor]

    def __init__(self, row_shape: tuple[int, ...] = (), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.row_shape = row_shape
        self.add_state("index", [], dist_reduce_fx="cat")
        self.add_state("rows", [], dist_reduce_fx="cat")

    def update(self, rows: Tensor, index: Tensor) -> None:
        """Add (B, …) rows of the samples `index`, (B,) int64."""
        if len(rows) != len(index):
            raise SGMError(f"Every row needs one sample index, got {len(rows)} rows and {len(index)} indices.")
        self.index.append(index.to(self.device, torch.int64))
        self.rows.append(rows.detach().to(self.device))

    def ordered(self) -> tuple[Tensor, Tensor]:
        """Return the indices, ascending, and their rows.

        Raises:
            SGMError: If there are no rows.
        """
        # The states are lists until the processes have shared them, then tensors.
        index, rows = (dim_zero_cat(state) if len(state) else torch.empty(0) for state in (self.index, self.rows))
        if not len(index):
            raise SGMError(f"{type(self).__name__} has seen no samples; update it first.")
        order = index.argsort(stable=True)
        index = index[order]
        first = torch.ones_like(index, dtype=torch.bool)
        first[1:] = index[1:] != index[:-1]
        return index[first], rows[order[first]]

    def _sync_dist(self, *args: Any, **kwargs: Any) -> None:
        if not self.index:  # torchmetrics would send a flat, empty float tensor, which cannot be joined with rows
            self.index.append(torch.empty(0, dtype=torch.int64, device=self.device))
            self.rows.append(torch.empty(0, *self.row_shape, device=self.device))
        super()._sync_dist(*args, **kwargs)


class PerSampleMetric(IndexedMetric):
    """A metric that is the mean of one value per sample.

    Reports read its attributes `label` (where `{k}` stands for its `k`), `unit` and `k`, if it has them.
    """

    @abstractmethod
    def values(self, rows: Tensor) -> Tensor:
        """Return the value of every row, (N,)."""

    def compute(self) -> Any:
        """Return the mean over all samples of all processes, float64."""
        return self._per_sample().values.mean()

    def per_sample(self) -> PerSample:
        """Return the value of every sample of all processes. Like `compute`, all of them must call it."""
        with self.sync_context(dist_sync_fn=self.dist_sync_fn, should_sync=self._to_sync):
            return self._per_sample()

    def _per_sample(self) -> PerSample:
        index, rows = self.ordered()
        return PerSample(index, self.values(rows).double())
