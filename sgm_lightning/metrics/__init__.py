"""Measures of rarity and realism, as functions and as torchmetrics."""

from sgm_lightning.metrics.density import (
    avg_knn,
    fidelity,
    local_outlier_factor,
    memorised_share,
    prdc,
    rarity_score,
)
from sgm_lightning.metrics.distribution import FrechetDistance, KernelDistance
from sgm_lightning.metrics.frechet import frechet_distance, kernel_distance, moments
from sgm_lightning.metrics.indexed import IndexedMetric, PerSample, PerSampleMetric
from sgm_lightning.metrics.model_scores import MinorityScoreMetric, NegativeELBO
from sgm_lightning.metrics.real import RealFeatures
from sgm_lightning.metrics.realism import PrecisionRecall
from sgm_lightning.metrics.tail import AvgKNN, LocalOutlierFactor, Memorised, RarityScore
from sgm_lightning.metrics.truth import FactorShares, HeldOutPairs, Rarest, TrueRarity, Unreadable, Unreality

__all__ = [
    "AvgKNN",
    "FactorShares",
    "FrechetDistance",
    "HeldOutPairs",
    "IndexedMetric",
    "KernelDistance",
    "LocalOutlierFactor",
    "Memorised",
    "MinorityScoreMetric",
    "NegativeELBO",
    "PerSample",
    "PerSampleMetric",
    "PrecisionRecall",
    "Rarest",
    "RarityScore",
    "RealFeatures",
    "TrueRarity",
    "Unreadable",
    "Unreality",
    "avg_knn",
    "fidelity",
    "frechet_distance",
    "kernel_distance",
    "local_outlier_factor",
    "memorised_share",
    "moments",
    "prdc",
    "rarity_score",
]
