"""Means over held-out images, for all steps of the chain and for each of its quarters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import lightning.pytorch as pl
import torch
from torch import Tensor
from torchmetrics import MeanMetric

_QUARTERS = 4


def quarters(step: Tensor, num_steps: int) -> Iterator[tuple[int, Tensor]]:
    """Yield each quarter of a chain, with a step in it for every image.

    Args:
        step: (B,) uniform in [0, 1); the same draw serves every quarter.
        num_steps: Length of the chain.

    Yields:
        Number of the quarter, from 0, and (B,) int64 respaced index.
    """
    for quarter in range(_QUARTERS):
        yield quarter, ((quarter + step) / _QUARTERS * num_steps).long()


class HeldOutMeans:
    """Running means by name. They are not a module, so that they are neither averaged with the weights nor saved.

    Args:
        by_quarter: Names of values that are measured in every quarter of the chain.
        once: Names of values that are measured once for each image.
    """

    def __init__(self, by_quarter: Sequence[str], once: Sequence[str] = ()) -> None:
        names = [*by_quarter, *once, *(_name(name, quarter) for name in by_quarter for quarter in range(_QUARTERS))]
        self.means = {name: MeanMetric() for name in names}

    def to(self, device: torch.device) -> None:
        """Move the means to a device."""
        for mean in self.means.values():
            mean.to(device)

    def update(self, values: Mapping[str, Tensor], quarter: int | None = None) -> None:
        """Add (B,) values by name, of images at one step of a quarter or at none in particular."""
        for name, value in values.items():
            self.means[name].update(value)
            if quarter is not None:
                self.means[_name(name, quarter)].update(value)

    def log(self, module: pl.LightningModule, shown: str) -> dict[str, float]:
        """Log all means, reset them, and return them by name; the progress bar shows the one named `shown`."""
        found = {name: float(mean.compute()) for name, mean in self.means.items()}
        for name, value in found.items():
            module.log(f"held_out/{name}", value, prog_bar=name == shown)
            self.means[name].reset()
        return found


def _name(name: str, quarter: int) -> str:
    return f"{name}_quarter_{quarter + 1}"
