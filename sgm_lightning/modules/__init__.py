"""LightningModules."""

from sgm_lightning.modules.evaluation import EvaluationModule
from sgm_lightning.modules.sampling import SamplingModule

__all__ = ["EvaluationModule", "SamplingModule"]
