"""Callbacks."""

from sgm_lightning.callbacks.evaluate import Evaluate
from sgm_lightning.callbacks.progress import SamplingProgress
from sgm_lightning.callbacks.writer import RunWriter

__all__ = ["Evaluate", "RunWriter", "SamplingProgress"]
