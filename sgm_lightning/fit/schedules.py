"""Learning-rate schedules."""

from __future__ import annotations

import math
from typing import Literal

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from sgm_lightning.errors import SGMError


def warmup_schedule(
    optimizer: Optimizer, num_steps: int, warmup_steps: int = 0, shape: Literal["constant", "cosine", "linear"] = "constant"
) -> LambdaLR:
    """Return a schedule: linear warm-up, then the full rate, or a half cosine or a straight line to zero at `num_steps`.

    It is a function of the step alone and keeps no settings in checkpoints. A training that is resumed with more steps thus
    follows the longer schedule, where torch's own cosine would rise again.

    Args:
        optimizer: Optimiser whose rate is scheduled, step by step.
        num_steps: Number of optimisation steps of the whole training.
        warmup_steps: Number of steps until the full rate.
        shape: Course of the rate after the warm-up.

    Raises:
        SGMError: If the warm-up is as long as the training.
    """
    if not 0 <= warmup_steps < num_steps:
        raise SGMError(
            f"warmup_steps must lie between 0 and the {num_steps} steps of the training less one, got {warmup_steps}; set "
            "`model.warmup_steps`."
        )

    def factor(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / (warmup_steps + 1)
        if shape == "constant":
            return 1.0
        passed = (step - warmup_steps) / (num_steps - warmup_steps)
        return max(0.0, 1 - passed) if shape == "linear" else 0.5 * (1 + math.cos(math.pi * passed))

    return LambdaLR(optimizer, factor)
