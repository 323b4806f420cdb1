"""Rarity among real images, as torchmetrics: AvgkNN, local outlier factor, rarity score."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sgm_lightning.metrics import density
from sgm_lightning.metrics.indexed import PerSampleMetric
from sgm_lightning.metrics.real import RealFeatures


class _AgainstReal(PerSampleMetric):
    """A metric whose rows are (N, D) features; `real` is (M, D), or `RealFeatures` that several metrics share."""

    higher_is_better = True

    def __init__(self, real: Tensor | RealFeatures, k: int, **kwargs: Any) -> None:
        known = RealFeatures.of(real)
        super().__init__(row_shape=(known.features.shape[1],), **kwargs)
        self.real = known
        self.k = k


class AvgKNN(_AgainstReal):
    """Mean distance to the k nearest real images; higher = rarer (Um & Ye 2024).

    Args:
        real: (M, D) features of real images.
        k: Number of neighbours.
        **kwargs: Options of `torchmetrics.Metric`.

    Example:
        >>> import torch
        >>> metric = AvgKNN(torch.tensor([[0.0], [1.0], [2.0]]), k=2)
        >>> metric.update(torch.tensor([[5.0], [1.5]]), torch.tensor([1, 0]))
        >>> metric.compute()
        tensor(2., dtype=torch.float64)
        >>> metric.per_sample().values
        tensor([0.5000, 3.5000], dtype=torch.float64)
    """

    def __init__(self, real: Tensor | RealFeatures, k: int = 5, **kwargs: Any) -> None:
        super().__init__(real, k, **kwargs)

    def values(self, rows: Tensor) -> Tensor:
        return density.avg_knn(rows, self.real, self.k)


class LocalOutlierFactor(_AgainstReal):
    """Local outlier factor with respect to real images; about 1 inside clusters, higher = rarer (Breunig et al. 2000).

    Args:
        real: (M, D) features of real images, M > k.
        k: Number of neighbours.
        **kwargs: Options of `torchmetrics.Metric`.
    """

    def __init__(self, real: Tensor | RealFeatures, k: int = 20, **kwargs: Any) -> None:
        super().__init__(real, k, **kwargs)

    def values(self, rows: Tensor) -> Tensor:
        return density.local_outlier_factor(rows, self.real, self.k)


class RarityScore(_AgainstReal):
    """Radius of the smallest real ball around a sample, 0 outside all (Han et al. 2023); higher = rarer.

    Args:
        real: (M, D) features of real images, M > k.
        k: A ball reaches from a real image to its k-th nearest.
        **kwargs: Options of `torchmetrics.Metric`.
    """

    def __init__(self, real: Tensor | RealFeatures, k: int = 3, **kwargs: Any) -> None:
        super().__init__(real, k, **kwargs)

    def values(self, rows: Tensor) -> Tensor:
        return density.rarity_score(rows, self.real, self.k)

    def compute(self) -> dict[str, Tensor]:
        """Return `rarity`, the mean over the samples inside a ball (NaN if none), and `outside`, the share of the others."""
        values = self._per_sample().values
        inside = values > 0
        return {"rarity": values[inside].mean(), "outside": 1 - inside.double().mean()}


class Memorised(PerSampleMetric):
    """Share of samples nearer to a training image than to any of an equally large held-out set; chance gives half.

    Args:
        training: (M, D) features of training images.
        held_out: (M', D) features of images that the model never saw; of both, the first min(M, M') are used.
        **kwargs: Options of `torchmetrics.Metric`.
    """

    higher_is_better = False
    seen: Tensor
    unseen: Tensor

    def __init__(self, training: Tensor, held_out: Tensor, **kwargs: Any) -> None:
        super().__init__(row_shape=(training.shape[1],), **kwargs)
        self.register_buffer("seen", training, persistent=False)
        self.register_buffer("unseen", held_out, persistent=False)

    def values(self, rows: Tensor) -> Tensor:
        return density.memorised_share(rows, self.seen, self.unseen).to(torch.float64)
