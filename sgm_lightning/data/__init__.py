"""Data modules."""

from sgm_lightning.data.chunks import Chunk, LowResolution, SampleIndices
from sgm_lightning.data.evaluated import EvaluatedImages

__all__ = ["Chunk", "EvaluatedImages", "LowResolution", "SampleIndices"]
