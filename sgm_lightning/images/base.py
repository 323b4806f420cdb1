"""What every source of images can do."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from sgm_lightning.errors import SGMError


class Images(ABC):
    """A fixed, ordered set of uint8 images of one size.

    Attributes:
        name: What reports call the set.
    """

    name: str
    _digest: str | None = None

    @abstractmethod
    def __len__(self) -> int:
        """N."""

    @abstractmethod
    def read(self, indices: Sequence[int]) -> Tensor:
        """(n, C, H, W) uint8, in the order of `indices`."""

    @property
    def labels(self) -> Tensor | None:
        """(N,) int64 class of every image, if known."""
        return None

    @property
    def scores(self) -> Tensor | None:
        """(N,) float32 minority scores that came with the images, if any."""
        return None

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, H, W)."""
        return tuple(self.read([0]).shape[1:])

    def batches(self, size: int) -> Iterator[tuple[list[int], Tensor]]:
        """Indices and images of one batch after another."""
        for start in range(0, len(self), size):
            indices = list(range(start, min(start + size, len(self))))
            yield indices, self.read(indices)

    def fingerprint(self) -> str:
        """SHA-256 of all pixels, in order; they are read once."""
        if self._digest is None:
            digest = hashlib.sha256(repr(self.shape).encode())
            for _, images in self.batches(1024):
                digest.update(images.numpy().tobytes())
            self._digest = digest.hexdigest()
        return self._digest


class ArrayImages(Images):
    """Images in memory.

    Args:
        images: (N, C, H, W) uint8.
        labels: (N,) int64.
        scores: (N,) minority scores.
        name: What reports call the set.
    """

    def __init__(
        self, images: Tensor, labels: Tensor | None = None, name: str = "images", scores: Tensor | None = None
    ) -> None:
        if images.ndim != 4 or images.dtype != torch.uint8 or not len(images):
            kind = f"{images.dtype} of shape {tuple(images.shape)}"
            raise SGMError(f"{name} must be uint8 images of shape (N, C, H, W), N ≥ 1, got {kind}; export them as such.")
        self.images, self.name = images, name
        self._labels, self._scores = labels, scores

    def __len__(self) -> int:
        return len(self.images)

    def read(self, indices: Sequence[int]) -> Tensor:
        return self.images[torch.as_tensor(np.asarray(indices, dtype=np.int64))]

    @property
    def labels(self) -> Tensor | None:
        return self._labels

    @property
    def scores(self) -> Tensor | None:
        return self._scores
