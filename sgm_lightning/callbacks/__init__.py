"""Callbacks."""

from sgm_lightning.callbacks.average import WeightAverage
from sgm_lightning.callbacks.evaluate import Evaluate
from sgm_lightning.callbacks.progress import SamplingProgress
from sgm_lightning.callbacks.sample_grid import SampleGrid
from sgm_lightning.callbacks.training_run import TrainingRun
from sgm_lightning.callbacks.writer import RunWriter

__all__ = ["Evaluate", "RunWriter", "SampleGrid", "SamplingProgress", "TrainingRun", "WeightAverage"]
