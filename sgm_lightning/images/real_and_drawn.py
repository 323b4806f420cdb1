"""Real images and samples of a model, for a discriminator between them."""

from __future__ import annotations

import hashlib

import numpy as np
import torch

from sgm_lightning.images.base import Images


class RealAndDrawn(Images):
    """Images of two sets: class 0 is drawn by a model, class 1 is real.

    Args:
        drawn: Samples of the model.
        real: Real images, about as many.
    """

    def __init__(self, drawn: Images, real: Images) -> None:
        self.drawn, self.real = drawn, real
        self.name, self.class_names = f"{drawn.name} and {real.name}", ["drawn", "real"]
        self.labels = torch.arange(2).repeat_interleave(torch.tensor([len(drawn), len(real)]))

    def __len__(self) -> int:
        return len(self.drawn) + len(self.real)

    def picture(self, index: int) -> np.ndarray:
        count = len(self.drawn)
        return self.drawn.picture(index) if index < count else self.real.picture(index - count)

    def cache_key(self) -> str | None:
        parts = self.drawn.cache_key(), self.real.cache_key()
        return None if None in parts else hashlib.sha256(repr(parts).encode()).hexdigest()
