"""LightningModules."""

from sgm_lightning.modules.evaluation import EvaluationModule
from sgm_lightning.modules.sampling import SamplingModule
from sgm_lightning.modules.training import TrainingModule

__all__ = ["EvaluationModule", "SamplingModule", "TrainingModule"]
