"""Noise of each sample, a pure function of (seed, sample, candidate, purpose, place in the chain)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from enum import IntEnum
from functools import cache
from typing import Protocol

import numpy as np
import torch
from torch import Tensor


class Purpose(IntEnum):
    """Purpose of a random number. The values determine the draws: never reuse one."""

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
    JUMP = 13
    WORLD = 14
    DEGRADE = 15


def generator(seed: int, index: int, purpose: Purpose, *key: int) -> np.random.Generator:
    """Return the Philox generator of a key. torch's CPU generator keeps only 32 bits of its seed; this one keeps 128."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(seed, spawn_key=(index, int(purpose), *key))))


def random_labels(seed: int, indices: Sequence[int], num_classes: int) -> Tensor:
    """Return (B,) int64 labels, uniform in [0, num_classes), each from its sample's random numbers."""
    return torch.tensor([int(generator(seed, int(i), Purpose.LABEL).integers(num_classes)) for i in indices])


class Noise(Protocol):
    """The random numbers of a batch of samples. Methods return (B, C, H, W) float32 unless stated otherwise."""

    @property
    def indices(self) -> Sequence[int]:
        """Global index of each sample of the batch."""

    def start(self) -> Tensor:
        """Return the noise that x_T is made from."""

    def step(self, index: int, visit: int = 0) -> Tensor:
        """Return the noise of the reverse step at respaced `index`, at the chain's `visit`-th return to it."""

    def draw(self, purpose: Purpose, index: int, number: int) -> Tensor:
        """Return the `number`-th Monte Carlo noise of a score at respaced `index`."""

    def jump(self, index: int, visit: int) -> Tensor:
        """Return the noise that takes the state up to `index`, at the chain's `visit`-th return to it."""

    def condition(self, index: int, size: int) -> Tensor:
        """Return (B, size) float32 standard normal noise for the condition of the step at respaced `index`."""

    def gumbel(self, stage: int) -> Tensor:
        """Return (B,) float32 standard Gumbel noise for the random choice at `stage`."""

    def ahead_step(self, index: int, visit: int = 0) -> None:
        """Start to compute `step(index, visit)` in the background."""

    def ahead(self, purpose: Purpose, index: int, number: int) -> None:
        """Start to compute `draw(purpose, index, number)` in the background."""

    def apart(self, number: int) -> Noise:
        """Return other draws of the same samples, for the `number`-th of several guidances."""

    def repeat(self, count: int) -> Noise:
        """Return `count` independent candidates of every sample, side by side: rows 0 … count − 1 are the first sample's."""

    def select(self, rows: Sequence[int]) -> Noise:
        """Return the noise of some rows, in that order."""


# Numbers from which on another thread helps: fewer are made faster than two threads pass the interpreter's lock on.
_WORTH_A_THREAD = 2**16


@dataclass(frozen=True, eq=False)
class SampleNoise:
    """All noise of the samples `indices`. It has no state: the same call always gives the same numbers.

    The numbers are drawn on the CPU, so that a seed gives the same noise on every device, and copied without waiting for
    the device.

    Args:
        seed: Seed of the run, a non-negative integer.
        indices: Global index of each sample of the batch.
        shape: Shape (C, H, W) of x_t.
        device: Device that the noise goes to.
        candidates: Number of each row among several candidates of the same sample; default 0, whose noise is that of a
            sample drawn alone.
        path: Numbers that distinguish several users of the same purpose; see `apart`.
    """

    seed: int
    indices: Sequence[int]
    shape: Sequence[int]
    device: torch.device | str = "cpu"
    candidates: Sequence[int] = ()
    path: tuple[int, ...] = ()
    # Only a cache of draws that were requested in advance.
    _pending: dict[tuple[int, ...], Future[Tensor]] = field(default_factory=dict, init=False, repr=False)

    def normal(self, purpose: Purpose, *key: int, shape: Sequence[int] | None = None) -> Tensor:
        """Return (B, *shape) float32 standard normal numbers at `key`; the default shape is that of x_t."""
        pending = self._pending.pop((int(purpose), *key), None)
        host = self._host(purpose, key, shape) if pending is None else pending.result()
        return host.to(self.device, non_blocking=True)

    def start(self) -> Tensor:
        return self.normal(Purpose.START)

    def step(self, index: int, visit: int = 0) -> Tensor:
        return self.normal(Purpose.STEP, index, visit)

    def draw(self, purpose: Purpose, index: int, number: int) -> Tensor:
        return self.normal(purpose, index, number, *self.path)

    def jump(self, index: int, visit: int) -> Tensor:
        return self.normal(Purpose.JUMP, index, visit)

    def condition(self, index: int, size: int) -> Tensor:
        return self.normal(Purpose.CONDITION, index, shape=(size,))

    def gumbel(self, stage: int) -> Tensor:
        numbers = self._empty((len(self.indices),))
        numbers.numpy()[...] = [rng.gumbel() for rng in self._generators(Purpose.CHOICE, (stage,))]
        return numbers.to(self.device, non_blocking=True)

    def ahead_step(self, index: int, visit: int = 0) -> None:
        self._ask(Purpose.STEP, index, visit)

    def ahead(self, purpose: Purpose, index: int, number: int) -> None:
        self._ask(purpose, index, number, *self.path)

    def apart(self, number: int) -> SampleNoise:
        other = replace(self, path=(*self.path, number))
        object.__setattr__(other, "_pending", self._pending)
        return other

    def repeat(self, count: int) -> SampleNoise:
        indices = [index for index in self.indices for _ in range(count)]
        return replace(self, indices=indices, candidates=[c for _ in self.indices for c in range(count)])

    def select(self, rows: Sequence[int]) -> SampleNoise:
        candidates = self.candidates or [0] * len(self.indices)
        return replace(self, indices=[self.indices[r] for r in rows], candidates=[candidates[r] for r in rows])

    def _ask(self, purpose: Purpose, *key: int) -> None:
        if len(self.indices) * math.prod(self.shape) < _WORTH_A_THREAD:
            return
        # NumPy fills arrays without holding the interpreter's lock.
        self._pending[(int(purpose), *key)] = _worker().submit(self._host, purpose, key, None)

    def _host(self, purpose: Purpose, key: tuple[int, ...], shape: Sequence[int] | None) -> Tensor:
        numbers = self._empty((len(self.indices), *(self.shape if shape is None else shape)))
        for row, rng in zip(numbers.numpy(), self._generators(purpose, key), strict=True):
            rng.standard_normal(out=row, dtype=np.float32)
        return numbers

    def _generators(self, purpose: Purpose, key: tuple[int, ...]) -> list[np.random.Generator]:
        rows = zip(self.indices, self.candidates or [0] * len(self.indices), strict=True)
        return [generator(self.seed, int(index), purpose, candidate, *key) for index, candidate in rows]

    def _empty(self, shape: tuple[int, ...]) -> Tensor:
        """Return an unfilled float32 tensor on the CPU, pinned for a GPU: copies from other memory make the host wait."""
        return torch.empty(shape, dtype=torch.float32, pin_memory=torch.device(self.device).type == "cuda")


@cache
def _worker() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="noise")
