"""Samplers: the chain once, a step per file."""

from sgm_lightning.samplers.base import Sampler
from sgm_lightning.samplers.ddim import DDIM
from sgm_lightning.samplers.ddpm import DDPM

__all__ = ["DDIM", "DDPM", "Sampler"]
