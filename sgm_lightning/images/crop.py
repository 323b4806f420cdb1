"""Conversion of a picture of any size to the square that the network gets, as in ADM."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from PIL import Image

from sgm_lightning.errors import SGMError


class Square:
    """Makes squares of pictures: halves by area while twice too large, resizes bicubically, crops, converts channels.

    Args:
        size: Side of the result.
        channels: Number of channels, 1 or 3.
        crop: Position of the crop, `center` or `random`. With `random`, the shorter side is first resized to between `size`
            and `size` / 0.8 pixels.
        flip: Whether to mirror each picture with probability 1/2.
        value_range: Pixel values that become −1 and 1, for medical images of 12 bits, or a window of Hounsfield units;
            default 0 and the largest of the type (255, 65535). Signed and floating-point pictures need it.
    """

    def __init__(
        self,
        size: int,
        channels: int,
        crop: Literal["center", "random"] = "center",
        flip: bool = False,
        value_range: tuple[float, float] | None = None,
    ) -> None:
        if value_range is not None and not value_range[0] < value_range[1]:
            raise SGMError(f"value_range must be two rising values, got {list(value_range)}.")
        self.size, self.channels, self.crop, self.flip, self.value_range = size, channels, crop, flip, value_range

    @property
    def random(self) -> bool:
        """True if the square of a picture differs from call to call (apart from mirroring)."""
        return self.crop == "random"

    def __call__(self, picture: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
        """Return the square, (size, size, channels), with the picture's uint8 or uint16.

        With a value range, squares of more than 8 bits are float32.

        Args:
            picture: Picture of shape (H, W, C), uint8, uint16 or float32.
            rng: Random generator of a random crop.

        Raises:
            SGMError: If the picture is float32, and no value range is set.
        """
        if picture.dtype != np.uint8 and self.value_range is not None:
            picture = picture.astype(np.float32)  # files of a set may differ in the type that their values need
        elif picture.dtype == np.float32:
            raise SGMError(
                f"Signed and floating-point pictures need a value range, got values from {picture.min():g} to "
                f"{picture.max():g}; set `data.value_range`."
            )
        picture = self._colours(picture)
        shorter = self.size
        if self.random:
            assert rng is not None
            shorter = int(rng.integers(self.size, math.ceil(self.size / 0.8) + 1))
        picture = _resize(picture, shorter)
        rest = picture.shape[0] - self.size, picture.shape[1] - self.size
        top, left = (int(rng.integers(n + 1)) for n in rest) if self.random and rng is not None else (n // 2 for n in rest)
        return picture[top : top + self.size, left : left + self.size]

    def tensor(self, square: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return a square as (channels, size, size) float32 in [−1, 1]."""
        low, high = self.value_range or (0.0, float(np.iinfo(square.dtype).max))  # floats have a value range
        x = (square.astype(np.float32) - low) * np.float32(2 / (high - low)) - 1
        if self.value_range is not None:
            x = x.clip(-1, 1)
        if self.flip and rng.integers(2):
            x = x[:, ::-1]
        return np.ascontiguousarray(x.transpose(2, 0, 1))

    def _colours(self, picture: np.ndarray) -> np.ndarray:
        if picture.shape[2] == self.channels:
            return picture
        if picture.shape[2] == 1:
            return picture.repeat(self.channels, axis=2)
        if picture.shape[2] != 3:
            raise SGMError(
                f"Pictures must have 1 or 3 channels, got an array of shape {picture.shape}, (height, width, channels); "
                "export them in this order and without transparency."
            )
        if picture.dtype == np.uint8:
            return np.array(Image.fromarray(picture).convert("L"))[..., None]
        gray = picture.astype(np.float64) @ np.array([0.299, 0.587, 0.114])  # the weights of 8-bit pictures
        return (gray.round() if picture.dtype == np.uint16 else gray).astype(picture.dtype)[..., None]


def _resize(picture: np.ndarray, shorter: int) -> np.ndarray:
    """Resize the shorter side to `shorter` pixels."""
    if min(picture.shape[:2]) == shorter:
        return picture
    if picture.dtype != np.uint8:  # PIL resizes more than 8 bits as floats only, a channel at a time
        layers = [_resize_image(Image.fromarray(layer.astype(np.float32)), shorter) for layer in picture.transpose(2, 0, 1)]
        resized = np.stack([np.array(layer) for layer in layers], axis=2)
        return resized.round().clip(0, 65535).astype(np.uint16) if picture.dtype == np.uint16 else resized
    resized = np.array(_resize_image(Image.fromarray(picture.squeeze(2) if picture.shape[2] == 1 else picture), shorter))
    return resized[..., None] if resized.ndim == 2 else resized


def _resize_image(image: Image.Image, shorter: int) -> Image.Image:
    while min(image.size) >= 2 * shorter:
        image = image.resize((image.size[0] // 2, image.size[1] // 2), Image.Resampling.BOX)
    scale = shorter / min(image.size)
    return image.resize((round(image.size[0] * scale), round(image.size[1] * scale)), Image.Resampling.BICUBIC)
