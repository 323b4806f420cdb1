"""LightningModules."""

from sgm_lightning.modules.classifier_training import ClassifierTraining
from sgm_lightning.modules.evaluation import EvaluationModule
from sgm_lightning.modules.sampling import SamplingModule
from sgm_lightning.modules.training import TrainingModule

__all__ = ["ClassifierTraining", "EvaluationModule", "SamplingModule", "TrainingModule"]
