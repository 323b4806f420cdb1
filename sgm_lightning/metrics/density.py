"""Rarity and realism of samples with respect to real images, from distances in a feature space.

All functions take features of samples, (N, D), and of real images, (M, D). They are exact: distances that decide a
comparison are computed in float64. Real features given as `RealFeatures` share their neighbours between calls.

Example:
    >>> import torch
    >>> real = torch.tensor([[0.0], [1.0], [2.0], [3.0]])
    >>> samples = torch.tensor([[1.5], [5.0]])
    >>> avg_knn(samples, real, k=2).tolist()
    [0.5, 2.5]
    >>> rarity_score(samples, real, k=1).tolist()
    [1.0, 0.0]
    >>> prdc(samples, real, k=1)
    Prdc(precision=0.5, recall=1.0, density=1.0, coverage=0.5)
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from sgm_lightning.metrics.neighbours import check_features, nearest, within
from sgm_lightning.metrics.real import RealFeatures


def avg_knn(samples: Tensor, real: Tensor | RealFeatures, k: int = 5) -> Tensor:
    """Return AvgkNN, the mean distance to the k nearest real images, (N,) float64; higher = rarer (Um & Ye 2024)."""
    return nearest(samples, RealFeatures.of(real).features, k).distances.mean(1)


def local_outlier_factor(samples: Tensor, real: Tensor | RealFeatures, k: int = 20) -> Tensor:
    """Return each sample's LOF with respect to the real images, (N,) float64; about 1 inside clusters, higher = rarer.

    It is the ratio of the local reachability density of the neighbours to that of the sample (Breunig et al. 2000).
    """
    real = RealFeatures.of(real)
    of_real = real.neighbours(k)
    k_distance = of_real.distances[:, -1]

    def reachability_density(distances: Tensor, indices: Tensor) -> Tensor:
        # The summand keeps k duplicates from dividing by zero, as in scikit-learn.
        return 1 / (torch.maximum(distances, k_distance[indices]).mean(1) + 1e-10)

    density = reachability_density(*of_real)
    of_samples = nearest(samples, real.features, k)
    return density[of_samples.indices].mean(1) / reachability_density(*of_samples)


def rarity_score(samples: Tensor, real: Tensor | RealFeatures, k: int = 3) -> Tensor:
    """Return the radius of the smallest real ball that holds a sample, (N,) float64; 0 outside all (Han et al. 2023).

    A ball reaches from a real image to its k-th nearest real neighbour.
    """
    real = RealFeatures.of(real)
    ascending, order = real.radii(k).sort()
    scores = torch.zeros(len(samples), dtype=torch.float64, device=samples.device)
    for start, inside in within(samples, real.features[order], ascending):
        smallest = inside.byte().argmax(1)  # the first of the smallest balls
        scores[start : start + len(inside)] = torch.where(inside.any(1), ascending[smallest], 0.0)
    return scores


class Prdc(NamedTuple):
    """Improved precision and recall (Kynkäänniemi et al. 2019), density and coverage (Naeem et al. 2020).

    Attributes:
        precision: Share of samples inside some real ball, in [0, 1].
        recall: Share of real images inside some sample's ball, in [0, 1].
        density: Mean number of real balls around a sample, over k; may exceed 1.
        coverage: Share of real balls that hold a sample, in [0, 1].
    """

    precision: float
    recall: float
    density: float
    coverage: float


class PerSampleFidelity(NamedTuple):
    """Values of each sample whose means are precision and density, (N,) float64."""

    precision: Tensor
    density: Tensor


def fidelity(samples: Tensor, real: Tensor | RealFeatures, k: int = 3) -> PerSampleFidelity:
    """Return 1 for samples inside a real ball, else 0, and the number of real balls that hold the sample, over k."""
    held, _ = _held(samples, RealFeatures.of(real), k)
    return PerSampleFidelity((held > 0).double(), held / k)


def prdc(samples: Tensor, real: Tensor | RealFeatures, k: int = 3) -> Prdc:
    """Return precision, recall, density and coverage."""
    real = RealFeatures.of(real)
    check_features(samples, "samples", k + 1)
    held, covered = _held(samples, real, k)
    recalled = torch.cat([inside.any(1) for _, inside in within(real.features, samples, RealFeatures(samples).radii(k))])
    return Prdc(
        precision=float((held > 0).double().mean()),
        recall=float(recalled.double().mean()),
        density=float(held.mean()) / k,
        coverage=float(covered.double().mean()),
    )


def memorised_share(samples: Tensor, training: Tensor, held_out: Tensor) -> Tensor:
    """Return True where a sample is nearer to a training image than to any of an equally large held-out set, (N,) bool.

    By chance, half of the samples are.
    """
    check_features(held_out, "held-out images", 1)
    count = min(len(training), len(held_out))
    to_training = nearest(samples, training[:count], 1).distances[:, 0]
    return to_training < nearest(samples, held_out[:count], 1).distances[:, 0]


def _held(samples: Tensor, real: RealFeatures, k: int) -> tuple[Tensor, Tensor]:
    """Return the number of real balls that hold each sample, (N,) float64, and a mask of balls with samples, (M,) bool."""
    covered = torch.zeros(len(real), dtype=torch.bool, device=real.features.device)
    counts = []
    for _, inside in within(samples, real.features, real.radii(k)):
        counts.append(inside.view(torch.uint8).sum(1, dtype=torch.int32))  # twice as fast as a sum of booleans
        covered |= inside.any(0)
    return torch.cat(counts).double(), covered
