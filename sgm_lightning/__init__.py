"""Self-guided minority sampling for diffusion models."""

from typing import TYPE_CHECKING

from sgm_lightning.errors import SGMError
from sgm_lightning.lazy import lazy_exports
from sgm_lightning.version import __version__

if TYPE_CHECKING:
    from sgm_lightning.backbones import ADMCheckpoint, ADMFlags, Backbone, DiffusersCheckpoint, save_diffusers
    from sgm_lightning.diffusion import Condition, Denoiser, DiffusionProcess, Execution, SampleNoise, to_uint8
    from sgm_lightning.guidance import ELBOGuidance, ParticleGuidance, SelfGuidance, Together, Window
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
    from sgm_lightning.scores import LPIPS, FeatureDistance, Lp, minority_score

_EXPORTS = {
    "backbones": ["ADMCheckpoint", "ADMFlags", "Backbone", "DiffusersCheckpoint", "save_diffusers"],
    "diffusion": ["Condition", "Denoiser", "DiffusionProcess", "Execution", "SampleNoise", "to_uint8"],
    "guidance": ["ELBOGuidance", "ParticleGuidance", "SelfGuidance", "Together", "Window"],
    "samplers": [
        "BestOf",
        "BoostAndSkip",
        "CADS",
        "ClassifierFreeGuidance",
        "DDIM",
        "DDPM",
        "DPMSolverPlusPlus",
        "TemporalScoreRescaling",
    ],
    "scores": ["FeatureDistance", "LPIPS", "Lp", "minority_score"],
}

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
    "__version__",
    "minority_score",
    "save_diffusers",
    "to_uint8",
]

# The command line's help must not wait for torch.
__getattr__ = lazy_exports(__name__, {name: module for module, names in _EXPORTS.items() for name in names})
