"""A chunk on disk: an `.npz` whose zip comment holds its own size and SHA-256."""

from __future__ import annotations

import hashlib
import io
import os
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

_SEAL = "sgm-chunk {size:016d} {digest}"
_SEAL_BYTES = len(_SEAL.format(size=0, digest="0" * 64))


class DamagedChunk(Exception):
    """Raised for a chunk file that is missing or differs from what was written."""


def pack(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Return the bytes of a chunk file, which `numpy.load` and any zip tool can read, too."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    # The last two bytes of a zip file without a comment are the comment's length.
    body = buffer.getvalue()[:-2] + struct.pack("<H", _SEAL_BYTES)
    seal = _SEAL.format(size=len(body) + _SEAL_BYTES, digest=hashlib.sha256(body).hexdigest())
    return body + seal.encode()


def unpack(data: bytes) -> dict[str, np.ndarray]:
    """Return the arrays of a chunk.

    Raises:
        DamagedChunk: If a single bit differs from what was written.
    """
    body, seal = data[:-_SEAL_BYTES], data[-_SEAL_BYTES:]
    if seal != _SEAL.format(size=len(data), digest=hashlib.sha256(body).hexdigest()).encode():
        raise DamagedChunk
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            return dict(file)
    except (ValueError, zipfile.BadZipFile) as error:  # sealed, but by something else
        raise DamagedChunk from error


def has_its_size(path: str | Path) -> bool:
    """Return whether a file ends in a seal that names the file's actual size; only the seal is read."""
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        if size < _SEAL_BYTES:
            return False
        file.seek(-_SEAL_BYTES, os.SEEK_END)
        return file.read(_SEAL_BYTES).startswith(_SEAL.format(size=size, digest="").encode())
