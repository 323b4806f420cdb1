"""Self-guided minority sampling for diffusion models."""

from sgm_lightning.backbones import ADMCheckpoint, ADMFlags, Backbone, DiffusersCheckpoint, save_diffusers
from sgm_lightning.diffusion import Condition, Denoiser, DiffusionProcess, Execution
from sgm_lightning.errors import SGMError
from sgm_lightning.guidance import (
    LPIPS,
    ELBOGuidance,
    FeatureDistance,
    Lp,
    ParticleGuidance,
    SelfGuidance,
    Together,
    Window,
)
from sgm_lightning.metrics import minority_score, to_uint8
from sgm_lightning.rng import SampleNoise
from sgm_lightning.samplers import (
    CADS,
    DDIM,
    DDPM,
    BestOf,
    BoostAndSkip,
    ClassifierFreeGuidance,
    DPMSolverPlusPlus,
    TemporalScoreRescaling,
)

__version__ = "0.1.0"

__all__ = [
    "CADS",
    "DDIM",
    "DDPM",
    "LPIPS",
    "ADMCheckpoint",
    "ADMFlags",
    "Backbone",
    "BestOf",
    "BoostAndSkip",
    "ClassifierFreeGuidance",
    "Condition",
    "DPMSolverPlusPlus",
    "Denoiser",
    "DiffusersCheckpoint",
    "DiffusionProcess",
    "ELBOGuidance",
    "Execution",
    "FeatureDistance",
    "Lp",
    "ParticleGuidance",
    "SGMError",
    "SampleNoise",
    "SelfGuidance",
    "TemporalScoreRescaling",
    "Together",
    "Window",
    "minority_score",
    "save_diffusers",
    "to_uint8",
]
