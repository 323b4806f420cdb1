"""Fashion-MNIST (Xiao et al. 2017), with the two halves that the evaluation keeps apart."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torchvision.datasets import FashionMNIST as Download

from sgm_lightning.errors import SGMError, reason_of
from sgm_lightning.files.weights import cache_folder
from sgm_lightning.images.base import ArrayImages

# Where Debian's package dataset-fashion-mnist puts the files.
_DEBIAN = Path("/usr/share/datasets/fashion-mnist")
_KINDS = 10
_LARGEST = 2**28  # bytes; of a larger file the rest would be missing


class FashionMNIST(ArrayImages):
    """28 × 28 gray images of ten kinds of clothing: 60,000 for training, 10,000 for testing.

    The files are read from Debian's package `dataset-fashion-mnist` if it is installed, else torchvision downloads them.

    Args:
        part: Part of the data: `train`, `test`, or half of the training images: `half_a` (even indices; trains feature
            extractors) or `half_b` (odd ones; the reference).
        root: Folder of the four `idx` files, gzipped or not, or of torchvision's download.
        limit: Number of images to use, from the first one on.
        name: Name of the set in reports.
    """

    def __init__(
        self,
        part: Literal["train", "test", "half_a", "half_b"] = "train",
        root: str | None = None,
        limit: int | None = None,
        name: str | None = None,
    ) -> None:
        images, labels = _load(part == "test", root)
        step = {"half_a": slice(0, None, 2), "half_b": slice(1, None, 2)}.get(part, slice(None))
        super().__init__(images[step][:limit].unsqueeze(1), labels[step][:limit], name or f"Fashion-MNIST {part}")


def _load(test: bool, root: str | None) -> tuple[torch.Tensor, torch.Tensor]:
    prefix = "t10k" if test else "train"
    folder = Path(root) if root else _DEBIAN
    images, labels = (_idx(folder, f"{prefix}-{kind}") for kind in ("images-idx3-ubyte", "labels-idx1-ubyte"))
    if images is not None and labels is not None:
        if images.ndim != 3 or labels.shape != images.shape[:1] or not len(labels) or int(labels.max()) >= _KINDS:
            raise SGMError(
                f"{folder} must hold images and as many labels below {_KINDS}, got shapes {tuple(images.shape)} and "
                f"{tuple(labels.shape)}; fetch the files again."
            )
        return images, labels.long()
    cache = Path(root).expanduser() if root else cache_folder()
    try:
        data = Download(cache, train=not test, download=True)
    except (OSError, RuntimeError) as error:
        reason = reason_of(error)
        raise SGMError(
            f"Fashion-MNIST is neither in {root or _DEBIAN} nor can it be downloaded ({reason}); install Debian's package "
            "dataset-fashion-mnist, or name the folder of its files as `root`."
        ) from None
    return data.data, data.targets


def _idx(folder: Path, name: str) -> torch.Tensor | None:
    """Return an array in LeCun's idx format: a magic number whose last byte counts dimensions, their sizes, bytes."""
    for path, opener in ((folder / name, open), (folder / f"{name}.gz", gzip.open)):
        if path.is_file():
            try:
                with opener(path, "rb") as file:
                    return _read_idx(file.read(_LARGEST))
            except Exception as error:  # of gzip, zlib and NumPy, whatever a damaged file makes them raise
                reason = reason_of(error)
                raise SGMError(f"{path} cannot be read as an idx file ({reason}); fetch it again.") from None
    return None


def _read_idx(data: bytes) -> torch.Tensor:
    if data[:3] != b"\0\0\x08":
        raise ValueError("it does not begin as one of bytes")
    dimensions = data[3]
    shape = np.frombuffer(data, ">i4", dimensions, 4)
    return torch.from_numpy(np.frombuffer(data, np.uint8, offset=4 + 4 * dimensions).reshape(shape).copy())
