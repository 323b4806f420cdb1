"""MedMNIST (Yang et al. 2023): small medical images of many kinds."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import torch

from sgm_lightning.errors import SGMError, reason_of
from sgm_lightning.files.weights import cache_folder
from sgm_lightning.images.base import ArrayImages


class MedMNIST(ArrayImages):
    """A two-dimensional set of MedMNIST, read by the package `medmnist`, which downloads it if allowed.

    Args:
        flag: Name of the set: `pneumoniamnist`, `chestmnist`, `pathmnist`, `bloodmnist` …
        part: Part of the data: `train`, `val` or `test`.
        size: Side in pixels: 28, 64, 128 or 224.
        root: Folder of the `.npz` files; default $SGM_CACHE, or ~/.cache/sgm_lightning.
        download: Whether to download missing files.
        limit: Number of images to use, from the first one on.
        name: Name of the set in reports.

    Raises:
        SGMError: If the package or the files are missing.
    """

    def __init__(
        self,
        flag: str,
        part: Literal["train", "val", "test"] = "train",
        size: int = 28,
        root: str | None = None,
        download: bool = True,
        limit: int | None = None,
        name: str | None = None,
    ) -> None:
        try:
            import medmnist
        except ImportError:
            raise SGMError("MedMNIST needs a package; install it with `pip install 'sgm-lightning[medmnist]'`.") from None
        if flag not in medmnist.INFO or flag.endswith("3d"):
            known = ", ".join(key for key in medmnist.INFO if not key.endswith("3d"))
            raise SGMError(f"MedMNIST has no two-dimensional set {flag!r}, but {known}.")
        folder = Path(root).expanduser() if root else cache_folder()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            kind = getattr(medmnist, medmnist.INFO[flag]["python_class"])
            data = kind(split=part, root=str(folder), size=size, download=download)
            pixels, classes = np.asarray(data.imgs[:limit]), np.asarray(data.labels[:limit]).astype(np.int64)
            if classes.shape[0] != len(pixels) or classes.ndim != 2 or pixels.ndim not in (3, 4):
                raise ValueError(f"images of shape {pixels.shape} and labels of shape {classes.shape}")
        except Exception as error:  # of the package, zipfile and NumPy, whatever a damaged file makes them raise
            reason = reason_of(error)
            raise SGMError(
                f"{flag} at {size} pixels is neither in {folder} nor can it be downloaded ({reason}); put its npz there."
            ) from None
        images = torch.from_numpy(pixels)
        images = images.unsqueeze(1) if images.ndim == 3 else images.permute(0, 3, 1, 2).contiguous()
        labels = torch.from_numpy(classes)
        # Several findings per image are no class.
        super().__init__(images, labels[:, 0] if labels.shape[1] == 1 else None, name or f"{flag} {part}")
