"""Conditions of a network: named tensors with one row per sample."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, KeysView, Sequence

import torch
from torch import Tensor


class Condition:
    """The tensors that a network is conditioned on, by name. Names whose tensor is None are left out.

    It is not a `Mapping`, which Lightning would take apart when it moves a batch to its device; `to` moves it.

    Args:
        labels: Classes, (B,) int64, or None.
        low_res: Images that a cascade step enlarges, (B, C, h, w) float32 in [−1, 1], or None.
        **others: Further tensors with B rows, under the names that the network's backbone uses.
    """

    def __init__(self, labels: Tensor | None = None, low_res: Tensor | None = None, **others: Tensor | None) -> None:
        named = {"labels": labels, "low_res": low_res, **others}
        self._tensors = {name: value for name, value in named.items() if value is not None}

    def __getitem__(self, name: str) -> Tensor:
        return self._tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def keys(self) -> KeysView[str]:
        """Return the names."""
        return self._tensors.keys()

    def items(self) -> ItemsView[str, Tensor]:
        """Return the names and tensors."""
        return self._tensors.items()

    def get(self, name: str, default: Tensor | None = None) -> Tensor | None:
        """Return the tensor of that name, or `default`."""
        return self._tensors.get(name, default)

    @property
    def labels(self) -> Tensor | None:
        """Classes, (B,) int64, or None."""
        return self.get("labels")

    @property
    def low_res(self) -> Tensor | None:
        """Images to be enlarged, (B, C, h, w) float32, or None."""
        return self.get("low_res")

    def replace(self, **tensors: Tensor | None) -> Condition:
        """Return a copy with other tensors under these names; None removes a name."""
        return Condition(**{**self._tensors, **tensors})

    def select(self, rows: Sequence[int] | slice | Tensor) -> Condition:
        """Return the conditions of some rows, in that order. A list of rows makes the host wait: avoid it at every step."""
        index = rows if isinstance(rows, (Tensor, slice)) else list(rows)
        return Condition(**{name: value[index] for name, value in self.items()})

    def repeat(self, count: int) -> Condition:
        """Return the conditions of all rows, `count` times one after another."""
        return Condition(**{name: torch.cat([value] * count) for name, value in self.items()})

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Condition:
        """Return a copy on another device."""
        return Condition(**{name: value.to(device, non_blocking=non_blocking) for name, value in self.items()})
