"""Distances between sets of features: Fréchet (FID) and kernel (KID)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sgm_lightning.metrics.neighbours import check_features


class Moments(NamedTuple):
    """Mean (D,) and covariance (D, D), float64."""

    mean: Tensor
    covariance: Tensor


def moments(features: Tensor) -> Moments:
    """Return mean and unbiased covariance of (N, D) features, N ≥ 2."""
    check_features(features, "reference samples", 2, "leave the measure out")
    values = features.double()
    return Moments(values.mean(0), torch.cov(values.T).reshape(values.shape[1], values.shape[1]))


def frechet_distance(first: Moments, second: Moments) -> float:
    """Return ‖μ_1 − μ_2‖² + tr(Σ_1 + Σ_2 − 2 (Σ_1 Σ_2)^½) (Heusel et al. 2017).

    The trace of the square root is that of (Σ_1^½ Σ_2 Σ_1^½)^½, whose eigenvalues are real. The distance is biased upwards
    below about 2048 samples.
    """
    values, vectors = torch.linalg.eigh(first.covariance)
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    eigenvalues = torch.linalg.eigvalsh(root @ second.covariance @ root)
    trace = first.covariance.trace() + second.covariance.trace() - 2 * eigenvalues.clamp(min=0).sqrt().sum()
    return max(0.0, float((first.mean - second.mean).square().sum() + trace))  # rounding may make it less


class KID(NamedTuple):
    """The mean over subsets, and the standard error of that mean."""

    value: float
    standard_error: float


def kernel_distance(samples: Tensor, real: Tensor, subsets: int = 100, subset_size: int = 1000, seed: int = 0) -> KID:
    """Return the unbiased squared MMD under the kernel (x·y / D + 1)³ (Bińkowski et al. 2018)."""
    check_features(samples, "samples", subset_size, "lower kid_subset_size")
    check_features(real, "reference samples", subset_size, "lower kid_subset_size")
    source = np.random.default_rng(seed)
    values = []
    for _ in range(subsets):
        x = samples[torch.from_numpy(source.permutation(len(samples))[:subset_size])].double()
        y = real[torch.from_numpy(source.permutation(len(real))[:subset_size])].double()
        cross = _kernel(x, y).mean()
        values.append(float(_off_diagonal_mean(_kernel(x, x)) + _off_diagonal_mean(_kernel(y, y)) - 2 * cross))
    error = float(np.std(values, ddof=1) / subsets**0.5) if subsets > 1 else float("nan")
    return KID(float(np.mean(values)), error)


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    return (x @ y.T / x.shape[1] + 1) ** 3


def _off_diagonal_mean(kernel: Tensor) -> Tensor:
    n = len(kernel)
    return (kernel.sum() - kernel.diagonal().sum()) / (n * (n - 1))
