"""Squares by index, from a cache or decoded on demand."""

from __future__ import annotations

import warnings

import numpy as np

from sgm_lightning.errors import SGMError
from sgm_lightning.files.weights import cache_folder
from sgm_lightning.images.base import Images
from sgm_lightning.images.cache import Broken, cached_squares, square_or_reason
from sgm_lightning.images.crop import Square

_LARGEST_CACHE = 8 * 2**30  # bytes


class Squares:
    """The squares of a set's pictures, with labels.

    Args:
        source: Set of the pictures.
        to_square: Conversion of pictures to squares.
        max_broken: Number of pictures that may be unreadable. A warning names them, and other pictures take their places.
        cache: Whether decoded squares are cached on the disk ($SGM_CACHE) if that pays: files, centre crop, up to 8 GiB.

    Raises:
        SGMError: If more pictures are broken.
    """

    def __init__(self, source: Images, to_square: Square, max_broken: int = 0, cache: bool = True) -> None:
        self.source, self.to_square, self.broken = source, to_square, Broken(max_broken)
        self.kept: np.ndarray | None = None
        self.indices = np.arange(len(source))
        key = source.cache_key() if cache and not to_square.random else None
        if key is not None and self._bytes() <= _LARGEST_CACHE:
            folder = cache_folder() / "squares"
            self.kept, self.indices = cached_squares(source, key, to_square, folder, self.broken)
            if self.broken.reasons:
                self._tell(list(self.broken.reasons.values()))
        self.labels = None if source.labels is None else source.labels.numpy()[self.indices]

    def __len__(self) -> int:
        return len(self.indices)

    def read(self, row: int, rng: np.random.Generator) -> tuple[np.ndarray, int | None]:
        """Return a square, (C, size, size) float32 in [−1, 1], and its label, or the next readable one if it is broken."""
        if self.kept is not None:
            square = np.asarray(self.kept[row])
        else:
            row, square = self._decode(row, rng)
        return self.to_square.tensor(square, rng), None if self.labels is None else int(self.labels[row])

    def _bytes(self) -> int:
        """Return the size of all squares in bytes, estimated from the first readable one."""
        first = (square_or_reason(self.source, self.to_square, index) for index in range(len(self.source)))
        return len(self.source) * next((square.nbytes for square in first if not isinstance(square, str)), 0)

    def _decode(self, row: int, rng: np.random.Generator) -> tuple[int, np.ndarray]:
        while True:
            if row not in self.broken.reasons:
                try:
                    return row, self.to_square(self.source.picture(int(self.indices[row])), rng)
                except SGMError as error:
                    self.broken.add(row, str(error))
                    self._tell([str(error)])
            if len(self.broken.reasons) >= len(self):
                raise SGMError("Not one picture can be read; check the path.")
            row = (row + 1) % len(self)

    @staticmethod
    def _tell(reasons: list[str]) -> None:
        shown = "; ".join(reason.rstrip(".") for reason in reasons[:5]) + ("; …" if len(reasons) > 5 else "")
        warnings.warn(f"{len(reasons)} broken pictures are skipped: {shown}.", stacklevel=3)
