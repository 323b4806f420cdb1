"""Minority scores of a data set, and the classes that their quantiles make of it."""

from sgm_lightning.scoring.levels import Levels, level_of, read_levels, thresholds

__all__ = ["Levels", "level_of", "read_levels", "thresholds"]
