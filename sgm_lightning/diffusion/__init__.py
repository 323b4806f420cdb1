"""Schedules, the forward process, noise, and denoisers: pure tensor code."""

from sgm_lightning.diffusion.denoiser import Condition, Denoised, Denoiser
from sgm_lightning.diffusion.execution import Execution
from sgm_lightning.diffusion.noise import Noise, SampleNoise
from sgm_lightning.diffusion.pixels import from_uint8, to_uint8
from sgm_lightning.diffusion.process import DiffusionProcess
from sgm_lightning.diffusion.schedule import make_betas, spaced_steps

__all__ = [
    "Condition",
    "Denoised",
    "Denoiser",
    "DiffusionProcess",
    "Execution",
    "Noise",
    "SampleNoise",
    "from_uint8",
    "make_betas",
    "spaced_steps",
    "to_uint8",
]
