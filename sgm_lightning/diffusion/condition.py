"""Conditions of a network: named tensors with a row for every sample."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, KeysView, Sequence

import torch
from torch import Tensor


class Condition:
    """The tensors that a network is conditioned on, by name; a name without a tensor is not there.

    It is no `Mapping`, which Lightning would take apart when it moves a batch to its device; `to` moves it.

    Args:
        labels: (B,) int64 classes, or None.
        low_res: (B, C, h, w) float32 in [−1, 1], the images to be enlarged by a cascade step, or None.
        **others: Further tensors with B rows, under the names by which the network's backbone knows them.
    """

    def __init__(self, labels: Tensor | None = None, low_res: Tensor | None = None, **others: Tensor | None) -> None:
        named = {"labels": labels, "low_res": low_res, **others}
        self._tensors = {name: value for name, value in named.items() if value is not None}

    def __getitem__(self, name: str) -> Tensor:
        return self._tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def keys(self) -> KeysView[str]:
        """The names."""
        return self._tensors.keys()

    def items(self) -> ItemsView[str, Tensor]:
        """Names and tensors."""
        return self._tensors.items()

    def get(self, name: str, default: Tensor | None = None) -> Tensor | None:
        """The tensor of that name, or `default`."""
        return self._tensors.get(name, default)

    @property
    def labels(self) -> Tensor | None:
        """(B,) int64 classes, or None."""
        return self.get("labels")

    @property
    def low_res(self) -> Tensor | None:
        """(B, C, h, w) float32 images to be enlarged, or None."""
        return self.get("low_res")

    def replace(self, **tensors: Tensor | None) -> Condition:
        """The same with other tensors under these names; None takes a name away."""
        return Condition(**{**self._tensors, **tensors})

    def select(self, rows: Sequence[int] | slice | Tensor) -> Condition:
        """The conditions of some rows, in that order. A list of rows makes the host wait: not for every step."""
        index = rows if isinstance(rows, (Tensor, slice)) else list(rows)
        return Condition(**{name: value[index] for name, value in self.items()})

    def repeat(self, count: int) -> Condition:
        """The conditions of all rows, `count` times one behind another."""
        return Condition(**{name: torch.cat([value] * count) for name, value in self.items()})

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Condition:
        """The same on another device."""
        return Condition(**{name: value.to(device, non_blocking=non_blocking) for name, value in self.items()})
