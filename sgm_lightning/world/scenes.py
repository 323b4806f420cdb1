"""Scenes of the emoji world: what is on a picture and where, as a function of (seed, index)."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np

from sgm_lightning.diffusion.noise import Purpose, generator
from sgm_lightning.errors import SGMError
from sgm_lightning.world.tables import FACTORS, World, is_held_out

Split = Literal["train", "validation", "test"]
HeldOut = Literal["included", "left_out", "only"]
_SPLITS = ("train", "validation", "test")
SIZES = (0.65, 0.95)  # side of the emoji in sides of the picture
ANGLE = 8.0  # standard deviation in degrees
_COLUMNS = 8  # uniform numbers of a picture


class Scenes(NamedTuple):
    """Scenes of N pictures.

    Attributes:
        factors: Number of the value of object, background, style and turn, (N, 4) int64.
        pose: Side of the emoji, its angle in degrees (counter-clockwise, beside the turn), x and y of its centre,
            (N, 4) float64; lengths are in sides of the picture.
    """

    factors: np.ndarray
    pose: np.ndarray


def scenes(world: World, seed: int, split: Split, count: int, held_out: HeldOut = "included", first: int = 0) -> Scenes:
    """Return the scenes of `count` pictures, from number `first` on. Picture i is the same whatever the count.

    Args:
        world: Probabilities of the factors.
        seed: Seed of the pictures.
        split: Pictures of different splits have nothing in common.
        count: Number of pictures.
        held_out: `included`; `left_out`: without the pairs of object and background of which `is_held_out` is true;
            `only`: with these alone.
        first: Number of the first picture.
    """
    bits = generator(seed, 0, Purpose.WORLD, _SPLITS.index(split)).bit_generator
    assert isinstance(bits, np.random.Philox)
    # One step of the counter gives four numbers, so row i starts at step 2 i.
    uniform = np.random.Generator(bits.advance(first * (_COLUMNS // 4))).random((count, _COLUMNS))
    pairs = np.outer(world.probabilities["object"], world.probabilities["background"]).ravel()
    numbers = np.arange(len(pairs))
    pair = np.stack(np.divmod(numbers, len(FACTORS["background"])), axis=1)
    if held_out != "included":
        pairs = np.where(is_held_out(pair) == (held_out == "only"), pairs, 0.0)
        if pairs.sum() == 0:
            raise SGMError(f"The world must have pairs of object and background that are drawn, got none {held_out}.")
    styles, turns = world.probabilities["style"], world.probabilities["turn"]
    factors = np.column_stack(
        [pair[_choice(pairs, uniform[:, 0])], _choice(styles, uniform[:, 1]), _choice(turns, uniform[:, 2])]
    )
    side = SIZES[0] + (SIZES[1] - SIZES[0]) * uniform[:, 3]
    # Box & Muller's transform; 1 − u lies in (0, 1].
    angle = ANGLE * np.sqrt(-2 * np.log(1 - uniform[:, 4])) * np.cos(2 * math.pi * uniform[:, 5])
    centre = side[:, None] / 2 + (1 - side[:, None]) * uniform[:, 6:8]
    return Scenes(factors.astype(np.int64), np.column_stack([side, angle, centre]))


def _choice(probabilities: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """Return the value to which each uniform number belongs; a value of probability 0 is never returned."""
    edges = np.cumsum(probabilities)
    return np.searchsorted(edges / edges[-1], uniform, side="right")
