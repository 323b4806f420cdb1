"""Shares of values, corrected for what a reader confuses."""

from __future__ import annotations

import numpy as np

_ROUNDS = 2000


def without_confusion(counts: np.ndarray, confusion: np.ndarray) -> np.ndarray:
    """Return the shares of the true values that best explain how often each value was read.

    They maximise the likelihood of the counts, by expectation and maximisation (Richardson 1972), and so never leave [0, 1].

    Args:
        counts: Number of images in which each value was read, (K,).
        confusion: P(value read | true value), (K, K), a row a true value.

    Returns:
        (K,) float64 that sum to 1; NaN if nothing was read.

    Example:
        >>> without_confusion(np.array([90, 10]), np.array([[0.9, 0.1], [0.0, 1.0]])).round(2)
        array([1., 0.])
    """
    total = counts.sum()
    if total == 0:
        return np.full(len(counts), np.nan)
    observed = counts / total
    shares = np.full(len(counts), 1 / len(counts))
    for _ in range(_ROUNDS):
        expected = shares @ confusion
        shares = shares * (confusion @ np.divide(observed, expected, out=np.zeros_like(observed), where=expected > 0))
    return shares / shares.sum()
