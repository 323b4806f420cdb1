"""Random draws of training, which depend only on the seed and on the position in the global batch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

from sgm_lightning.diffusion.noise import Purpose, generator
from sgm_lightning.images.squares import Squares


class TrainingBatch(NamedTuple):
    """Images of a training step, and all its random draws.

    Attributes:
        images: (B, C, H, W) float32 in [−1, 1].
        labels: (B,) int64 classes, or None.
        noise: (B, C, H, W) float32 standard normal.
        step: (B,) float64 uniform in [0, 1), from which the step t is chosen.
        drop: (B,) float64 uniform in [0, 1), which decides whether the label is dropped.
        indices: (B,) int64 position of each image in the training's (or in the held-out set's) order.
        rows: (B,) int64 number of each image in its source.
    """

    images: Tensor
    labels: Tensor | None
    noise: Tensor
    step: Tensor
    drop: Tensor
    indices: Tensor
    rows: Tensor


class Order:
    """Maps a position in the training stream to a row of the data.

    Each pass over the data is shuffled differently, and passes follow each other without a gap.
    """

    def __init__(self, rows: np.ndarray, seed: int) -> None:
        self.rows, self.seed = rows, seed
        self._passes: dict[int, np.ndarray] = {}

    def __getitem__(self, position: int) -> int:
        number, offset = divmod(position, len(self.rows))
        if number not in self._passes:
            if len(self._passes) > 1:  # a batch touches two passes at most
                del self._passes[min(self._passes)]
            self._passes[number] = generator(self.seed, number, Purpose.ORDER).permutation(self.rows)
        return int(self._passes[number][offset])


class Draws(Dataset[TrainingBatch]):
    """Training batches by positions in the order of the training."""

    def __init__(self, squares: Squares, rows: np.ndarray, seed: int) -> None:
        self.squares, self.order, self.seed = squares, Order(rows, seed), seed

    def __getitems__(self, positions: list[int]) -> TrainingBatch:
        rngs = [generator(self.seed, position, Purpose.TRAINING) for position in positions]
        rows = [self.order[position] for position in positions]
        return _batch(self.squares, rows, positions, rngs)

    def __getitem__(self, position: int) -> TrainingBatch:
        return self.__getitems__([position])


def _batch(squares: Squares, rows: list[int], indices: list[int], rngs: list[np.random.Generator]) -> TrainingBatch:
    images = [squares.read(row, rng) for row, rng in zip(rows, rngs, strict=True)]
    x = torch.from_numpy(np.stack([image for image, _ in images]))
    uniform = torch.from_numpy(np.stack([rng.random(2) for rng in rngs]))
    noise = torch.empty_like(x)
    for row, rng in zip(noise.numpy(), rngs, strict=True):
        rng.standard_normal(out=row, dtype=np.float32)
    labels = None if images[0][1] is None else torch.tensor([label for _, label in images])
    numbers = torch.from_numpy(squares.indices[rows])
    return TrainingBatch(x, labels, noise, uniform[:, 0], uniform[:, 1], torch.tensor(indices), numbers)


class Positions:
    """Iterates over the positions of this process's batches, starting at the current step of the training."""

    def __init__(self, trainer: pl.Trainer, batch_size: int) -> None:
        self.trainer, self.batch_size = trainer, batch_size

    def __len__(self) -> int:
        return self.trainer.max_steps * self.trainer.accumulate_grad_batches

    def __iter__(self) -> Iterator[list[int]]:
        trainer, size = self.trainer, self.batch_size
        for number in range(trainer.global_step * trainer.accumulate_grad_batches, len(self)):
            first = (number * trainer.world_size + trainer.global_rank) * size
            yield list(range(first, first + size))


class HeldOut(IterableDataset[TrainingBatch]):
    """Iterates over this process's share of the held-out pictures, each with its own random draws."""

    def __init__(self, squares: Squares, rows: np.ndarray, seed: int, trainer: pl.Trainer, batch_size: int) -> None:
        self.squares, self.rows, self.seed, self.batch_size = squares, rows, seed, batch_size
        self.rank, self.world = trainer.global_rank, trainer.world_size  # a trainer is not passed to workers

    def __iter__(self) -> Iterator[TrainingBatch]:
        mine = list(range(self.rank, len(self.rows), self.world))
        for start in range(0, len(mine), self.batch_size):
            indices = mine[start : start + self.batch_size]
            rngs = [generator(self.seed, index, Purpose.VALIDATION) for index in indices]
            yield _batch(self.squares, [int(self.rows[index]) for index in indices], indices, rngs)
