"""Conversion between pixels and the space in which a model diffuses."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from sgm_lightning.diffusion.pixels import from_uint8, to_uint8


class Codec(Protocol):
    """Maps images to the states x_0 of a model and back.

    Attributes:
        bounded: Whether x_0 lies in [−1, 1], so that a sampler may clip its prediction there.
    """

    bounded: bool

    def encode(self, pixels: Tensor) -> Tensor:
        """Return x_0 of (B, C, H, W) float32 images in [−1, 1]."""

    def decode(self, x_0: Tensor) -> Tensor:
        """Return the (B, C, H, W) float32 images of x_0, nominally in [−1, 1]."""

    def pixel_shape(self, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        """Return the (C, H, W) shape of the image of an x_0 of shape `shape`."""


class Pixels:
    """The identity, for models that diffuse pixels."""

    bounded = True

    def encode(self, pixels: Tensor) -> Tensor:
        """Return the images themselves."""
        return pixels

    def decode(self, x_0: Tensor) -> Tensor:
        """Return x_0 itself."""
        return x_0

    def pixel_shape(self, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        """Return the same shape."""
        return shape


PIXELS = Pixels()


def to_images(codec: Codec, x_0: Tensor) -> Tensor:
    """Return the (B, C, H, W) uint8 images of states, as they are written, measured and scored."""
    return to_uint8(codec.decode(x_0))


def from_images(codec: Codec, images: Tensor) -> Tensor:
    """Return the states x_0 of (B, C, H, W) uint8 images."""
    return codec.encode(from_uint8(images))
