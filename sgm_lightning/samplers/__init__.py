"""Samplers, which share one reverse chain, and methods that change a chain or choose between several."""

from sgm_lightning.samplers.base import Sampler, SamplingMethod, State
from sgm_lightning.samplers.best_of import BestOf
from sgm_lightning.samplers.boost_and_skip import BoostAndSkip
from sgm_lightning.samplers.cads import CADS
from sgm_lightning.samplers.classifier_free_guidance import ClassifierFreeGuidance
from sgm_lightning.samplers.ddim import DDIM
from sgm_lightning.samplers.ddpm import DDPM
from sgm_lightning.samplers.dpm_solver import DPMSolverPlusPlus
from sgm_lightning.samplers.temporal_score_rescaling import TemporalScoreRescaling
from sgm_lightning.samplers.wrapper import Wrapper

__all__ = [
    "CADS",
    "DDIM",
    "DDPM",
    "BestOf",
    "BoostAndSkip",
    "ClassifierFreeGuidance",
    "DPMSolverPlusPlus",
    "Sampler",
    "SamplingMethod",
    "State",
    "TemporalScoreRescaling",
    "Wrapper",
]
