"""What every source of pictures can do."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np


class Source(ABC):
    """An ordered set of pictures, of any sizes.

    Attributes:
        class_names: Name of every class, in order of the labels; None without labels.
    """

    class_names: list[str] | None = None

    @abstractmethod
    def __len__(self) -> int:
        """N."""

    @abstractmethod
    def picture(self, index: int) -> np.ndarray:
        """(H, W, C), uint8 or uint16.

        Raises:
            SGMError: If it cannot be read.
        """

    @property
    def labels(self) -> np.ndarray | None:
        """(N,) int64 class of every picture, if known."""
        return None

    def fingerprint(self) -> str | None:
        """What changes when the pictures change, had without decoding them; None where there is no such thing.

        Squares of a source without one are not cached.
        """
        return None
