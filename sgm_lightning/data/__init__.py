"""Data modules."""

from sgm_lightning.data.chunks import Chunk, LowResolution, SampleIndices
from sgm_lightning.data.draws import TrainingBatch
from sgm_lightning.data.evaluated import EvaluatedImages
from sgm_lightning.data.training import FolderData, TrainingData

__all__ = [
    "Chunk",
    "EvaluatedImages",
    "FolderData",
    "LowResolution",
    "SampleIndices",
    "TrainingBatch",
    "TrainingData",
]
