"""Anchor rows to judge the numbers by: real images, their tail, and damaged samples, which should not look rarest."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from sgm_lightning.errors import SGMError
from sgm_lightning.evaluation import LoadedSpace
from sgm_lightning.features import Reference
from sgm_lightning.images import ArrayImages, Images
from sgm_lightning.metrics import avg_knn


class Kind(NamedTuple):
    """Shape and labelling of a row's images, known before they are drawn.

    Attributes:
        shape: Shape (C, H, W) of the images.
        labelled: Whether the images have classes.
    """

    shape: tuple[int, ...]
    labelled: bool


class Anchor(ABC):
    """A row that is made from other rows or from real images.

    Attributes:
        of: Name of the setting whose sample i becomes image i; None if there is none.
    """

    of: str | None = None

    def check(self, settings: Collection[str], spaces: Collection[str]) -> None:
        """Raise unless the settings and spaces that the anchor names exist; called before anything is drawn.

        Args:
            settings: Names of the settings.
            spaces: Names of the feature spaces.
        """
        if self.of is not None and self.of not in settings:
            raise SGMError(
                f"{type(self).__name__}.of must name one of the settings ({', '.join(settings)}), got {self.of}; correct it."
            )

    def kind(self, settings: Mapping[str, Kind]) -> Kind | None:
        """Return the shape and labelling of its images, if known."""
        return None if self.of is None else settings[self.of]

    @abstractmethod
    def images(self, settings: Mapping[str, Images], spaces: Mapping[str, LoadedSpace]) -> Images:
        """Return the row's images.

        Args:
            settings: Samples of every setting.
            spaces: Feature spaces of the comparison.
        """


class Degraded(Anchor):
    """Samples of a setting after a change of contrast, blur, and noise, in this order.

    Args:
        of: Name of the setting.
        noise: Standard deviation of white noise, in levels of 0 … 255.
        blur: Standard deviation of a Gaussian blur, in pixels.
        contrast: Factor of the pixel values; 1 changes nothing.
        seed: Seed of the noise; each image has different noise.

    Raises:
        SGMError: If nothing is degraded, or a value is negative.
    """

    def __init__(self, of: str, noise: float = 0.0, blur: float = 0.0, contrast: float = 1.0, seed: int = 0) -> None:
        if min(noise, blur, contrast) < 0 or (noise, blur, contrast) == (0, 0, 1):
            raise SGMError(
                f"Degraded needs one of noise, blur > 0 and contrast other than 1, got {noise}, {blur}, {contrast}; "
                "16 levels, 1 pixel and 1.5 are usual."
            )
        self.of, self.noise, self.blur, self.contrast, self.seed = of, noise, blur, contrast, seed

    def images(self, settings: Mapping[str, Images], spaces: Mapping[str, LoadedSpace]) -> Images:
        assert self.of is not None
        source = settings[self.of]
        x = source.read(range(len(source))).float() * self.contrast
        if self.blur:
            side = 2 * int(np.ceil(2 * self.blur)) + 1
            x = gaussian_blur(x, [side, side], [self.blur, self.blur])
        if self.noise:
            x = x + self.noise * self._noise(x)
        return ArrayImages(x.round().clamp(0, 255).to(torch.uint8), source.labels, f"{self.of}, degraded")

    def _noise(self, x: Tensor) -> Tensor:
        rows = [np.random.default_rng((self.seed, i)).standard_normal(x.shape[1:], np.float32) for i in range(len(x))]
        return torch.from_numpy(np.stack(rows))


class RareImages(Anchor):
    """The real images that lie farthest from the reference in one space, where their values are high by construction.

    Args:
        source: Real images to choose from.
        space: Name of the space in which they are chosen.
        count: Number of images to choose.
    """

    def __init__(self, source: Images, space: str, count: int = 1000) -> None:
        if not 1 <= count <= len(source):
            raise SGMError(
                f"count must lie between 1 and the number of images ({len(source)}), got {count}; a tenth is usual."
            )
        self.source, self.space, self.count = source, space, count

    def check(self, settings: Collection[str], spaces: Collection[str]) -> None:
        if self.space not in spaces:
            raise SGMError(
                f"RareImages.space must name one of the spaces ({', '.join(spaces)}), got {self.space}; correct it."
            )

    def kind(self, settings: Mapping[str, Kind]) -> Kind:
        return Kind(self.source.shape, self.source.labels is not None)

    def images(self, settings: Mapping[str, Images], spaces: Mapping[str, LoadedSpace]) -> Images:
        space = spaces[self.space]
        features = Reference(self.source).features(space.extractor)[0]  # kept in the cache: they are many
        rarity = avg_knn(features, space.real)
        rows = sorted(rarity.topk(self.count).indices.tolist())
        labels = self.source.labels
        return ArrayImages(self.source.read(rows), None if labels is None else labels[rows], f"rare {self.source.name}")
