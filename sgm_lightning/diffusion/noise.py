"""Noise that belongs to the sample: a function of (seed, sample index, stream) and of nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor


class Purpose(IntEnum):
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
    CANDIDATE = 10
    CHOICE = 11
    CONDITION = 12


def generator(seed: int, index: int, stream: Purpose, *key: int) -> np.random.Generator:
    """Philox generator of sample `index`. torch's CPU generator keeps 32 bits of its seed only; this one keeps 128."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(seed, spawn_key=(index, int(stream), *key))))


class Noise(Protocol):
    """Where a sampler gets its standard normal draws from; all methods return (B, C, H, W) float32."""

    @property
    def indices(self) -> Sequence[int]:
        """Global index of each sample of the batch."""

    def start(self) -> Tensor:
        """The noise that x_T is made of."""

    def step(self, index: int, visit: int = 0) -> Tensor:
        """The noise of the reverse step at respaced `index`, at the chain's `visit`-th return to it."""

    def draw(self, purpose: Purpose, index: int, number: int) -> Tensor:
        """The `number`-th Monte Carlo noise of a score at respaced `index`."""

    def jump(self, index: int, visit: int) -> Tensor:
        """The noise that takes the state up to `index`, at the chain's `visit`-th return to it."""

    def condition(self, index: int, size: int) -> Tensor:
        """(B, size) float32 standard normal noise for the condition of the step at respaced `index`."""

    def gumbel(self, stage: int) -> Tensor:
        """(B,) float32 standard Gumbel noise for choosing by chance at `stage`."""

    def ahead_step(self, index: int, visit: int = 0) -> None:
        """Begin to make `step(index, visit)`."""

    def ahead(self, purpose: Purpose, index: int, number: int) -> None:
        """Begin to make `draw(purpose, index, number)`."""

    def apart(self, number: int) -> Noise:
        """Other draws of the same samples, for the `number`-th of several guidances."""

    def repeat(self, count: int) -> Noise:
        """`count` independent candidates of every sample, side by side."""

    def select(self, rows: Sequence[int]) -> Noise:
        """Some rows, in that order."""


class NormalStream:
    """Successive standard normal draws for a batch of samples, each from its own generator.

    Drawn on the CPU, so that a seed means the same noise on every device, and copied without waiting for it.
    """

    def __init__(
        self,
        seed: int,
        indices: Sequence[int],
        stream: Purpose,
        shape: Sequence[int],
        device: torch.device | str = "cpu",
        *key: int,
    ) -> None:
        self.generators = [generator(seed, int(i), stream, *key) for i in indices]
        self.shape = tuple(shape)
        self.device = torch.device(device)

    @classmethod
    def of(cls, generators: list[np.random.Generator], shape: Sequence[int], device: torch.device | str) -> NormalStream:
        """A stream of generators that exist."""
        stream = cls(0, [], Purpose.START, shape, device)
        stream.generators = generators
        return stream

    def __call__(self) -> Tensor:
        noise = _host_tensor((len(self.generators), *self.shape), self.device)
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
        candidate: Which of several images of the same sample; the first one's noise is that of a sample drawn alone.
    """

    def __init__(
        self,
        seed: int,
        indices: Sequence[int],
        shape: Sequence[int],
        device: torch.device | str = "cpu",
        candidate: int = 0,
    ) -> None:
        self.seed, self.shape, self.device = seed, tuple(shape), torch.device(device)
        self.indices = [int(i) for i in indices]
        self.candidate_of_row = [candidate] * len(self.indices)
        key = (candidate,) if candidate else ()
        self._start, self._step, self._draw, self._choose = (
            NormalStream(seed, self.indices, stream, shape, device, *key)
            for stream in (Purpose.START, Purpose.STEP, Purpose.GUIDANCE, Purpose.CANDIDATE)
        )

    def start(self) -> Tensor:
        return self._start()

    def step(self, index: int, visit: int = 0) -> Tensor:
        return self._step()

    def draw(self, purpose: Purpose, index: int, number: int) -> Tensor:
        if purpose == Purpose.SCORE:
            if not hasattr(self, "_score"):
                self._score = NormalStream(self.seed, self.indices, Purpose.SCORE, self.shape, self.device)
            return self._score()
        return self._draw() if purpose == Purpose.GUIDANCE else self._choose()

    def apart(self, number: int) -> SampleNoise:
        return self

    def ahead_step(self, index: int, visit: int = 0) -> None:
        pass

    def ahead(self, purpose: Purpose, index: int, number: int) -> None:
        pass

    def jump(self, index: int, visit: int) -> Tensor:
        raise NotImplementedError

    def repeat(self, count: int) -> SampleNoise:
        """`count` independent sources for every sample, side by side: rows 0 … count − 1 are the first sample's."""
        alone = [SampleNoise(self.seed, self.indices, self.shape, self.device, c) for c in range(count)]
        together = SampleNoise(self.seed, [], self.shape, self.device)
        together.indices = [i for i in self.indices for _ in range(count)]
        together.candidate_of_row = [c for _ in self.indices for c in range(count)]
        for name in _STREAMS:
            rows = zip(*(getattr(noise, name).generators for noise in alone), strict=True)
            setattr(together, name, NormalStream.of([rng for row in rows for rng in row], self.shape, self.device))
        return together

    def select(self, rows: Sequence[int]) -> SampleNoise:
        """The sources of some rows, as far as they have been drawn."""
        chosen = SampleNoise(self.seed, [], self.shape, self.device)
        chosen.indices = [self.indices[row] for row in rows]
        chosen.candidate_of_row = [self.candidate_of_row[row] for row in rows]
        for name in _STREAMS:
            generators = getattr(self, name).generators
            setattr(chosen, name, NormalStream.of([generators[row] for row in rows], self.shape, self.device))
        return chosen

    def gumbel(self, stage: int) -> Tensor:
        """(B,) float32 standard Gumbel noise for choosing by chance at `stage`, a function of sample and candidate."""
        return self._tensor([rng.gumbel() for rng in self._keyed(Purpose.CHOICE, stage)])

    def condition(self, index: int, size: int) -> Tensor:
        return self._tensor([rng.standard_normal(size) for rng in self._keyed(Purpose.CONDITION, index)])

    def _keyed(self, stream: Purpose, *key: int) -> list[np.random.Generator]:
        """A generator of its own for each row at `key`."""
        rows = zip(self.indices, self.candidate_of_row, strict=True)
        return [generator(self.seed, i, stream, candidate, *key) for i, candidate in rows]

    def _tensor(self, values: list[Any]) -> Tensor:
        found = np.asarray(values, dtype=np.float32)
        noise = _host_tensor(found.shape, self.device)
        noise.numpy()[...] = found
        return noise.to(self.device, non_blocking=True)


def _host_tensor(shape: Sequence[int], device: torch.device) -> Tensor:
    """float32 on the CPU, to be filled; pinned for a GPU, as copies from other memory make the host wait."""
    return torch.empty(tuple(shape), dtype=torch.float32, pin_memory=device.type == "cuda")


_STREAMS = ("_start", "_step", "_draw", "_choose")


def random_labels(seed: int, indices: Sequence[int], num_classes: int) -> Tensor:
    """(B,) int64, uniform in [0, num_classes), each from the sample's own label stream."""
    return torch.tensor([int(generator(seed, int(i), Purpose.LABEL).integers(num_classes)) for i in indices])
