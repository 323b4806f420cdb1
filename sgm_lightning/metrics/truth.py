"""Truth in the emoji world, as torchmetrics: rarity and realism of what a reader finds in images.

The rows of all of them are those of `EmojiReader`, (B, 9).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from sgm_lightning.errors import SGMError
from sgm_lightning.metrics.indexed import IndexedMetric, PerSampleMetric
from sgm_lightning.world import FACTORS, World, is_held_out
from sgm_lightning.world.confusion import without_confusion
from sgm_lightning.world.reader import EmojiReader, Reading

_WIDTH = 9
TENTH = 0.1


class _OfReading(PerSampleMetric):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(row_shape=(_WIDTH,), **kwargs)


class TrueRarity(_OfReading):
    """True rarity −ln p of readable images, in nats; NaN for those that cannot be read, whose rarity says nothing.

    Args:
        world: World whose tables say what is rare.
        **kwargs: Options of `torchmetrics.Metric`.

    Example:
        >>> import torch
        >>> from sgm_lightning.world import World
        >>> metric = TrueRarity(World("uniform"))
        >>> metric.update(torch.tensor([[3.0, 0, 0, 0, 0.9, 1, 1, 1, 5], [3.0, 0, 0, 0, 0.5, 1, 1, 1, 5]]), torch.arange(2))
        >>> metric.compute()  # ln(48 · 8 · 2 · 2)
        tensor(7.3369, dtype=torch.float64)
    """

    higher_is_better = True

    def __init__(self, world: World, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.world = world

    def values(self, rows: Tensor) -> Tensor:
        reading = Reading.of_rows(rows)
        rarity = torch.from_numpy(self.world.rarity(reading.factors.cpu().numpy())).to(rows.device)
        return torch.where(reading.readable, rarity, torch.nan)

    def compute(self) -> Any:
        """Return the mean over all readable images of all processes, NaN if there is none."""
        return self._per_sample().values.nanmean()


class Rarest(_OfReading):
    """Share of images that can be read and are among the world's rarest tenth, in [0, 1].

    Args:
        world: World whose tables say what is rare.
        **kwargs: Options of `torchmetrics.Metric`.
    """

    higher_is_better = True

    def __init__(self, world: World, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.world = world
        self._least = world.rarity_quantile(TENTH)

    def values(self, rows: Tensor) -> Tensor:
        reading = Reading.of_rows(rows)
        rarity = torch.from_numpy(self.world.rarity(reading.factors.cpu().numpy())).to(rows.device)
        return (reading.readable & (rarity >= self._least)).double()


class Unreadable(_OfReading):
    """Share of images whose object has a probability below 0.8, in [0, 1]."""

    higher_is_better = False

    def values(self, rows: Tensor) -> Tensor:
        return (~Reading.of_rows(rows).readable).double()


class Unreality(_OfReading):
    """Root of the mean squared difference to the nearest picture of the world, in grey levels from 0 to 255."""

    higher_is_better = False

    def values(self, rows: Tensor) -> Tensor:
        return Reading.of_rows(rows).unreality


class HeldOutPairs(_OfReading):
    """Share of images that can be read and show a pair of object and background that `held_out` can leave out, in [0, 1]."""

    higher_is_better = True

    def values(self, rows: Tensor) -> Tensor:
        reading = Reading.of_rows(rows)
        pairs = torch.from_numpy(is_held_out(reading.factors.cpu().numpy())).to(rows.device)
        return (reading.readable & pairs).double()


class FactorShares(IndexedMetric):
    """Distance of the shares of each factor's values from the world's table, over readable images.

    `compute` gives the total variation distance ½ Σ |share − p| of every factor, in [0, 1]. Shares are corrected for values
    that the reader confuses (see `without_confusion`).

    Args:
        reader: Reader with its confusion, and its world.
        **kwargs: Options of `torchmetrics.Metric`.
    """

    higher_is_better = False

    def __init__(self, reader: EmojiReader, **kwargs: Any) -> None:
        super().__init__(row_shape=(_WIDTH,), **kwargs)
        self._confusion = {factor: reader.confusion(factor) for factor in FACTORS}
        self._tables = reader.world.probabilities

    def shares(self) -> dict[str, np.ndarray]:
        """Return the corrected shares of the values in readable images, (K,) by the factor's name.

        Raises:
            SGMError: If no image can be read.
        """
        reading = Reading.of_rows(self.ordered()[1])
        if not bool(reading.readable.any()):
            raise SGMError(f"Shares need an image that can be read, got none among {len(reading.factors)}; draw more.")
        read = reading.factors[reading.readable].cpu().numpy()
        found = {}
        for column, (factor, values) in enumerate(FACTORS.items()):
            counts = np.bincount(read[:, column], minlength=len(values))
            found[factor] = without_confusion(counts, self._confusion[factor])
        return found

    def compute(self) -> dict[str, Tensor]:
        """Return the total variation distance of every factor, float64."""
        distances = {name: np.abs(shares - self._tables[name]).sum() / 2 for name, shares in self.shares().items()}
        return {name: torch.tensor(distance, dtype=torch.float64) for name, distance in distances.items()}
