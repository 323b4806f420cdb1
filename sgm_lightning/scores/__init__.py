"""Rarity under the model: the minority score, the variational bound, and the distances between images."""

from sgm_lightning.scores.distances import LPIPS, FeatureDistance, Lp, PerComplexity, SquaredError
from sgm_lightning.scores.elbo import bound_term, negative_elbo, prior_term
from sgm_lightning.scores.elbo_score import ELBOScore
from sgm_lightning.scores.level_ratio import LevelRatio
from sgm_lightning.scores.minority import MinorityScore
from sgm_lightning.scores.st_lpips import STLPIPS

__all__ = [
    "LPIPS",
    "STLPIPS",
    "ELBOScore",
    "FeatureDistance",
    "LevelRatio",
    "Lp",
    "MinorityScore",
    "PerComplexity",
    "SquaredError",
    "bound_term",
    "negative_elbo",
    "prior_term",
]
