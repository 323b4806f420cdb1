"""Some images of a set, such as a class-imbalanced split for studies."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import torch

from sgm_lightning.errors import SGMError
from sgm_lightning.images.base import Images


class Subset(Images):
    """Some images of a set, with their labels and scores.

    Args:
        source: Set that the images are taken from.
        indices: Rising indices of the images that are taken.
        name: Name of the subset in reports; default the set's name.
    """

    def __init__(self, source: Images, indices: Sequence[int] | np.ndarray, name: str | None = None) -> None:
        self.source, self.indices = source, np.asarray(indices, dtype=np.int64)
        self.name, self.class_names, self.one_size = name or source.name, source.class_names, source.one_size
        rows = torch.from_numpy(self.indices)
        self.labels = None if source.labels is None else source.labels[rows]
        self.scores = None if source.scores is None else source.scores[rows]

    def __len__(self) -> int:
        return len(self.indices)

    def picture(self, index: int) -> np.ndarray:
        return self.source.picture(int(self.indices[index]))

    def place(self, index: int) -> str:
        return self.source.place(int(self.indices[index]))

    def cache_key(self) -> str | None:
        whole = self.source.cache_key()
        if whole is None or len(self) == len(self.source):
            return whole  # the same pictures: the same cache
        return hashlib.sha256(f"{whole} {self.indices.tolist()}".encode()).hexdigest()


class LongTail(Subset):
    """The first images of every class, fewer from class to class.

    Args:
        source: Whole set, with labels.
        factor: Number of images of the largest class over that of the smallest.
        order: Classes from the largest to the smallest; default in order of the labels.

    Raises:
        SGMError: If the source has no labels, or a class has too few pictures.
    """

    def __init__(self, source: Images, factor: float = 100.0, order: list[int] | None = None) -> None:
        if source.labels is None:
            raise SGMError("A long tail needs labels, but the source has none; set its `classes`.")
        labels = source.labels.numpy()
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
        super().__init__(source, np.sort(np.concatenate(kept)), f"long tail of {source.name}")


def long_tail_counts(largest: int, num_classes: int, factor: float) -> list[int]:
    """Return the number of images of every class, at least one.

    It falls exponentially from `largest` to largest / factor (Cui et al. 2019).

    >>> long_tail_counts(6000, 10, 100)
    [6000, 3596, 2156, 1292, 774, 464, 278, 166, 100, 60]
    """
    if factor < 1:
        raise SGMError(f"The imbalance factor must be at least 1, got {factor}; 10 and 100 are usual.")
    power = (i / max(num_classes - 1, 1) for i in range(num_classes))
    return [max(1, int(largest * factor**-p + 1e-9)) for p in power]
