"""The exponential moving average of the weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor

from sgm_lightning.errors import SGMError


def ema_update(decay: float) -> Callable[[Sequence[Tensor], Sequence[Tensor], Tensor | int], None]:
    """Return the update θ̄ ← d θ̄ + (1 − d) θ with d = min(decay, (1 + n) / (10 + n)) after n updates: short memory first.

    Args:
        decay: Largest value of d, in [0, 1).

    Returns:
        A `multi_avg_fn` for `torch.optim.swa_utils.AveragedModel`.
    """
    if not 0 <= decay < 1:
        raise SGMError(f"decay must lie in [0, 1), got {decay}; 0.999 to 0.9999 are usual.")

    @torch.no_grad()
    def update(averaged: Sequence[Tensor], current: Sequence[Tensor], num_averaged: Tensor | int) -> None:
        n = int(num_averaged)
        weight = 1 - min(decay, (1 + n) / (10 + n))
        torch._foreach_lerp_(list(averaged), list(current), weight)

    return update


class WeightAverage(WeightAveraging):
    """Keeps an exponential moving average of the weights, which validation, sample grids and `predict` use.

    Args:
        decay: Decay d of the average; after n updates it is min(d, (1 + n) / (10 + n)).
    """

    def __init__(self, decay: float = 0.999) -> None:
        super().__init__(use_buffers=False, multi_avg_fn=ema_update(decay))
