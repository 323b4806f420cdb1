"""Pictures with their minority levels as classes."""

from __future__ import annotations

import hashlib

import numpy as np

from sgm_lightning.errors import SGMError
from sgm_lightning.images.levels import identity, read_levels
from sgm_lightning.images.source import Source


class MinorityLevels(Source):
    """The pictures of a source that have a minority score; their class is the level.

    Args:
        source: The pictures that were scored.
        file: What `sgm-lightning score` wrote of them.

    Raises:
        SGMError: If the file is of other pictures.
    """

    def __init__(self, source: Source, file: str) -> None:
        found = read_levels(file)
        if len(source) != len(found.scores):
            raise SGMError(
                f"{file} holds levels of {len(found.scores)} pictures, got a source of {len(source)}; name the source that "
                "was scored, or score this one."
            )
        if found.made.get("source") != identity(source):
            raise SGMError(f"{file} holds levels of other pictures than the source got here; score this one.")
        levels = found.levels.numpy()
        self.source, self.indices = source, np.flatnonzero(levels >= 0)
        self._labels = levels[self.indices]
        self.class_names = [f"level {level}" for level in range(found.num_levels)]

    def __len__(self) -> int:
        return len(self.indices)

    def picture(self, index: int) -> np.ndarray:
        return self.source.picture(int(self.indices[index]))

    @property
    def labels(self) -> np.ndarray:
        return self._labels

    def fingerprint(self) -> str | None:
        whole = self.source.fingerprint()
        if whole is None or len(self) == len(self.source):
            return whole  # the same pictures: the same cache
        return hashlib.sha256(f"{whole} {self.indices.tolist()}".encode()).hexdigest()
