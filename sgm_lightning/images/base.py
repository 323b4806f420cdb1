"""What every set of images can do."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from sgm_lightning.errors import SGMError


class Images(ABC):
    """A fixed, ordered set of images.

    There are two ways to them. `picture` gives one as it is kept, of any size and depth: what training starts from.
    `read` gives many as uint8 of one size: what is measured.

    Attributes:
        name: What reports call the set.
        labels: (N,) int64 class of every image, if known.
        class_names: Name of every class, in order of the labels; None without labels.
        scores: (N,) float32 minority scores that came with the images, if any.
        one_size: How images of different sizes are brought to one, for the error.
    """

    name: str
    labels: Tensor | None = None
    class_names: list[str] | None = None
    scores: Tensor | None = None
    one_size = "resize them first"
    _shape: tuple[int, ...] | None = None
    _sha256: str | None = None

    @abstractmethod
    def __len__(self) -> int:
        """N."""

    @abstractmethod
    def picture(self, index: int) -> np.ndarray:
        """(H, W, C) uint8, uint16 or float32.

        Raises:
            SGMError: If it cannot be read.
        """

    def place(self, index: int) -> str:
        """Where an image comes from, for errors."""
        return f"{self.name}[{index}]"

    def read(self, indices: Sequence[int]) -> Tensor:
        """(n, C, H, W) uint8, in the order of `indices`.

        Raises:
            SGMError: If the images differ in size, or hold fractions or signs.
        """
        images = [self._eight_bits(index) for index in indices]
        for index, image in zip(indices, images, strict=True):
            if image.shape != self.shape:
                raise SGMError(
                    f"All images of a set must have one size, got {_size(image.shape)} in {self.place(index)} but "
                    f"{_size(self.shape)} in {self.place(0)}; {self.one_size}."
                )
        return torch.stack(images)

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, H, W) of the first image."""
        if self._shape is None:
            self._shape = tuple(self._eight_bits(0).shape)
        return self._shape

    def batches(self, size: int) -> Iterator[tuple[list[int], Tensor]]:
        """Indices and images of one batch after another."""
        for start in range(0, len(self), size):
            indices = list(range(start, min(start + size, len(self))))
            yield indices, self.read(indices)

    def pixels_sha256(self) -> str:
        """SHA-256 of all that `read` gives, in order, wherever it is kept. The images are read once.

        Reference features are recorded with it.
        """
        if self._sha256 is None:
            digest = hashlib.sha256(repr(self.shape).encode())
            for _, images in self.batches(1024):
                digest.update(images.numpy().tobytes())
            self._sha256 = digest.hexdigest()
        return self._sha256

    def cache_key(self) -> str | None:
        """A key that changes when the pictures do, found without decoding them; None where there is no such key.

        Squares are kept on the disk under it. Those of a set without one are not kept.
        """
        return None

    def _eight_bits(self, index: int) -> Tensor:
        pixels = self.picture(index)
        if pixels.dtype == np.float32:
            low, high = pixels.min(), pixels.max()
            raise SGMError(
                f"{self.place(index)} must hold integers from 0 to 65535, got values from {low:g} to {high:g}; export it as "
                "such."
            )
        if pixels.dtype == np.uint16:  # samples and metrics are of 8 bits
            pixels = (pixels >> 8).astype(np.uint8)
        return torch.from_numpy(pixels).permute(2, 0, 1)


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
        self.images, self.name, self.labels, self.scores = images, name, labels, scores
        self.class_names = numbered(labels)

    def __len__(self) -> int:
        return len(self.images)

    def picture(self, index: int) -> np.ndarray:
        return self.images[index].permute(1, 2, 0).numpy()

    def read(self, indices: Sequence[int]) -> Tensor:
        return self.images[torch.as_tensor(np.asarray(indices, dtype=np.int64))]


def numbered(labels: Tensor | None) -> list[str] | None:
    """Names of classes that are known by number alone."""
    return None if labels is None else [str(i) for i in range(int(labels.max()) + 1)]


def _size(shape: Sequence[int]) -> str:
    return f"{shape[2]}×{shape[1]} pixels of {shape[0]} channel" + "s" * (shape[0] > 1)
