"""Samplers: the chain once, a step per file."""

from sgm_lightning.samplers.base import Sampler, SamplingMethod
from sgm_lightning.samplers.best_of import BestOf
from sgm_lightning.samplers.ddim import DDIM
from sgm_lightning.samplers.ddpm import DDPM
from sgm_lightning.samplers.dpm_solver import DPMSolverPlusPlus

__all__ = ["DDIM", "DDPM", "BestOf", "DPMSolverPlusPlus", "Sampler", "SamplingMethod"]
