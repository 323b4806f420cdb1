"""Preparation of uint8 images for a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from sgm_lightning.errors import SGMError


@dataclass
class Normalise:
    """Sets channels, size and normalisation of images. Reports record it beside every value that depends on it.

    Args:
        size: Side in pixels to which images are resized (bilinear, antialiased; not rounded back to levels); null keeps
            their size.
        channels: Number of channels that the network takes.
        repeat_gray: Whether to repeat one channel to three instead of refusing gray images.
        mean: Mean per channel, in [0, 1], which is subtracted.
        std: Standard deviation per channel, in [0, 1], which is divided by.
    """

    size: int | None = None
    channels: int = 3
    repeat_gray: bool = False
    mean: Sequence[float] = (0.5,)
    std: Sequence[float] = (0.5,)

    def __call__(self, images: Tensor) -> Tensor:
        """Convert (B, C, H, W) uint8 to (B, channels, size, size) float32.

        Raises:
            SGMError: If the images are not uint8, or their channels do not fit.
        """
        return self.resized(self.fit_channels(images).float() / 255)

    def of_floats(self, x: Tensor) -> Tensor:
        """Convert (B, C, H, W) float32 in [−1, 1] in the same way, differentiable and not quantised."""
        return self.resized(self._fit_channels((x + 1) / 2))

    def resized(self, x: Tensor) -> Tensor:
        """Resize and normalise (B, channels, H, W) float32 in [0, 1]."""
        if self.size is not None and x.shape[-2:] != (self.size, self.size):
            x = functional.interpolate(x, (self.size, self.size), mode="bilinear", antialias=True, align_corners=False)
        mean, std = (_row(values, x.device) for values in (self.mean, self.std))
        return (x - mean) / std

    def fit_channels(self, images: Tensor) -> Tensor:
        """Return the images with the network's number of channels."""
        if images.ndim != 4 or images.dtype != torch.uint8:
            raise SGMError(
                f"Features are taken of uint8 images of shape (B, C, H, W), got {images.dtype} of shape "
                f"{tuple(images.shape)}; quantise with `to_uint8`."
            )
        return self._fit_channels(images)

    def _fit_channels(self, images: Tensor) -> Tensor:
        given = images.shape[1]
        if given == 1 and self.channels == 3 and self.repeat_gray:
            return images.expand(-1, 3, -1, -1)
        if given != self.channels:
            kind = {1: "grayscale", 3: "RGB"}
            remedy = "set `repeat_gray: true`" if given == 1 else "take an extractor for such images"
            raise SGMError(
                f"The feature extractor takes {kind.get(self.channels, self.channels)} images of {self.channels} "
                f"channel(s), got {kind.get(given, given)} ones of {given}; {remedy}."
            )
        return images

    def describe(self) -> dict[str, Any]:
        """Return the description that reports record."""
        text = {key: list(value) if isinstance(value, (list, tuple)) else value for key, value in asdict(self).items()}
        resize = "none" if self.size is None else f"{self.size}, bilinear, antialiased"
        return {**text, "resize": resize, "quantised": "uint8 before, float32 after"}


def _row(values: Sequence[float], device: torch.device) -> Tensor:
    """Return the values as (1, C, 1, 1), filled on the device: guidance would wait for the copy of a list."""
    return torch.cat([torch.full((1, 1, 1, 1), value, device=device) for value in values], dim=1)
