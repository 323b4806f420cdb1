"""Data modules."""

from sgm_lightning.data.chunks import Chunk, LowResolution, SampleIndices

__all__ = ["Chunk", "LowResolution", "SampleIndices"]
