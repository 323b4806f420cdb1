"""Data sets of torchvision by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision.datasets
from torchvision.transforms import functional

from sgm_lightning.errors import SGMError, reason_of
from sgm_lightning.images.base import Images, numbered


class TorchvisionImages(Images):
    """A data set of `torchvision.datasets` (CIFAR10, CelebA, LSUN, ImageNet, …), labelled where an image has one class.

    Args:
        dataset: Name of the class in `torchvision.datasets`.
        root: Folder of the data set.
        options: Further arguments of the class, such as `{train: false, download: true}` or `{split: test}`.
        size: Side of the images: the shorter side is resized to it (bicubic, antialiased), then the centre is cropped; null
            keeps their size.
        limit: Number of images to use, from the first one on.
        name: Name of the set in reports.
    """

    one_size = "set `size` to bring them to one"

    def __init__(
        self,
        dataset: str,
        root: str,
        options: dict[str, Any] | None = None,
        size: int | None = None,
        limit: int | None = None,
        name: str | None = None,
    ) -> None:
        kind = getattr(torchvision.datasets, dataset, None)
        if kind is None:
            raise SGMError(f"torchvision.datasets has no class {dataset}; CIFAR10, CelebA, LSUN and ImageNet are some.")
        try:
            self.data = kind(Path(root).expanduser(), **(options or {}))
        except Exception as error:  # each data set has errors of its own
            raise SGMError(
                f"The data set {dataset} cannot be read in {root} ({reason_of(error)}); check the path, or set "
                "`options: {download: true}` where torchvision can."
            ) from None
        self.size = size
        self.count = len(self.data) if limit is None else min(limit, len(self.data))
        self.name = name or dataset
        labels = np.asarray(getattr(self.data, "targets", getattr(self.data, "labels", None)))
        if labels.ndim == 1 and labels.dtype.kind in "iu":
            self.labels = torch.from_numpy(labels[: self.count].astype(np.int64))
            self.class_names = numbered(self.labels)

    def __len__(self) -> int:
        return self.count

    def picture(self, index: int) -> np.ndarray:
        try:
            image = self.data[index][0]
        except Exception as error:  # of Pillow and the data set's own reader
            raise SGMError(f"{self.place(index)} cannot be read ({reason_of(error)}); repair or remove it.") from None
        if self.size is not None:
            image = functional.resize(image, self.size, functional.InterpolationMode.BICUBIC)
            image = functional.center_crop(image, self.size)
        pixels = np.array(image)
        return pixels[..., None] if pixels.ndim == 2 else pixels
