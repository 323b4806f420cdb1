"""Measures of rarity and realism: free functions, and the same as torchmetrics."""

from sgm_lightning.metrics.density import (
    avg_knn,
    fidelity,
    local_outlier_factor,
    memorised_share,
    prdc,
    rarity_score,
)
from sgm_lightning.metrics.distribution import FrechetDistance, KernelDistance
from sgm_lightning.metrics.elbo import bound_term, negative_elbo, prior_term
from sgm_lightning.metrics.frechet import frechet_distance, kernel_distance, moments
from sgm_lightning.metrics.indexed import IndexedMetric, PerSample
from sgm_lightning.metrics.minority_score import from_uint8, minority_score, to_uint8
from sgm_lightning.metrics.model_scores import MinorityScore, NegativeELBO
from sgm_lightning.metrics.real import RealFeatures
from sgm_lightning.metrics.realism import PrecisionRecall
from sgm_lightning.metrics.tail import AvgKNN, LocalOutlierFactor, Memorised, RarityScore

__all__ = [
    "AvgKNN",
    "FrechetDistance",
    "IndexedMetric",
    "KernelDistance",
    "LocalOutlierFactor",
    "Memorised",
    "MinorityScore",
    "NegativeELBO",
    "PerSample",
    "PrecisionRecall",
    "RarityScore",
    "RealFeatures",
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
