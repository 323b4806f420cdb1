"""Draws a scene of the emoji world."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache
from importlib.resources import files

import numpy as np
from PIL import Image

from sgm_lightning.world.tables import COLOURS, FACTORS, SHORT_NAMES

FINER = 4  # a picture is drawn at so many times its side, and averaged down


def draw(factors: Sequence[int] | np.ndarray, pose: Sequence[float] | np.ndarray, size: int) -> np.ndarray:
    """Return a picture, (size, size, 3) uint8.

    The emoji is resized by Lanczos' filter, turned bicubically, and laid over the background, all at four times the side.

    Args:
        factors: Number of the value of object, background, style and turn.
        pose: Side of the emoji, its angle in degrees, x and y of its centre, as in `Scenes`.
        size: Side of the picture in pixels.
    """
    thing, background, style, turn = (int(factor) for factor in factors)
    side, angle, x, y = (float(value) for value in pose)
    canvas = Image.new("RGB", (FINER * size, FINER * size), list(COLOURS.values())[background])
    pixels = max(round(side * canvas.width), 1)
    emoji = _turned(style, thing, pixels, angle + 180 * turn)
    corner = round(x * canvas.width - emoji.width / 2), round(y * canvas.height - emoji.height / 2)
    canvas.paste(emoji, corner, emoji)
    return np.array(canvas.reduce(FINER))


@lru_cache(maxsize=64)  # a search moves an emoji about; turning it is most of the work
def _turned(style: int, thing: int, pixels: int, angle: float) -> Image.Image:
    """Return an emoji of so many pixels, turned by an angle in degrees, RGBA."""
    emoji = _emoji(style, thing).resize((pixels, pixels), Image.Resampling.LANCZOS)
    return emoji.rotate(angle, Image.Resampling.BICUBIC, expand=True)


@cache
def _emoji(style: int, thing: int) -> Image.Image:
    """Return an emoji, 64 × 64 RGBA."""
    file = files("sgm_lightning.world") / "material" / FACTORS["style"][style] / f"{SHORT_NAMES[thing]}.png"
    with file.open("rb") as stream:
        return Image.open(stream).convert("RGBA")
