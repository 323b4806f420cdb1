"""Files with the measured values of a chunk, beside the chunk."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sgm_lightning.files.atomic import write
from sgm_lightning.run.chunk_file import DamagedChunk, owner_of, pack, unpack


class Sidecars:
    """Measured rows of a run's chunks. Rows that are missing, damaged or measured differently are simply measured again.

    Args:
        run: Folder of the run.
        key: Description of the measurement; rows with another key, or of another chunk, are ignored.
    """

    def __init__(self, run: Path, key: str) -> None:
        self.folder = run / "measures"
        self.key = key

    def write(self, number: int, rows: dict[str, np.ndarray]) -> None:
        """Write the rows of chunk `number`."""
        write(self._file(number), pack(rows, owner_of(self.key, number)))

    def read(self, number: int) -> dict[str, np.ndarray] | None:
        """Return the rows of chunk `number`, or None."""
        try:
            return unpack(self._file(number).read_bytes(), owner_of(self.key, number))
        except (OSError, DamagedChunk):
            return None

    def _file(self, number: int) -> Path:
        return self.folder / f"chunk-{number:06d}.npz"
