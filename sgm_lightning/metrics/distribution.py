"""Distances between distributions of features, as torchmetrics: Fréchet (FID, sFID, FD-DINOv2) and kernel (KID)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from sgm_lightning.errors import SGMError
from sgm_lightning.metrics.frechet import Moments, frechet_distance, kernel_distance, moments
from sgm_lightning.metrics.indexed import IndexedMetric
from sgm_lightning.metrics.neighbours import TooFew
from sgm_lightning.metrics.real import RealFeatures


class FrechetDistance(Metric):
    """FID in InceptionV3's pool features, sFID in its spatial ones, FD in any other space (Heusel et al. 2017).

    Means and covariances are summed as samples arrive, in float64 and around the reference's mean, in D × D memory. The
    value is biased upwards below about 2048 samples: compare at equal N.

    Args:
        real: (M, D) features of real images, or their moments.
        **kwargs: Options of `torchmetrics.Metric`.

    Example:
        >>> import torch
        >>> real = torch.tensor([[0.0], [2.0]])
        >>> metric = FrechetDistance(real)
        >>> metric.update(real + 3, torch.tensor([0, 1]))
        >>> round(metric.compute().item(), 6)
        9.0
    """

    higher_is_better = False
    full_state_update = False
    index: list[Tensor]
    total: Tensor
    products: Tensor
    real_mean: Tensor
    real_covariance: Tensor

    def __init__(self, real: Tensor | RealFeatures | Moments, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        features = real.features if isinstance(real, RealFeatures) else real
        known = features if isinstance(features, Moments) else moments(features)
        self.register_buffer("real_mean", known.mean, persistent=False)
        self.register_buffer("real_covariance", known.covariance, persistent=False)
        self.add_state("index", [], dist_reduce_fx="cat")
        self.add_state("total", torch.zeros_like(known.mean), dist_reduce_fx="sum")
        self.add_state("products", torch.zeros_like(known.covariance), dist_reduce_fx="sum")

    def update(self, rows: Tensor, index: Tensor) -> None:
        """Add (B, D) features of the samples `index`, without those that this process has already seen."""
        index = index.to(self.device, torch.int64)
        new = torch.ones_like(index, dtype=torch.bool)
        if self.index:
            new = ~torch.isin(index, torch.cat(self.index))
        centred = rows[new].detach().to(self.device).double() - self.real_mean
        if not bool(torch.isfinite(centred).all()):
            raise SGMError("The samples hold NaN or infinite features; check the images and the extractor.")
        self.index.append(index[new])
        self.total = self.total + centred.sum(0)
        self.products = self.products + centred.T @ centred

    def compute(self) -> Tensor:
        """Return the distance, float64.

        Raises:
            SGMError: If there are fewer than two samples, or two processes were given the same one.
        """
        index = dim_zero_cat(self.index) if len(self.index) else torch.empty(0)
        count = len(index)
        if count < 2:
            raise TooFew(f"This metric needs at least 2 samples, got {count}; take more.")
        if len(index.unique()) < count:
            raise SGMError(
                "FrechetDistance was given one sample by two processes; deal the samples out without padding "
                "(`DistributedSampler(drop_last=True)` or every world_size-th)."
            )
        offset = self.total / count
        covariance = (self.products - count * torch.outer(offset, offset)) / (count - 1)
        value = frechet_distance(Moments(self.real_mean + offset, covariance), Moments(self.real_mean, self.real_covariance))
        return self.total.new_tensor(value)


class KernelDistance(IndexedMetric):
    """KID, the unbiased squared MMD under a cubic kernel, over random subsets (Bińkowski et al. 2018).

    Args:
        real: (M, D) features of real images.
        subsets: Number of subsets.
        subset_size: Number of samples per subset.
        seed: Seed of the random subsets.
        **kwargs: Options of `torchmetrics.Metric`.
    """

    higher_is_better = False
    real: Tensor

    def __init__(
        self,
        real: Tensor | RealFeatures,
        subsets: int = 100,
        subset_size: int = 1000,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        features = real.features if isinstance(real, RealFeatures) else real
        super().__init__(row_shape=(features.shape[1],), **kwargs)
        self.register_buffer("real", features, persistent=False)
        self.subsets, self.subset_size, self.seed = subsets, subset_size, seed

    def compute(self) -> dict[str, Tensor]:
        """Return `kid`, and its `standard_error` over the subsets."""
        rows = self.ordered()[1]
        found = kernel_distance(rows, self.real, self.subsets, self.subset_size, self.seed)
        return {
            "kid": torch.tensor(found.value, dtype=torch.float64),
            "standard_error": torch.tensor(found.standard_error, dtype=torch.float64),
        }
