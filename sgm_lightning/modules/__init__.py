"""LightningModules."""

from sgm_lightning.modules.sampling import SamplingModule

__all__ = ["SamplingModule"]
