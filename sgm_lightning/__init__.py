"""Self-guided minority sampling for diffusion models."""

from typing import TYPE_CHECKING

from sgm_lightning.errors import SGMError
from sgm_lightning.lazy import lazy_exports
from sgm_lightning.version import __version__

if TYPE_CHECKING:
    from sgm_lightning.backbones import ADMCheckpoint, ADMFlags, Backbone, DiffusersCheckpoint, save_diffusers
    from sgm_lightning.diffusion import (
        Condition,
        Denoiser,
        DiffusionProcess,
        Execution,
        NoiseLevel,
        SampleNoise,
        Step,
        to_uint8,
    )
    from sgm_lightning.guidance import (
        ClassifierGuidance,
        LowDensityGuidance,
        ParticleGuidance,
        SelfGuidance,
        Together,
        Window,
    )
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
    from sgm_lightning.scores import (
        LPIPS,
        STLPIPS,
        ELBOScore,
        FeatureDistance,
        LevelRatio,
        Lp,
        MinorityScore,
        PerComplexity,
        SquaredError,
    )

_EXPORTS = {
    "backbones": ["ADMCheckpoint", "ADMFlags", "Backbone", "DiffusersCheckpoint", "save_diffusers"],
    "diffusion": ["Condition", "Denoiser", "DiffusionProcess", "Execution", "NoiseLevel", "SampleNoise", "Step", "to_uint8"],
    "guidance": ["ClassifierGuidance", "LowDensityGuidance", "ParticleGuidance", "SelfGuidance", "Together", "Window"],
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
    "scores": [
        "ELBOScore",
        "FeatureDistance",
        "LPIPS",
        "LevelRatio",
        "Lp",
        "MinorityScore",
        "PerComplexity",
        "STLPIPS",
        "SquaredError",
    ],
}

__all__ = [
    "CADS",
    "DDIM",
    "DDPM",
    "LPIPS",
    "STLPIPS",
    "ADMCheckpoint",
    "ADMFlags",
    "Backbone",
    "BestOf",
    "BoostAndSkip",
    "ClassifierFreeGuidance",
    "ClassifierGuidance",
    "Condition",
    "DPMSolverPlusPlus",
    "Denoiser",
    "DiffusersCheckpoint",
    "DiffusionProcess",
    "ELBOScore",
    "Execution",
    "FeatureDistance",
    "LevelRatio",
    "LowDensityGuidance",
    "Lp",
    "MinorityScore",
    "NoiseLevel",
    "ParticleGuidance",
    "PerComplexity",
    "SGMError",
    "SampleNoise",
    "SelfGuidance",
    "SquaredError",
    "Step",
    "TemporalScoreRescaling",
    "Together",
    "Window",
    "__version__",
    "save_diffusers",
    "to_uint8",
]

# The command line's help must not wait for torch.
__getattr__ = lazy_exports(__name__, {name: module for module, names in _EXPORTS.items() for name in names})
