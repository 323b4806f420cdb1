"""Schedules, the forward process, and denoisers: pure tensor code."""

from sgm_lightning.diffusion.denoiser import Condition, Denoised, Denoiser
from sgm_lightning.diffusion.execution import Execution
from sgm_lightning.diffusion.process import DiffusionProcess
from sgm_lightning.diffusion.schedule import make_betas, spaced_steps

__all__ = ["Condition", "Denoised", "Denoiser", "DiffusionProcess", "Execution", "make_betas", "spaced_steps"]
