"""Closeness to the set of real images, as torchmetrics: precision and recall, density and coverage."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from sgm_lightning.metrics import density
from sgm_lightning.metrics.indexed import IndexedMetric, PerSample
from sgm_lightning.metrics.real import RealFeatures


class PrecisionRecall(IndexedMetric):
    """Improved precision and recall (Kynkäänniemi et al. 2019), density and coverage (Naeem et al. 2020).

    Args:
        real: (M, D) features of real images, M > k.
        k: Number of neighbours: a ball reaches to the k-th nearest feature of the same set, so more than k samples are
            needed.
        **kwargs: Options of `torchmetrics.Metric`.
    """

    higher_is_better = True

    def __init__(self, real: Tensor | RealFeatures, k: int = 3, **kwargs: Any) -> None:
        known = RealFeatures.of(real)
        super().__init__(row_shape=(known.features.shape[1],), **kwargs)
        self.real = known
        self.k = k

    def compute(self) -> dict[str, Tensor]:
        """Return `precision`, `recall`, `density`, `coverage`; see `density.Prdc`."""
        found = density.prdc(self.ordered()[1], self.real, self.k)
        return {name: self.real.features.new_tensor(value).double() for name, value in found._asdict().items()}

    def per_sample(self) -> dict[str, PerSample]:
        """Return `precision` (0 or 1) and `density` of every sample. Like `compute`, all processes must call it."""
        with self.sync_context(dist_sync_fn=self.dist_sync_fn, should_sync=self._to_sync):
            index, rows = self.ordered()
            found = density.fidelity(rows, self.real, self.k)
            return {name: PerSample(index, values) for name, values in found._asdict().items()}
