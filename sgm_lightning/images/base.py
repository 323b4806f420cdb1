"""The interface of a set of images."""

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

    They are read in two ways. `picture` returns one as it is stored, of any size and depth, for training. `read` returns
    many as uint8 of one size, for measurements.

    Attributes:
        name: Name of the set in reports.
        labels: Class of every image, (N,) int64, if known.
        class_names: Name of every class, in order of the labels; None without labels.
        scores: Minority scores that came with the images, (N,) float32, if any.
        one_size: Advice for images of different sizes, for the error.
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
        """Return the number N of images."""

    @abstractmethod
    def picture(self, index: int) -> np.ndarray:
        """Return an image as (H, W, C) uint8, uint16 or float32.

        Raises:
            SGMError: If the image cannot be read.
        """

    def place(self, index: int) -> str:
        """Return the origin of an image, for errors."""
        return f"{self.name}[{index}]"

    def read(self, indices: Sequence[int]) -> Tensor:
        """Return images as (n, C, H, W) uint8, in the order of `indices`.

        Raises:
            SGMError: If the images differ in size, or hold fractions or signs.
        """
        images = [self.eight_bits(index) for index in indices]
        for index, image in zip(indices, images, strict=True):
            if image.shape != self.shape:
                raise SGMError(
                    f"All images of a set must have one size, got {_size(image.shape)} in {self.place(index)} but "
                    f"{_size(self.shape)} in {self.place(0)}; {self.one_size}."
                )
        return torch.stack(images)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape (C, H, W) of the first image."""
        if self._shape is None:
            self._shape = tuple(self.eight_bits(0).shape)
        return self._shape

    def batches(self, size: int) -> Iterator[tuple[list[int], Tensor]]:
        """Yield the indices and images of one batch after another."""
        for start in range(0, len(self), size):
            indices = list(range(start, min(start + size, len(self))))
            yield indices, self.read(indices)

    def pixels_sha256(self) -> str:
        """Return the SHA-256 of all images that `read` returns, in order, wherever they are stored. They are read once.

        It is recorded with reference features.
        """
        if self._sha256 is None:
            digest = hashlib.sha256(repr(self.shape).encode())
            for _, images in self.batches(1024):
                digest.update(images.numpy().tobytes())
            self._sha256 = digest.hexdigest()
        return self._sha256

    def cache_key(self) -> str | None:
        """Return a key that changes when the pictures do, computed without decoding them, or None.

        Decoded squares are cached on the disk under the key; those of a set without a key are not cached.
        """
        return None

    def eight_bits(self, index: int) -> Tensor:
        """Return an image of any size as (C, H, W) uint8.

        Raises:
            SGMError: If it cannot be read, or holds fractions or signs.
        """
        pixels = self.picture(index)
        if pixels.dtype == np.float32:
            low, high = pixels.min(), pixels.max()
            raise SGMError(
                f"{self.place(index)} must hold integers from 0 to 65535, got values from {low:g} to {high:g}; export it as "
                "such."
            )
        if pixels.dtype == np.uint16:  # samples and metrics have 8 bits
            pixels = (pixels >> 8).astype(np.uint8)
        return torch.from_numpy(pixels).permute(2, 0, 1)


class ArrayImages(Images):
    """Images in memory.

    Args:
        images: Images, (N, C, H, W) uint8.
        labels: Class of every image, (N,) int64.
        scores: Minority scores of the images, (N,).
        name: Name of the set in reports.
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
    """Return the names of classes that only have numbers."""
    return None if labels is None else [str(i) for i in range(int(labels.max()) + 1)]


def _size(shape: Sequence[int]) -> str:
    return f"{shape[2]}×{shape[1]} pixels of {shape[0]} channel" + "s" * (shape[0] > 1)
