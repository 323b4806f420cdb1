"""Pictures of the emoji world, whose frequencies are known."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
import torch

from sgm_lightning.errors import SGMError
from sgm_lightning.images.base import Images
from sgm_lightning.world import FACTORS, World, caption, draw, is_held_out, scenes
from sgm_lightning.world.scenes import HeldOut, Split

_VERSION = 1  # raised when the pictures change
_COUNTS: dict[Split, int] = {"train": 60_000, "validation": 5_000, "test": 10_000}


class EmojiWorld(Images):
    """Colour pictures of 48 objects on 8 backgrounds, in two styles and upright or upside down, drawn while they are read.

    Picture i is a function of the seed, the split and i. The labels are the objects.

    Args:
        split: Split of the pictures; different splits have no picture in common.
        seed: Seed of the pictures.
        world: `normal`, `reversed`, `uniform`, or your own weights by factor and value, such as `{turn: {upright: 1}}`.
        size: Side of the pictures in pixels; 32 and 64 are usual.
        held_out: Some pairs of object and background are `included` (as all others), `left_out`, or the `only` ones. What a
            model draws of pairs that its training left out it has put together itself.
        count: Number of pictures; default 60,000 to train on, 5,000 for validation, 10,000 to test.
        name: Name of the set in reports.

    Attributes:
        factors: Number of the value of object, background, style and turn, (N, 4) int64.
        pose: Side, angle, x and y of every emoji, (N, 4) float64.
    """

    def __init__(
        self,
        split: Split = "train",
        seed: int = 0,
        world: str | dict[str, dict[str, float]] = "normal",
        size: int = 32,
        held_out: HeldOut = "included",
        count: int | None = None,
        name: str | None = None,
    ) -> None:
        count = _COUNTS[split] if count is None else count
        if seed < 0 or not 1 <= count <= 10**8 or not 8 <= size <= 1024:
            raise SGMError(
                "The seed of a world must be at least 0, its number of pictures 1 to 10^8, and their side 8 to 1024 pixels, "
                f"got {seed}, {count} and {size}."
            )
        self.world, self.size = World(world), size
        kind = world if isinstance(world, str) else "own"
        self.name = name or f"{kind} emoji world, {split}"
        self._key = f"{_VERSION} {split} {seed} {_weights(self.world)} {size} {held_out} {count}"
        self.factors, self.pose = scenes(self.world, seed, split, count, held_out)
        self.labels = torch.from_numpy(self.factors[:, 0].copy())
        self.class_names = list(FACTORS["object"])

    def __len__(self) -> int:
        return len(self.factors)

    def picture(self, index: int) -> np.ndarray:
        return draw(self.factors[index], self.pose[index], self.size)

    @cached_property
    def rarity(self) -> np.ndarray:
        """True rarity of every picture, −Σ ln p over its factors in nats, (N,) float64."""
        return self.world.rarity(self.factors)

    @cached_property
    def in_held_out_pair(self) -> np.ndarray:
        """Truth of "object and background are a pair that `held_out` speaks of", for every picture, (N,) bool."""
        return is_held_out(self.factors)

    def captions(self, indices: Sequence[int]) -> list[str]:
        """Return the sentences that describe some pictures, such as "a fox, upside down, on violet, flat style"."""
        return [caption(self.factors[index]) for index in indices]

    def cache_key(self) -> str | None:
        return hashlib.sha256(f"emoji world {self._key}".encode()).hexdigest()


def _weights(world: World) -> Mapping[str, list[float]]:
    return {factor: table.tolist() for factor, table in world.probabilities.items()}
