"""Measures of rarity and realism."""

from sgm_lightning.metrics.density import (
    avg_knn,
    fidelity,
    local_outlier_factor,
    memorised_share,
    prdc,
    rarity_score,
)
from sgm_lightning.metrics.elbo import bound_term, negative_elbo, prior_term
from sgm_lightning.metrics.frechet import frechet_distance, kernel_distance, moments
from sgm_lightning.metrics.minority_score import from_uint8, minority_score, to_uint8

__all__ = [
    "avg_knn",
    "bound_term",
    "fidelity",
    "frechet_distance",
    "from_uint8",
    "kernel_distance",
    "local_outlier_factor",
    "memorised_share",
    "minority_score",
    "moments",
    "negative_elbo",
    "prdc",
    "prior_term",
    "rarity_score",
    "to_uint8",
]
