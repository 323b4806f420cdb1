"""Measures of rarity and realism."""

from sgm_lightning.metrics.minority_score import from_uint8, minority_score, to_uint8

__all__ = ["from_uint8", "minority_score", "to_uint8"]
