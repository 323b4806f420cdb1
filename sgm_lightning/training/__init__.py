"""Training of diffusion models: losses, choice of steps, averages. Pure torch."""

from sgm_lightning.training.averaging import ema_update
from sgm_lightning.training.objective import Losses, Objective
from sgm_lightning.training.schedules import warmup_schedule
from sgm_lightning.training.step_samplers import LossSecondMoment, StepSampler, UniformSteps

__all__ = [
    "LossSecondMoment",
    "Losses",
    "Objective",
    "StepSampler",
    "UniformSteps",
    "ema_update",
    "warmup_schedule",
]
