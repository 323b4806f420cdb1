"""Noise that belongs to the sample: a function of (seed, sample index, stream) and of nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Protocol

import numpy as np
import torch
from torch import Tensor


class Stream(IntEnum):
    """Independent random streams of one sample. The numbers are part of the draws: never reuse one."""

    START = 0
    STEP = 1
    GUIDANCE = 2
    SCORE = 3
    LABEL = 4
    ELBO = 5
    TRAINING = 6
    VALIDATION = 7
    ORDER = 8
    SPLIT = 9


def generator(seed: int, index: int, stream: Stream, *key: int) -> np.random.Generator:
    """Philox generator of sample `index`. torch's CPU generator keeps 32 bits of its seed only; this one keeps 128."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(seed, spawn_key=(index, int(stream), *key))))


class Noise(Protocol):
    """Where a sampler gets its standard normal draws from; all methods return (B, C, H, W) float32."""

    @property
    def indices(self) -> Sequence[int]:
        """Global index of each sample of the batch."""

    def start(self) -> Tensor:
        """The noise that x_T is made of."""

    def step(self, index: int) -> Tensor:
        """The noise of the reverse step at respaced `index`; called for every index > 0, in descending order."""

    def draw(self, index: int, draw: int) -> Tensor:
        """The `draw`-th Monte Carlo noise of the guidance at respaced `index`."""


class NormalStream:
    """Successive standard normal draws for a batch of samples, each from its own generator.

    Drawn on the CPU, so that a seed means the same noise on every device, and copied without waiting for it.
    """

    def __init__(
        self,
        seed: int,
        indices: Sequence[int],
        stream: Stream,
        shape: Sequence[int],
        device: torch.device | str = "cpu",
        *key: int,
    ) -> None:
        self.generators = [generator(seed, int(i), stream, *key) for i in indices]
        self.shape = tuple(shape)
        self.device = torch.device(device)

    def __call__(self) -> Tensor:
        noise = torch.empty((len(self.generators), *self.shape), dtype=torch.float32, pin_memory=self.device.type == "cuda")
        for row, rng in zip(noise.numpy(), self.generators, strict=True):
            rng.standard_normal(out=row, dtype=np.float32)
        return noise.to(self.device, non_blocking=True)


class SampleNoise:
    """All noise of the samples `indices`, for one run of a sampler.

    Args:
        seed: Seed of the run, a non-negative integer.
        indices: Global index of each sample of the batch.
        shape: (C, H, W) of an image.
        device: Where the noise goes.
    """

    def __init__(self, seed: int, indices: Sequence[int], shape: Sequence[int], device: torch.device | str = "cpu") -> None:
        self.indices = [int(i) for i in indices]
        self._start, self._step, self._draw = (
            NormalStream(seed, self.indices, stream, shape, device)
            for stream in (Stream.START, Stream.STEP, Stream.GUIDANCE)
        )

    def start(self) -> Tensor:
        return self._start()

    def step(self, index: int) -> Tensor:
        return self._step()

    def draw(self, index: int, draw: int) -> Tensor:
        return self._draw()


def random_labels(seed: int, indices: Sequence[int], num_classes: int) -> Tensor:
    """(B,) int64, uniform in [0, num_classes), each from the sample's own label stream."""
    return torch.tensor([int(generator(seed, int(i), Stream.LABEL).integers(num_classes)) for i in indices])
