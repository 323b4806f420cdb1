"""The skill of a network by noise level: how much better its x0_hat is than the best guess that needs no network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric

from sgm_lightning.diffusion import Condition, Denoiser, Prediction, Process

LOG_SNRS = (-6.0, -4.0, -2.0, 0.0, 2.0, 4.0)

_PICTURES = 256  # held-out pictures that are measured; as many as these tell the errors to a few percent
_GOLDEN = 0.6180339887498949  # fractional part of the golden ratio
_SAME = 1e-9  # variance of pictures in [−1, 1] below which they differ by rounding alone


class Skill(NamedTuple):
    """Skill of a network at some noise levels, from the noisiest on.

    Attributes:
        log_snrs: Log-SNR of every level.
        errors: Mean squared error of x0_hat, not clipped, per value of x_0.
        references: Mean squared error of the best guess that needs no network.
        pictures: Number of pictures that were measured.
    """

    log_snrs: tuple[float, ...]
    errors: tuple[float, ...]
    references: tuple[float, ...]
    pictures: int

    @property
    def values(self) -> tuple[float, ...]:
        """1 − error / reference: 1 is perfect, and below 0 the network is worse than the guess."""
        return tuple(1 - error / reference for error, reference in zip(self.errors, self.references, strict=True))

    @property
    def tags(self) -> tuple[str, ...]:
        """Name of every level for files and curves: its log-SNR to one decimal, `-6`."""
        return tuple(_tag(level) for level in self.log_snrs)

    @property
    def names(self) -> tuple[str, ...]:
        """Name of every level for sentences: −6."""
        return tuple(_printed(tag) for tag in self.tags)

    def __str__(self) -> str:
        found = zip(self.names, self.values, strict=True)
        return ", ".join(f"{name}: {_printed(f'{value:.2f}')}" for name, value in found)

    def warning(self, prediction: Prediction, min_snr: bool) -> str | None:
        """Return a sentence on the levels at which the network is worse than the guess, or None without any.

        Args:
            prediction: Quantity that the network predicts.
            min_snr: Whether the training weighs its loss by min-SNR.
        """
        pairs = zip(self.names, self.values, strict=True)
        found = [f"{name} (skill {_printed(f'{value:.3f}')})" for name, value in pairs if not value >= 0]
        if not found:
            return None
        remedies = ["train longer"]
        if min_snr:
            remedies.append("leave out min-SNR weights (`model.objective.min_snr_gamma: null`)")
        if prediction == "epsilon":
            remedies.append("let a network predict v instead of noise (`prediction: v_prediction` of `NewNetwork`)")
        return (
            "x0_hat is worse than the mean picture (above log-SNR 0: than that or the scaled input) at log-SNR "
            f"{', '.join(found)}; {' or '.join(remedies)}."
        )


class SkillByLevel(Metric):
    """Measures the skill of a network at fixed noise levels; its sums add up over batches and processes.

    At log-SNR ρ, x_t = α x_0 + σ noise is denoised. The error is the mean of (x_0 − x0_hat)², x0_hat not clipped, and the
    reference is the smaller one of two errors: that of the best constant picture, which is the pixelwise variance of the
    pictures, and that of the scaled input x_t / α, which is exp(−ρ) and can be the smaller one of pixels only above ρ = 0.
    The variance is the unbiased one, so that few held-out pictures are measured against the mean of all pictures.

    Args:
        process: Training chain of the network.
        shape: Shape (C, H, W) of x_0.
        log_snrs: Levels; the nearest step of the chain is used, one of its ends for levels beyond them.
        **kwargs: Options of `torchmetrics.Metric`.
    """

    full_state_update = False
    count: Tensor
    total: Tensor
    squares: Tensor
    errors: Tensor

    def __init__(self, process: Process, shape: Sequence[int], log_snrs: Sequence[float] = LOG_SNRS, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        found = [process.index_of_log_snr(level) for level in log_snrs]
        by_tag = {_tag(process.log_snr_list[index]): index for index in found}  # a level beyond an end may be another's twin
        self.indices = sorted(by_tag.values(), reverse=True)
        self.log_snrs = tuple(process.log_snr_list[index] for index in self.indices)
        for name, size in (("count", ()), ("total", shape), ("squares", ()), ("errors", (len(self.indices),))):
            self.add_state(name, torch.zeros(tuple(size), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, denoiser: Denoiser, x_0: Tensor, noise: Tensor, condition: Condition) -> None:
        """Add pictures, which may be none.

        Args:
            denoiser: Network on the chain that the metric was made for.
            x_0: (B, C, H, W) float32 pictures.
            noise: (B, C, H, W) standard normal, which makes x_t at every level.
            condition: Condition of the pictures.
        """
        if not len(x_0):
            return
        self.count += len(x_0)
        self.total += x_0.double().sum(0)
        self.squares += x_0.double().square().sum()
        for place, index in enumerate(self.indices):
            x_t = denoiser.process.q_sample(x_0, index, noise)
            self.errors[place] += (x_0 - denoiser(x_t, index, condition).x0_hat).double().square().sum()

    def compute(self) -> Skill | None:
        """Return the skill, or None where no guess can be beaten: of one picture, or of pictures that are all the same."""
        count, values = int(self.count), self.total.numel()
        variance = float(self.squares - self.total.square().sum() / count) / (count - 1) / values if count > 1 else 0.0
        if variance < _SAME:
            return None
        errors = (self.errors / count / values).tolist()
        references = (min(variance, math.exp(-log_snr)) for log_snr in self.log_snrs)
        return Skill(self.log_snrs, tuple(errors), tuple(references), count)


def measured(indices: Tensor, total: int) -> Tensor:
    """Return which held-out pictures the skill is measured on: all of a few, else about 256 that are spread evenly.

    Args:
        indices: (B,) int64 position of each picture among the held-out ones.
        total: Number of held-out pictures.

    Returns:
        (B,) bool.
    """
    # Multiples of the golden ratio are in step with no order that the pictures may have, such as pairs or classes in turn.
    return (indices.double() * _GOLDEN) % 1 < _PICTURES / total


def _tag(log_snr: float) -> str:
    return f"{round(log_snr, 1) + 0.0:g}"  # + 0.0 makes −0 zero


def _printed(number: str) -> str:
    return number.replace("-", "−")
