"""Real pictures and a model's own, for a discriminator between them."""

from __future__ import annotations

import hashlib

import numpy as np

from sgm_lightning.images.source import Source


class RealAndDrawn(Source):
    """Pictures of two sources: class 0 is drawn by a model, class 1 real.

    Args:
        drawn: The model's samples.
        real: Real pictures; about as many.
    """

    def __init__(self, drawn: Source, real: Source) -> None:
        self.drawn, self.real = drawn, real
        self.class_names = ["drawn", "real"]

    def __len__(self) -> int:
        return len(self.drawn) + len(self.real)

    def picture(self, index: int) -> np.ndarray:
        count = len(self.drawn)
        return self.drawn.picture(index) if index < count else self.real.picture(index - count)

    @property
    def labels(self) -> np.ndarray:
        return np.repeat(np.array([0, 1]), [len(self.drawn), len(self.real)])

    def fingerprint(self) -> str | None:
        parts = self.drawn.fingerprint(), self.real.fingerprint()
        return None if None in parts else hashlib.sha256(repr(parts).encode()).hexdigest()
