"""Intervals, p-values and rank correlations."""

import numpy as np
import pytest

from sgm_lightning.evaluation.statistics import holm, mean_estimate, rank_correlation, two_sided_p


def test_intervals_cover_and_errors_are_right():
    source = np.random.default_rng(1)
    estimates = [mean_estimate(source.exponential(size=200), seed=n) for n in range(200)]
    covered = np.mean([estimate.low <= 1 <= estimate.high for estimate in estimates])
    assert 0.88 < covered < 0.99
    assert np.mean([estimate.standard_error for estimate in estimates]) == pytest.approx(200**-0.5, rel=0.05)
    assert two_sided_p(mean_estimate(source.normal(size=10000))) > 1e-3
    assert max(holm({"a": 0.5, "b": 0.9}).values()) == 1.0


def test_rank_correlation_equals_scipy():
    from scipy.stats import spearmanr

    source = np.random.default_rng(2)
    x = source.integers(0, 9, 100).astype(float)
    y = x + source.normal(size=100) * 3
    assert rank_correlation(x, y) == pytest.approx(spearmanr(x, y).statistic)
    common = source.normal(size=2000)
    first, second = common + 0.1 * source.normal(size=2000), common + 0.1 * source.normal(size=2000)
    assert rank_correlation(first, second) > 0.95
    assert abs(rank_correlation(first, second, common[:, None])) < 0.1  # nothing is left, given the common cause
