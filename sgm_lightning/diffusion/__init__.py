"""Schedules, the forward process, noise, and denoisers: pure tensor code."""

from sgm_lightning.diffusion.codec import Codec, Pixels, from_images, to_images
from sgm_lightning.diffusion.condition import Condition
from sgm_lightning.diffusion.denoiser import ChangedDenoiser, Denoised, Denoiser, Model, Prediction, Variance
from sgm_lightning.diffusion.execution import Execution
from sgm_lightning.diffusion.level import NoiseLevel
from sgm_lightning.diffusion.levels import LevelProcess
from sgm_lightning.diffusion.noise import Noise, Purpose, SampleNoise
from sgm_lightning.diffusion.pixels import from_uint8, to_uint8
from sgm_lightning.diffusion.process import DiffusionProcess, Process
from sgm_lightning.diffusion.schedule import make_betas, spaced_steps, with_zero_terminal_snr
from sgm_lightning.diffusion.step import OnStep, Step

__all__ = [
    "ChangedDenoiser",
    "Codec",
    "Condition",
    "Denoised",
    "Denoiser",
    "DiffusionProcess",
    "Execution",
    "LevelProcess",
    "Model",
    "Noise",
    "NoiseLevel",
    "OnStep",
    "Pixels",
    "Prediction",
    "Process",
    "Purpose",
    "SampleNoise",
    "Step",
    "Variance",
    "from_images",
    "from_uint8",
    "make_betas",
    "spaced_steps",
    "to_images",
    "to_uint8",
    "with_zero_terminal_snr",
]
