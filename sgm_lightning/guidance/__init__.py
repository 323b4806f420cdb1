"""Guidance methods, one per file."""

from sgm_lightning.guidance.base import Guidance
from sgm_lightning.guidance.classifier_guidance import ClassifierGuidance
from sgm_lightning.guidance.low_density import LowDensityGuidance
from sgm_lightning.guidance.particle_guidance import ParticleGuidance
from sgm_lightning.guidance.self_guidance import SelfGuidance
from sgm_lightning.guidance.together import Together
from sgm_lightning.guidance.window import Window

__all__ = [
    "ClassifierGuidance",
    "Guidance",
    "LowDensityGuidance",
    "ParticleGuidance",
    "SelfGuidance",
    "Together",
    "Window",
]
