"""Nearest neighbours between matrices of any length, with one block of their distances in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from sgm_lightning.errors import SGMError

# Largest number of distances in a block: 128 MB.
_BLOCK = 32_000_000
# Largest number of float64 differences in a block: 4 MB.
_CACHE = 500_000
# float32 products err by less than this share of the squared norms; closer decisions are taken in float64.
_DOUBT = 1e-5


class TooFew(SGMError):
    """A measure is asked of fewer images than it needs."""


class Neighbours(NamedTuple):
    """The k nearest neighbours, in ascending order of distance.

    Attributes:
        distances: Euclidean distances, (N, k) float64.
        indices: Rows of the neighbours, (N, k) int64.
    """

    distances: Tensor
    indices: Tensor


def check_features(features: Tensor, name: str, least: int = 1, or_else: str = "lower k") -> None:
    """Raise unless the features are (N, D), finite, and N is at least `least`; `or_else` is a remedy besides more images."""
    if features.ndim != 2:
        raise SGMError(f"{name} must be features of shape (N, D), got {tuple(features.shape)}; flatten them.")
    if len(features) < least:
        raise TooFew(f"This metric needs at least {least} {name}, got {len(features)}; take more, or {or_else}.")
    if not bool(torch.isfinite(features).all()):
        raise SGMError(f"{name} hold NaN or infinite features; check the images and the extractor.")


def nearest(queries: Tensor, reference: Tensor, k: int, exclude_self: bool = False) -> Neighbours:
    """Return the k nearest rows of `reference` to every row of `queries`.

    Candidates are found by float32 matrix products; their distances are then computed in float64.

    Args:
        queries: Features of shape (N, D).
        reference: Features of shape (M, D).
        k: Number of neighbours.
        exclude_self: Whether the two are the same, and a row is no neighbour of itself.

    Raises:
        SGMError: If M is too small for k, or features are not finite.
    """
    check_features(queries, "samples")
    check_features(reference, "reference samples", k + int(exclude_self))
    spare = min(len(reference), k + int(exclude_self) + 4)
    distances, indices = [], []
    for start, block in squared_distances(queries, reference):
        rows = torch.arange(start, start + len(block), device=block.device)
        if exclude_self:
            block[torch.arange(len(block), device=block.device), rows] = float("inf")
        candidates = block.topk(spare, largest=False).indices
        exact = _exact(queries[rows], reference, candidates)
        if exclude_self:
            exact = exact.masked_fill(candidates == rows[:, None], float("inf"))
        order = exact.sort(dim=1)
        distances.append(order.values[:, :k].sqrt())
        indices.append(candidates.gather(1, order.indices[:, :k]))
    return Neighbours(torch.cat(distances), torch.cat(indices))


def squared_distances(queries: Tensor, reference: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Yield first row and squared distances (n, M), float32, of each block of queries; a block may be written to."""
    centre = reference.mean(0, dtype=torch.float64).to(reference.dtype)
    reference = (reference - centre).float()
    norms = reference.square().sum(1)
    rows = max(1, _BLOCK // len(reference))
    for start in range(0, len(queries), rows):
        part = (queries[start : start + rows] - centre).float()
        own = part.square().sum(1, keepdim=True)
        yield start, torch.addmm(norms, part, reference.T, alpha=-2).add_(own).clamp_(min=0)


def within(queries: Tensor, reference: Tensor, radii: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Yield first row and mask (n, M) of each block of queries.

    The mask is true where ‖query − reference_j‖ < radii_j, decided in float64 where it is close.
    """
    centre = reference.mean(0, dtype=torch.float64)
    scale = (reference.double() - centre).square().sum(1)
    limit = radii.double().square()
    for start, block in squared_distances(queries, reference):
        own = (queries[start : start + len(block)].double() - centre).square().sum(1)
        doubt = _DOUBT * (scale + own.max()).float()
        inside = block < limit.float() - doubt
        close = (inside ^ (block < limit.float() + doubt)).nonzero()
        if len(close):
            row, column = close.T
            for part in torch.arange(len(close), device=block.device).split(200_000):
                difference = queries[start + row[part]].double() - reference[column[part]].double()
                inside[row[part], column[part]] = difference.square().sum(1) < limit[column[part]]
        yield start, inside


def _exact(queries: Tensor, reference: Tensor, candidates: Tensor) -> Tensor:
    """Return squared distances (n, c) in float64, computed a few rows at a time, as many as the processor's cache holds."""
    rows = max(1, _CACHE // (candidates.shape[1] * reference.shape[1]))
    return torch.cat(
        [
            reference[candidate].double().sub_(query[:, None]).square_().sum(2)
            for query, candidate in zip(queries.split(rows), candidates.split(rows), strict=True)
        ]
    )
