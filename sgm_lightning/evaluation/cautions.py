"""Cautions beside numbers that have been computed although so few images do not allow to read them as usual."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from sgm_lightning.evaluation.results import Results, full_label

_ENOUGH_FOR_FRECHET = 2048  # the number below which clean-fid and others warn


def caution(key: str, count: int, real: int, dimensions: int, subset_size: int, k: int | None) -> str | None:
    """Return the condition of a measure that a set of images does not meet, or None.

    Args:
        key: Key of the measure.
        count: Number of samples, N.
        real: Number of real images that they are compared with, M.
        dimensions: Number of features, D.
        subset_size: Number of samples in each of KID's subsets.
        k: Number of neighbours of the measure, if it has one.
    """
    if key.endswith("frechet"):
        fewest, kind = min((count, "samples"), (real, "real images"))
        if fewest <= dimensions:
            return f"biased upwards: the covariance of {fewest} {kind} in {dimensions} dimensions is singular"
        if fewest < _ENOUGH_FOR_FRECHET:
            return f"biased upwards by {fewest} {kind}; compare at equal N"
    if key.endswith("recall") and count < real:
        return "higher for fewer samples, whose balls are larger; compare at equal N"
    if key == "coverage" and count < real and k is not None:
        # A real ball is empty if its k nearest are all among the M − 1 other real images, not among the N samples.
        expected = 1 - prod((real - i) / (real + count - i) for i in range(1, k + 1))
        return f"{count} real images instead of the samples would cover {expected:.2g}"
    if key == "kid" and 2 * subset_size > min(count, real):
        return f"its subsets of {subset_size} share most of their images, so that its standard error is too small"
    return None


def notes(sets: Sequence[Results]) -> list[str]:
    """Return what is to be said below a table of several sets: why numbers are absent, and what to read with care."""
    absent: dict[str, dict[str, None]] = {}
    careful: dict[str, dict[str, None]] = {}
    for results in sets:
        for name, measure in results.measures.items():
            value = results.values.get(name)
            if value is None or measure.label is None:
                continue
            if value.value is None:
                absent.setdefault(value.note or "no value", {})[full_label(name, measure)] = None
            elif value.caution is not None:
                careful.setdefault(value.caution, {})[full_label(name, measure)] = None
    lines = [f"– {'; '.join(names)}: {reason}" for reason, names in absent.items()]
    return lines + [f"* {'; '.join(names)}: {reason}" for reason, names in careful.items()]
