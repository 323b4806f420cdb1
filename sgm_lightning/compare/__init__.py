"""Compares methods side by side: the same seeds, the same measures, one table."""

from sgm_lightning.compare.anchors import Anchor, Degraded, RareImages

__all__ = ["Anchor", "Degraded", "RareImages"]
