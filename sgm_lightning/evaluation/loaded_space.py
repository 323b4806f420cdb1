"""A feature space that is ready to measure in: its extractor, and the features of the real images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from torch import Tensor
from torchmetrics import Metric

from sgm_lightning.features import FeatureExtractor
from sgm_lightning.metrics import RealFeatures, moments
from sgm_lightning.metrics.frechet import Moments


@dataclass
class LoadedSpace:
    """A space whose reference features have been read.

    Attributes:
        extractor: Images to features.
        real: The reference.
        text: What reports record of extractor, reference and tail.
        neighbours: Whether metrics of nearest neighbours are wanted.
        tail_from: The same real images in the space that their tail is chosen in.
        tail_share: How much of them the tail is.
        training: (M, D) features of training images.
        held_out: (M', D) features of unseen ones.
        metrics: Metrics beyond the usual ones, by name; each is made from `real`.
    """

    extractor: FeatureExtractor
    real: RealFeatures
    text: dict[str, Any]
    neighbours: bool = True
    tail_from: RealFeatures | None = None
    tail_share: float = 0.1
    training: Tensor | None = None
    held_out: Tensor | None = None
    metrics: Mapping[str, Callable[[RealFeatures], Metric]] = field(default_factory=dict)

    @cached_property
    def tail(self) -> Tensor | None:
        """Features of the real images that are the tail; takes a search of neighbours, once."""
        return None if self.tail_from is None else self.real.features[self.tail_from.tail(self.tail_share)]

    @cached_property
    def moments(self) -> Moments:
        """Of all real images."""
        return moments(self.real.features)

    @cached_property
    def tail_moments(self) -> Moments:
        """Of the tail."""
        assert self.tail is not None
        return moments(self.tail)
