"""Between pixels and the space in which a model diffuses."""

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
        """x_0 of (B, C, H, W) float32 images in [−1, 1]."""

    def decode(self, x_0: Tensor) -> Tensor:
        """(B, C, H, W) float32 images, nominally in [−1, 1], of x_0."""

    def pixel_shape(self, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        """(C, H, W) of the image of an x_0 of that shape."""


class Pixels:
    """The codec of models that diffuse pixels: nothing changes."""

    bounded = True

    def encode(self, pixels: Tensor) -> Tensor:
        """The images themselves."""
        return pixels

    def decode(self, x_0: Tensor) -> Tensor:
        """x_0 itself."""
        return x_0

    def pixel_shape(self, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        """The same shape."""
        return shape


PIXELS = Pixels()


def to_images(codec: Codec, x_0: Tensor) -> Tensor:
    """(B, C, H, W) uint8 images of states, as they are written, measured and scored."""
    return to_uint8(codec.decode(x_0))


def from_images(codec: Codec, images: Tensor) -> Tensor:
    """States x_0 of (B, C, H, W) uint8 images."""
    return codec.encode(from_uint8(images))
