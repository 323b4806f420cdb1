"""Class-imbalanced splits of a labelled set, for studies."""

from __future__ import annotations

import hashlib

import numpy as np

from sgm_lightning.errors import SGMError
from sgm_lightning.images.source import Source


def long_tail_counts(largest: int, num_classes: int, factor: float) -> list[int]:
    """Images of every class: from `largest` exponentially down to largest / factor (Cui et al. 2019), at least one.

    >>> long_tail_counts(6000, 10, 100)
    [6000, 3597, 2156, 1292, 774, 464, 278, 167, 100, 60]
    """
    if factor < 1:
        raise SGMError(f"The imbalance factor must be at least 1, got {factor}; 10 and 100 are usual.")
    power = (i / max(num_classes - 1, 1) for i in range(num_classes))
    return [max(1, int(largest * factor**-p + 1e-9)) for p in power]


class LongTail(Source):
    """The first pictures of every class, fewer from class to class.

    Args:
        source: Labelled pictures.
        factor: Pictures of the largest class over those of the smallest.
        order: Classes from the largest to the smallest; default in order of the labels.

    Raises:
        SGMError: If the source has no labels, or a class has too few pictures.
    """

    def __init__(self, source: Source, factor: float = 100.0, order: list[int] | None = None) -> None:
        labels = source.labels
        if labels is None:
            raise SGMError("A long tail needs labels, but the source has none; set its `classes`.")
        num_classes = int(labels.max()) + 1
        order = list(range(num_classes)) if order is None else order
        if sorted(order) != list(range(num_classes)):
            raise SGMError(f"`order` must name each of the {num_classes} classes once, got {order}.")
        available = np.bincount(labels, minlength=num_classes)
        self.counts = dict(zip(order, long_tail_counts(int(available[order[0]]), num_classes, factor), strict=True))
        for kind, count in self.counts.items():
            if count > available[kind]:
                raise SGMError(f"Class {kind} needs {count} pictures, got {available[kind]}; choose another `order`.")
        kept = [np.flatnonzero(labels == kind)[:count] for kind, count in self.counts.items()]
        self.source, self.indices = source, np.sort(np.concatenate(kept))
        self.class_names, self._labels = source.class_names, labels[self.indices]

    def __len__(self) -> int:
        return len(self.indices)

    def picture(self, index: int) -> np.ndarray:
        return self.source.picture(int(self.indices[index]))

    @property
    def labels(self) -> np.ndarray:
        return self._labels

    def fingerprint(self) -> str | None:
        whole = self.source.fingerprint()
        return whole and hashlib.sha256(f"{whole} {self.indices.tolist()}".encode()).hexdigest()
