"""Cache of decoded squares on the disk: decoded once, then read from memory-mapped pages that all processes share."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

import numpy as np

from sgm_lightning.errors import SGMError
from sgm_lightning.files.atomic import make_folder, remove_leftovers, write_atomically
from sgm_lightning.images.base import Images
from sgm_lightning.images.crop import Square

_TYPES = (np.uint8, np.uint16, np.float32)


class Broken:
    """The pictures that cannot be read, which are skipped. More of them than a limit are an error.

    Args:
        limit: Number of broken pictures that are tolerated.
        option: Name of the option that sets the limit, for the error.
    """

    def __init__(self, limit: int, option: str = "data.max_broken") -> None:
        self.limit, self.option = limit, option
        self.reasons: dict[int, str] = {}

    def add(self, index: int, reason: str) -> None:
        """Record picture `index` as broken.

        Raises:
            SGMError: If more pictures are broken than the limit.
        """
        self.reasons.setdefault(index, reason)
        if len(self.reasons) > self.limit:
            first = " | ".join(text.rstrip(".") for text in list(self.reasons.values())[:3])
            raise SGMError(
                f"At most {self.limit} pictures may be broken, got {len(self.reasons)} ({first}); repair them or raise "
                f"`{self.option}`."
            )


def cached_squares(
    source: Images, key: str, to_square: Square, folder: Path, broken: Broken
) -> tuple[np.ndarray, np.ndarray]:
    """Return the squares of all readable pictures. The first call decodes them.

    Args:
        source: Set of the pictures.
        key: Key of the set, its `cache_key`.
        to_square: Conversion of pictures to squares, without a random crop.
        folder: Folder of the caches, with one file per (set, size, channels, 8 bits or more).
        broken: Record of the pictures that cannot be read.

    Returns:
        (n, size, size, channels) squares, memory-mapped, and (n,) their indices in the set.
    """
    kind = "" if to_square.value_range is None else "-ranged"  # more than 8 bits are then stored as floats
    file = folder / f"{key[:32]}-{to_square.size}-{to_square.channels}{kind}.npy"
    shape = (len(source), to_square.size, to_square.size, to_square.channels)
    squares, reasons = _open(file, shape) if file.is_file() else (None, {})
    # Pictures may have been unreadable because their disk was missing.
    if squares is None or any(isinstance(square_or_reason(source, to_square, index), np.ndarray) for index in reasons):
        broken.reasons.clear()
        _build(source, to_square, file, broken)
        squares, reasons = _open(file, shape)
        if squares is None:
            raise SGMError(f"{file} cannot be read although it was just written; set $SGM_CACHE to another disk.")
    for index, reason in reasons.items():
        broken.add(index, reason)
    readable = np.setdiff1d(np.arange(len(source)), list(reasons))
    return squares, readable


def _open(file: Path, shape: tuple[int, ...]) -> tuple[np.ndarray | None, dict[int, str]]:
    """Return the squares, and the reasons why others are missing: JSON after the array, so that one rename writes both.

    Of a damaged file, there are no squares.
    """
    try:
        squares: np.memmap = np.load(file, mmap_mode="r")  # type: ignore[type-arg]
        with open(file, "rb") as content:
            content.seek(squares.offset + squares.nbytes)
            reasons = {int(index): str(reason) for index, reason in json.load(content).items()}
    except Exception:  # whatever NumPy and JSON raise
        return None, {}
    sound = squares.shape == shape and squares.dtype in _TYPES and squares.flags.c_contiguous
    return (squares, reasons) if sound and set(reasons) <= set(range(shape[0])) else (None, {})


def _build(source: Images, to_square: Square, file: Path, broken: Broken) -> None:
    make_folder(file.parent, "set $SGM_CACHE to a folder")
    remove_leftovers(file.parent)

    def write(out: IO[bytes]) -> None:
        try:
            _write(source, to_square, out, broken)
        except OSError as error:
            raise SGMError(f"{file} cannot be written ({error.strerror}); set $SGM_CACHE to another disk.") from None

    write_atomically(file, write)


def _write(source: Images, to_square: Square, out: IO[bytes], broken: Broken) -> None:
    first: np.ndarray | None = None
    begin = 0
    # Decoders release the interpreter's lock.
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for start in range(0, len(source), 256):
            rows = range(start, min(start + 256, len(source)))
            made = pool.map(lambda index: square_or_reason(source, to_square, index), rows)
            for index, square in zip(rows, made, strict=True):
                if isinstance(square, str):
                    broken.add(index, square)
                    continue
                if first is None:
                    first = square
                    header = {"descr": square.dtype.str, "fortran_order": False, "shape": (len(source), *square.shape)}
                    np.lib.format.write_array_header_1_0(out, header)
                    begin = out.tell()
                if square.dtype != first.dtype:
                    raise SGMError(
                        f"All pictures must have one depth, got {square.dtype} in picture {index} but {first.dtype} "
                        "before; convert them, or set `data.cache: false` and `data.value_range`."
                    )
                out.write(square.tobytes())
    if first is None:
        raise SGMError("Not one picture can be read; check the path.")
    out.truncate(out.seek(begin + len(source) * first.nbytes))  # the rows of missing pictures are at the end
    out.write(json.dumps(broken.reasons).encode())


def square_or_reason(source: Images, to_square: Square, index: int) -> np.ndarray | str:
    """Return a square, or the reason why there is none."""
    try:
        return to_square(source.picture(index))
    except SGMError as error:
        return str(error)
