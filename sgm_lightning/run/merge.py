"""Merges the chunks of a run into `samples.npz`, `baseline.npz` and `scores.csv`, one at a time; reads those files."""

from __future__ import annotations

import csv
import io
import math
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO

import numpy as np

from sgm_lightning.files.atomic import write_atomically
from sgm_lightning.files.regular import read_regular

SCORES = "scores.csv"
_ARCHIVES = {"images": "samples.npz", "baseline_images": "baseline.npz"}
_COLUMNS = ("index", "label", "score", "baseline_score")

Chunks = Callable[[], Iterable[Mapping[str, np.ndarray]]]


def merge(folder: Path, num_samples: int, chunks: Chunks) -> list[str]:
    """Write the merged files of a run. Equal samples give equal files.

    Args:
        folder: Folder to write into.
        num_samples: Number of samples, N; the surplus of the last chunk is cut.
        chunks: Function that returns the chunks in order, from the first one at every call.

    Returns:
        Names of the files. The archives have ADM's layout: arr_0 (N, H, W, C) uint8 and, for labelled samples, arr_1 (N,)
        int64.
    """
    first = next(iter(chunks()))
    archives = {key: name for key, name in _ARCHIVES.items() if key in first}
    columns: dict[str, np.ndarray] = {}
    for key, name in archives.items():
        columns |= _merge_images(folder / name, num_samples, key, first[key], chunks())
    write_atomically(folder / SCORES, lambda file: write_columns(file, columns))
    return [*archives.values(), SCORES]


def _merge_images(
    path: Path, num_samples: int, key: str, like: np.ndarray, chunks: Iterable[Mapping[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """Write one archive, and return the columns of its samples."""
    columns: dict[str, np.ndarray] = {}
    write_atomically(path, lambda file: columns.update(_write_archive(file, num_samples, key, like, chunks)))
    return columns


def _write_archive(
    file: IO[bytes], num_samples: int, key: str, like: np.ndarray, chunks: Iterable[Mapping[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """Stream the images into the archive, and return the per-sample columns, which are small."""
    columns: dict[str, list[np.ndarray]] = {}
    left = num_samples
    with zipfile.ZipFile(file, "w") as archive:
        with _member(archive, "arr_0.npy", like.dtype, (num_samples, *like.shape[1:])) as out:
            for chunk in chunks:
                out.write(np.ascontiguousarray(chunk[key][:left]).data)
                for name in _COLUMNS:
                    if name in chunk:
                        columns.setdefault(name, []).append(chunk[name][:left])
                left -= min(left, len(chunk[key]))
        if left:
            raise ValueError(f"{left} samples are missing")
        whole = {name: np.concatenate(rows) for name, rows in columns.items()}
        if "label" in whole:
            with _member(archive, "arr_1.npy", whole["label"].dtype, (num_samples,)) as out:
                out.write(whole["label"].data)
    return whole


def _member(archive: zipfile.ZipFile, name: str, dtype: np.dtype, shape: tuple[int, ...]) -> IO[bytes]:
    """Open an array file in the archive and write its header; the date of a plain `ZipInfo` is fixed."""
    out = archive.open(zipfile.ZipInfo(name), "w", force_zip64=True)
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(out, header)
    return out


def write_columns(file: IO[bytes], columns: Mapping[str, np.ndarray]) -> None:
    """Write per-sample columns as CSV."""
    file.write((",".join(columns) + "\n").encode())
    for row in zip(*columns.values(), strict=True):
        texts = (f"{value:.7g}" if isinstance(value, np.floating) else str(value) for value in row)
        file.write((",".join(texts) + "\n").encode())


def read_columns(path: Path) -> dict[str, np.ndarray]:
    """Return the columns of a file that `write_columns` wrote, all as float64."""
    rows = _rows(path)
    return {name: np.array([float(row[name]) for row in rows]) for name in rows[0]}


def with_columns(path: Path, columns: Mapping[str, np.ndarray]) -> str:
    """Return the text of a `write_columns` file with columns added, or replaced if they exist; rows keep their order."""
    rows = _rows(path)
    for name, values in columns.items():
        for row, value in zip(rows, values, strict=True):
            row[name] = f"{value:.7g}"
    return "\n".join([",".join(rows[0]), *(",".join(row.values()) for row in rows), ""])


def each_image(path: Path) -> Iterator[np.ndarray]:
    """Yield the images of a merged archive, (H, W, C) uint8, and hold one of them at a time."""
    with zipfile.ZipFile(path) as archive, archive.open("arr_0.npy") as member:
        np.lib.format.read_magic(member)
        (count, *shape), _, dtype = np.lib.format.read_array_header_1_0(member)
        for _ in range(count):
            yield np.frombuffer(member.read(math.prod(shape)), dtype).reshape(shape)


def _rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(read_regular(path).decode(), newline="")))
