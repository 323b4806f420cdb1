"""Features of the real images that samples are compared with."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sgm_lightning.metrics.neighbours import Neighbours, check_features, nearest

# The k of the local outlier factor; metrics with smaller k read the first columns.
_USUAL_K = 20


class RealFeatures(nn.Module):
    """Features of real images and, once needed, the neighbours among them, which all metrics share.

    Args:
        features: Features of shape (M, D).
    """

    features: Tensor

    def __init__(self, features: Tensor) -> None:
        super().__init__()
        check_features(features, "reference samples")
        self.register_buffer("features", features, persistent=False)
        self._neighbours: Neighbours | None = None

    def __len__(self) -> int:
        return len(self.features)

    @classmethod
    def of(cls, real: Tensor | RealFeatures) -> RealFeatures:
        """Return `real` as `RealFeatures`; plain features are wrapped."""
        return real if isinstance(real, RealFeatures) else cls(real)

    def neighbours(self, k: int) -> Neighbours:
        """Return the k nearest other real images of every real image."""
        known = self._neighbours
        if known is None or known.distances.shape[1] < k or known.distances.device != self.features.device:
            self._neighbours = nearest(self.features, self.features, k, exclude_self=True)
        found = self._neighbours
        assert found is not None
        return Neighbours(found.distances[:, :k], found.indices[:, :k])

    def radii(self, k: int) -> Tensor:
        """Return the distance to the k-th nearest other real image, (M,) float64."""
        return self.neighbours(k).distances[:, -1]

    def tail(self, share: float, k: int = 5) -> Tensor:
        """Return the indices of the `share` of the images that are farthest from the others (AvgkNN), ascending."""
        usual = max(k, min(_USUAL_K, len(self) - 1))  # LOF needs as many next
        rarity = self.neighbours(usual).distances[:, :k].mean(1)
        return torch.sort(rarity.topk(self.tail_size(share)).indices).values

    def tail_size(self, share: float) -> int:
        """Return the number of images in the tail."""
        return max(1, round(share * len(self)))
