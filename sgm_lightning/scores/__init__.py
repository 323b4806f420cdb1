"""Rarity for the model itself: the minority score, the variational bound, and the distances between images."""

from sgm_lightning.scores.distances import LPIPS, FeatureDistance, Lp, PerComplexity, SquaredError
from sgm_lightning.scores.elbo import bound_term, negative_elbo, prior_term
from sgm_lightning.scores.minority import minority_score

__all__ = [
    "LPIPS",
    "FeatureDistance",
    "Lp",
    "PerComplexity",
    "SquaredError",
    "bound_term",
    "minority_score",
    "negative_elbo",
    "prior_term",
]
