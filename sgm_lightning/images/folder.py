"""Images as files in a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sgm_lightning.errors import SGMError
from sgm_lightning.images.base import Images
from sgm_lightning.images.decode import image_files, read_pixels


class ImageFolder(Images):
    """All images below a folder, in order of their paths; where there are subfolders, each is a class.

    Args:
        path: The folder.
        limit: The first so many images only.
        name: What reports call the set; default the folder's name.
    """

    def __init__(self, path: str, limit: int | None = None, name: str | None = None) -> None:
        root = Path(path)
        self.files = image_files(root)[:limit]
        self.name = name or root.name
        classes = [file.relative_to(root).parts[0] if file.parent != root else "" for file in self.files]
        self.classes = sorted(set(classes))
        self._labels = torch.tensor([self.classes.index(name) for name in classes]) if len(self.classes) > 1 else None
        self._shape = tuple(self._read(self.files[0]).shape)

    def __len__(self) -> int:
        return len(self.files)

    def read(self, indices: Sequence[int]) -> Tensor:
        images = []
        for index in indices:
            image = self._read(self.files[index])
            if tuple(image.shape) != self._shape:
                raise SGMError(
                    f"All images of a folder must have one size, got {_size(image.shape)} in {self.files[index]} but "
                    f"{_size(self._shape)} in {self.files[0]}; resize them first."
                )
            images.append(image)
        return torch.stack(images)

    @property
    def labels(self) -> Tensor | None:
        return self._labels

    @staticmethod
    def _read(path: Path) -> Tensor:
        pixels = read_pixels(path)
        if pixels.dtype == np.float32:
            low, high = pixels.min(), pixels.max()
            raise SGMError(
                f"{path} must hold integers from 0 to 65535, got values from {low:g} to {high:g}; export it as such."
            )
        if pixels.dtype == np.uint16:  # samples and metrics are of 8 bits
            pixels = (pixels >> 8).astype(np.uint8)
        return torch.from_numpy(pixels).permute(2, 0, 1)


def _size(shape: Sequence[int]) -> str:
    return f"{shape[2]}×{shape[1]} pixels of {shape[0]} channel" + "s" * (shape[0] > 1)
