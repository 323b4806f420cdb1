"""Images in `.npz` archives of ADM's layout, and in run folders, which hold such archives."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from sgm_lightning.errors import SGMError, reason_of
from sgm_lightning.images.base import ArrayImages
from sgm_lightning.run.merge import SCORES
from sgm_lightning.run.run_dir import RunDir

_LARGE = 2**28  # bytes
_PACKED_AT_MOST = 100  # times: pictures pack to a third, blank ones to a hundredth
_CLASSES = 10_000_000


def read_archive(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the images (N, H, W, C) uint8 and the labels (N,), if any, of an archive.

    Raises:
        SGMError: If the archive cannot be read, or holds no such images.
    """
    try:
        _check_sizes(path)
        with np.load(path, allow_pickle=False) as file:
            images, labels = _array(file, "arr_0"), _array(file, "arr_1") if "arr_1" in file else None
    except FileNotFoundError:
        raise SGMError(f"There are no samples at {path}; draw or export them first.") from None
    except SGMError:
        raise
    except Exception as error:  # of zipfile, zlib, struct and NumPy, whatever a damaged file makes them raise
        raise SGMError(f"{path} cannot be read as samples ({reason_of(error)}); it must hold arr_0, uint8 NHWC.") from None
    if images.dtype != np.uint8 or images.ndim != 4 or not len(images):
        kind = f"{images.dtype} of shape {images.shape}"
        raise SGMError(f"arr_0 of {path} must be uint8 images of shape (N, H, W, C), got {kind}; export them as such.")
    return images, None if labels is None else _whole_labels(labels, len(images), path)


def _array(file: np.lib.npyio.NpzFile, name: str) -> np.ndarray:
    """Return an array of an archive; of a member that is none, NumPy would return the bytes."""
    found = file[name]
    if not isinstance(found, np.ndarray):
        raise ValueError(f"{name} is no array")
    return found


def _check_sizes(path: Path) -> None:
    """Raise if an array's header names more bytes than the archive has for it, or the archive unpacks to absurdly many."""
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if info.file_size > _LARGE and info.file_size > _PACKED_AT_MOST * max(info.compress_size, 1):
                raise SGMError(
                    f"{info.filename} of {path} unpacks from {info.compress_size} bytes to {info.file_size}, as no pictures "
                    "do; export the archive again."
                )
            if info.filename.removesuffix(".npy") not in ("arr_0", "arr_1"):
                continue
            with archive.open(info) as member:
                version = np.lib.format.read_magic(member)
                read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                shape, _, dtype = read(member)
                expected = math.prod(shape) * dtype.itemsize
            if expected > info.file_size:
                raise SGMError(
                    f"{info.filename} of {path} is said to have the shape {shape}, {expected} bytes, but holds "
                    f"{info.file_size}; export the archive again."
                )


def _whole_labels(labels: np.ndarray, count: int, path: Path) -> np.ndarray:
    """Return the labels as (N,) int64; (N, 1), as MedMNIST has, and whole numbers of floating type are taken as such."""
    flat = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    whole = flat.dtype.kind in "iu" or (flat.dtype.kind == "f" and bool((np.isfinite(flat) & (flat == flat.round())).all()))
    if flat.shape != (count,) or not whole:
        raise SGMError(
            f"arr_1 of {path} must be one whole number for each of the {count} images, got {labels.dtype} of shape "
            f"{labels.shape}; export the labels as such, or leave them out."
        )
    if flat.min() < 0 or flat.max() >= _CLASSES:
        raise SGMError(
            f"Labels in arr_1 of {path} must be class numbers from 0 on, got {flat.min()} … {flat.max()}; export them as "
            "such, or leave them out."
        )
    return flat.astype(np.int64)


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
            None if labels is None else torch.from_numpy(labels[:limit]),
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
        scores = RunDir(folder).scores().get(column)
        if scores is None or len(scores[:limit]) != len(self):
            given = "no such column" if scores is None else f"{len(scores)} rows"
            raise SGMError(
                f"{folder / SCORES} must have a {column} for each of the {len(self)} images, got {given}; repeat the run's "
                "command with `--verify true`, which makes it again."
            )
        self.scores = torch.from_numpy(scores[:limit]).float()
