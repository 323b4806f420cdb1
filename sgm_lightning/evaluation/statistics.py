"""Uncertainty of numbers: standard errors, bootstrap intervals, paired differences, Holm's correction, rank correlation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

# A bootstrap interval lies within the values, and the range of N values holds the median with a probability of
# 1 − 2^(1 − N): 95 % from this N on. For fewer values there is no p-value by the normal approximation either.
FEW = 6


class Estimate(NamedTuple):
    """A mean with its uncertainty.

    Attributes:
        value: Mean of the values.
        standard_error: Standard error of the mean; NaN for one value.
        low: Lower end of the 95 % bootstrap interval, which holds less than 95 % for fewer than six values; NaN for one.
        high: Upper end of that interval.
        num_samples: Number of values, N.
    """

    value: float
    standard_error: float
    low: float
    high: float
    num_samples: int


def mean_estimate(values: np.ndarray, resamples: int = 1000, seed: int = 0) -> Estimate:
    """Return the mean of (N,) values, its standard error, and its 95 % percentile interval by bootstrap.

    Example:
        >>> mean_estimate(np.array([1.0, 1.0, 1.0]))
        Estimate(value=1.0, standard_error=0.0, low=1.0, high=1.0, num_samples=3)
    """
    values = np.asarray(values, dtype=np.float64)
    count = len(values)
    value = float(values.mean()) if count else math.nan
    if abs(value) <= 4 * np.finfo(float).eps * float(np.abs(values).max(initial=0)):
        value = 0.0  # a sum of values that cancel is zero but for its rounding
    if count < 2:
        return Estimate(value, math.nan, math.nan, math.nan, count)
    source, rows = np.random.default_rng(seed), max(1, 2**20 // count)  # at a time: some MiB
    sizes = [min(rows, resamples - start) for start in range(0, resamples, rows)]
    means = np.concatenate([values[source.integers(0, count, (size, count))].mean(1) for size in sizes])
    low, high = np.quantile(means, [0.025, 0.975])
    return Estimate(value, float(values.std(ddof=1) / math.sqrt(count)), float(low), float(high), count)


def two_sided_p(estimate: Estimate) -> float:
    """Return the two-sided p-value of a mean that is zero by hypothesis, by the normal approximation; NaN for few values."""
    if not estimate.standard_error > 0 or estimate.num_samples < FEW:
        return math.nan
    return math.erfc(abs(estimate.value) / estimate.standard_error / math.sqrt(2))


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Return adjusted p-values that keep the family's error rate (Holm 1979).

    Example:
        >>> holm({"a": 0.01, "b": 0.04, "c": 0.03})
        {'a': 0.03, 'b': 0.06, 'c': 0.06}
    """
    order = sorted(p_values, key=lambda name: p_values[name])
    adjusted, least = {}, 0.0
    for rank, name in enumerate(order):
        least = max(least, min(1.0, (len(order) - rank) * p_values[name]))
        adjusted[name] = least
    return {name: adjusted[name] for name in p_values}


def rank_correlation(x: np.ndarray, y: np.ndarray, given: np.ndarray | None = None) -> float:
    """Return Spearman's rank correlation of (N,) x and y.

    With (N, C) covariates `given`, the part of the ranks of x and y that is linear in the covariates' ranks is removed
    first.

    Example:
        >>> round(rank_correlation(np.array([1.0, 2.0, 3.0]), np.array([1.0, 8.0, 9.0])), 6)
        1.0
    """
    first, second = _ranks(x), _ranks(y)
    if given is not None:
        columns = np.column_stack([np.ones(len(x)), *(_ranks(column) for column in np.asarray(given).T)])
        first, second = (rank - columns @ np.linalg.lstsq(columns, rank, rcond=None)[0] for rank in (first, second))
    return float(np.corrcoef(first, second)[0, 1])


def _ranks(values: np.ndarray) -> np.ndarray:
    """Return the ranks; ties share their mean."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[inverse]
