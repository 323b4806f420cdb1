"""A chunk on disk: an `.npz` whose zip comment holds its own size, its owner and its SHA-256."""

from __future__ import annotations

import hashlib
import io
import os
import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np

_NAME = "sgm-chunk"
_SEAL = _NAME + " {size:016d} {owner} {digest}"
_SEAL_BYTES = len(_SEAL.format(size=0, owner="0" * 64, digest="0" * 64))


class DamagedChunk(Exception):
    """Raised for a chunk file that is missing or differs from what was written."""


def owner_of(*facts: object) -> str:
    """Return the owner that a seal names: the digest of all that a chunk's content depends on."""
    return hashlib.sha256(repr(facts).encode()).hexdigest()


def pack(arrays: Mapping[str, np.ndarray], owner: str) -> bytes:
    """Return the bytes of a chunk file, which `numpy.load` and any zip tool can read, too.

    Args:
        arrays: Content of the chunk.
        owner: Result of `owner_of` for the chunk.
    """
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    # The last two bytes of a zip file without a comment are the comment's length.
    body = buffer.getvalue()[:-2] + struct.pack("<H", _SEAL_BYTES)
    seal = _seal(body, len(body) + _SEAL_BYTES, owner)
    return body + seal.encode()


def unpack(data: bytes, owner: str) -> dict[str, np.ndarray]:
    """Return the arrays of a chunk.

    Args:
        data: Content of the file.
        owner: Owner that the chunk must have.

    Raises:
        DamagedChunk: If a single bit differs from what was written, or the chunk has another owner.
    """
    body, seal = data[:-_SEAL_BYTES], data[-_SEAL_BYTES:]
    if seal != _seal(body, len(data), owner).encode():
        raise DamagedChunk
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            return dict(file)
    except Exception as error:  # sealed, but by something else
        raise DamagedChunk from error


def sealed_owner(path: str | Path, size: int) -> str | None:
    """Return the owner of a chunk file of a known size; only the seal is read. None if the seal names another size."""
    if size < _SEAL_BYTES:
        return None
    descriptor = os.open(path, os.O_RDONLY)  # plain system calls: a folder may hold 100,000 chunks
    try:
        seal = os.pread(descriptor, _SEAL_BYTES, size - _SEAL_BYTES)
    finally:
        os.close(descriptor)
    words = seal.decode("ascii", "replace").split(" ")
    return words[2] if len(words) == 4 and words[:2] == [_NAME, f"{size:016d}"] else None


def _seal(body: bytes, size: int, owner: str) -> str:
    return _SEAL.format(size=size, owner=owner, digest=hashlib.sha256(body).hexdigest())
