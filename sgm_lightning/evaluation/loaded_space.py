"""A feature space that is ready for measurements: its extractor, and the features of the real images."""

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
    """A feature space whose reference features have been read.

    Attributes:
        extractor: Feature extractor, from images to features.
        real: Features of the real images, the reference.
        text: Description of extractor, reference and tail, for reports.
        neighbours: Whether nearest-neighbour metrics are computed.
        tail_from: Features of the same real images in the space in which their tail is chosen.
        tail_share: Share of the real images that forms the tail.
        training: (M, D) features of training images.
        held_out: (M', D) features of images that the model never saw.
        metrics: User-defined metrics by name; each is made from `real`.
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
        """Features of the real images in the tail; the first access takes a search of neighbours."""
        return None if self.tail_from is None else self.real.features[self.tail_from.tail(self.tail_share)]

    @cached_property
    def moments(self) -> Moments:
        """Moments of the features of all real images."""
        return moments(self.real.features)

    @cached_property
    def tail_moments(self) -> Moments:
        """Moments of the features of the tail."""
        assert self.tail is not None
        return moments(self.tail)
