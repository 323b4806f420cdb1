"""Callbacks."""

from sgm_lightning.callbacks.progress import SamplingProgress
from sgm_lightning.callbacks.writer import RunWriter

__all__ = ["RunWriter", "SamplingProgress"]
