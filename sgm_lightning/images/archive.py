"""Images in `.npz` archives of ADM's layout, and in run folders, which hold such archives."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from sgm_lightning.errors import SGMError
from sgm_lightning.images.base import ArrayImages
from sgm_lightning.run.run_dir import RunDir


def read_archive(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the images (N, H, W, C) uint8 and the labels (N,), if any, of an archive.

    Raises:
        SGMError: If the archive cannot be read, or holds no such images.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            images, labels = file["arr_0"], file.get("arr_1", None)
    except FileNotFoundError:
        raise SGMError(f"There are no samples at {path}; draw or export them first.") from None
    except (ValueError, TypeError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise SGMError(f"{path} cannot be read as samples ({error}); it must hold arr_0, uint8 NHWC.") from None
    if images.dtype != np.uint8 or images.ndim != 4 or not len(images):
        kind = f"{images.dtype} of shape {images.shape}"
        raise SGMError(f"arr_0 of {path} must be uint8 images of shape (N, H, W, C), got {kind}; export them as such.")
    return images, labels


class NpzImages(ArrayImages):
    """An archive with arr_0 (N, H, W, C) uint8 and, optionally, arr_1 (N,) labels.

    Args:
        path: Path of the `.npz` file.
        limit: Number of images to use, from the first one on.
        name: Name of the set in reports; default the file's name.
    """

    def __init__(self, path: str, limit: int | None = None, name: str | None = None) -> None:
        images, labels = read_archive(Path(path))
        super().__init__(
            torch.from_numpy(images[:limit]).permute(0, 3, 1, 2).contiguous(),
            None if labels is None else torch.from_numpy(labels[:limit].astype(np.int64)),
            name or Path(path).name,
        )


class RunImages(NpzImages):
    """The samples of a finished run, with their minority scores.

    Args:
        path: Folder of the run.
        which: Images to read: `samples`, or `baseline`, the unguided ones of the same noise.
        limit: Number of images to use, from the first one on.
        name: Name of the set in reports; default the folder's name.
    """

    def __init__(
        self,
        path: str,
        which: Literal["samples", "baseline"] = "samples",
        limit: int | None = None,
        name: str | None = None,
    ) -> None:
        folder = Path(path)
        if not (folder / "samples.npz").is_file():
            raise SGMError(f"{folder} holds no finished run (no samples.npz); finish it with `sgm-lightning predict`.")
        if not (folder / f"{which}.npz").is_file():
            raise SGMError(f"The run {folder} has no {which}.npz; draw it with `model.baseline: true`.")
        super().__init__(str(folder / f"{which}.npz"), limit, name or (folder.name if which == "samples" else which))
        column = "score" if which == "samples" else "baseline_score"
        self.scores = torch.from_numpy(RunDir(folder).scores()[column][:limit]).float()
