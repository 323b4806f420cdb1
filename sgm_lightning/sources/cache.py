"""Decoded squares on the disk: decode once, then read from memory-mapped pages that all processes share."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from sgm_lightning.errors import SGMError
from sgm_lightning.run.atomic import write_atomically
from sgm_lightning.sources.base import Source
from sgm_lightning.sources.prepare import Prepare


class Broken:
    """Pictures that cannot be read: counted, named, skipped; beyond a limit an error.

    Args:
        limit: How many are tolerated.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.reasons: dict[int, str] = {}

    def add(self, index: int, reason: str) -> None:
        """Note picture `index`.

        Raises:
            SGMError: If that is one too many.
        """
        self.reasons.setdefault(index, reason)
        if len(self.reasons) > self.limit:
            first = " | ".join(text.rstrip(".") for text in list(self.reasons.values())[:3])
            raise SGMError(
                f"At most {self.limit} pictures may be broken, got {len(self.reasons)} ({first}); repair them or raise "
                "`data.max_broken`."
            )


def cached_squares(source: Source, prepare: Prepare, folder: Path, broken: Broken) -> tuple[np.ndarray, np.ndarray]:
    """The squares of all readable pictures, made on the first call.

    Args:
        source: The pictures.
        prepare: How they become squares; without a random crop.
        folder: Where caches are kept, one file a (source, size, channels).
        broken: Takes note of what cannot be read.

    Returns:
        (n, size, size, channels) squares, memory-mapped, and (n,) their indices in the source.
    """
    key = f"{source.fingerprint()[:32]}-{prepare.size}-{prepare.channels}"
    file, note = folder / f"{key}.npy", folder / f"{key}.json"
    if not note.is_file():
        _build(source, prepare, file, note, broken)
    broken.reasons.clear()
    for index, reason in json.loads(note.read_text())["broken"].items():
        broken.add(int(index), reason)
    squares = np.load(file, mmap_mode="r")
    readable = np.setdiff1d(np.arange(len(source)), list(broken.reasons))
    return squares, readable


def _build(source: Source, prepare: Prepare, file: Path, note: Path, broken: Broken) -> None:
    def square(index: int) -> np.ndarray | str:
        try:
            return prepare.square(source.picture(index))
        except SGMError as error:
            return str(error)

    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SGMError(f"{file.parent} cannot be made ({error.strerror}); set $SGM_CACHE to a folder.") from None
    temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    squares: np.memmap | None = None  # type: ignore[type-arg]
    count = 0
    try:
        # Decoders give up the interpreter's lock.
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            for start in range(0, len(source), 256):
                rows = range(start, min(start + 256, len(source)))
                for index, made in zip(rows, pool.map(square, rows), strict=True):
                    if isinstance(made, str):
                        broken.add(index, made)
                        continue
                    if squares is None:
                        shape = (len(source), *made.shape)
                        squares = np.lib.format.open_memmap(temporary, "w+", made.dtype, shape)
                    if made.dtype != squares.dtype:
                        raise SGMError(
                            f"All pictures must have one depth, got {made.dtype} in picture {index} but {squares.dtype} "
                            "before; convert them, or set `data.cache: false` and `data.value_range`."
                        )
                    squares[count] = made
                    count += 1
        if squares is None:
            raise SGMError("Not one picture can be read; check the path.")
        squares.flush()
        del squares
        os.replace(temporary, file)
    except OSError as error:
        raise SGMError(f"{temporary} cannot be written ({error.strerror}); set $SGM_CACHE to another disk.") from None
    finally:
        temporary.unlink(missing_ok=True)
    text = json.dumps({"broken": {str(i): reason for i, reason in broken.reasons.items()}})
    write_atomically(note, lambda out: out.write(text.encode()))
