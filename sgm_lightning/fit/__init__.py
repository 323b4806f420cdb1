"""Everything behind `sgm-lightning fit`: losses, step samplers, averages, modules, their data, and the run's state."""

from typing import TYPE_CHECKING

from sgm_lightning.fit.objective import Losses, Objective
from sgm_lightning.fit.schedules import warmup_schedule
from sgm_lightning.fit.step_samplers import LossSecondMoment, StepSampler, UniformSteps
from sgm_lightning.lazy import lazy_exports

if TYPE_CHECKING:
    from sgm_lightning.fit.averaging import WeightAverage, ema_update
    from sgm_lightning.fit.classifier import ClassifierTraining
    from sgm_lightning.fit.data import FolderData, TrainingData
    from sgm_lightning.fit.draws import TrainingBatch
    from sgm_lightning.fit.module import TrainingModule
    from sgm_lightning.fit.reader import ReaderTraining
    from sgm_lightning.fit.run import TrainingRun
    from sgm_lightning.fit.sample_grid import SampleGrid

__all__ = [
    "ClassifierTraining",
    "FolderData",
    "LossSecondMoment",
    "Losses",
    "Objective",
    "ReaderTraining",
    "SampleGrid",
    "StepSampler",
    "TrainingBatch",
    "TrainingData",
    "TrainingModule",
    "TrainingRun",
    "UniformSteps",
    "WeightAverage",
    "ema_update",
    "warmup_schedule",
]

# Losses and step samplers are pure torch: they must not load Lightning.
__getattr__ = lazy_exports(
    __name__,
    {
        "ClassifierTraining": "classifier",
        "FolderData": "data",
        "ReaderTraining": "reader",
        "SampleGrid": "sample_grid",
        "TrainingBatch": "draws",
        "TrainingData": "data",
        "TrainingModule": "module",
        "TrainingRun": "run",
        "WeightAverage": "averaging",
        "ema_update": "averaging",
    },
)
