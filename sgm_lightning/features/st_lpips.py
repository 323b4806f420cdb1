"""The space in which shift-tolerant LPIPS is a squared Euclidean distance."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from sgm_lightning.features.extractor import FeatureExtractor
from sgm_lightning.features.normalise import Normalise
from sgm_lightning.scores.shift_tolerant import ShiftTolerantNetwork


class STLPIPSFeatures(FeatureExtractor):
    """The maps that ST-LPIPS compares, of AlexNet or VGG-16 with the weights of the package `stlpips-pytorch`.

    A map is √w ⊙ u: the activations u of a layer, of unit length in every pixel, times the roots of the learned weights w
    of its channels. Not pooled, the five maps are flattened, and each is divided by the root of its number of pixels, so
    that ‖f(a) − f(b)‖² is the distance `STLPIPS`. Pooled, they are averaged over their pixels, which leaves 1152 numbers
    (`alex`) or 1472 (`vgg`) for images of any size; ‖f(a) − f(b)‖² is then at most that distance, and hardly depends on
    where things are.

    Args:
        net: Name of the trunk. `alex` takes images from 21 × 21 pixels on, `vgg` from 18 × 18.
        pool: Whether maps are averaged over their pixels. Otherwise an image of 32 × 32 pixels has 36,288 features
            (`alex`) or 140,672 (`vgg`): too many for Fréchet distances, and for more than some thousand images.
        size: Side in pixels to which images are resized; null keeps their size, as `STLPIPS` does.
        repeat_gray: Whether to repeat one channel to three instead of refusing gray images.
    """

    def __init__(
        self,
        net: Literal["alex", "vgg"] = "alex",
        pool: bool = True,
        size: int | None = None,
        repeat_gray: bool = False,
    ) -> None:
        super().__init__()
        self.name = f"ST-LPIPS-{net}{', pooled' if pool else ''}"
        self.prepare = Normalise(size=size, repeat_gray=repeat_gray)
        self.network = ShiftTolerantNetwork(net)
        self.pool = pool
        self.eval().requires_grad_(False)

    def features(self, x: Tensor) -> Tensor:
        maps = self.network.maps(x)
        if self.pool:
            return torch.cat([u.mean((2, 3)) for u in maps], 1)
        return torch.cat([u.flatten(1) / (u.shape[2] * u.shape[3]) ** 0.5 for u in maps], 1)
