"""Degraded pictures, which a reader must read with the right doubt."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torchvision.transforms.functional import gaussian_blur

from sgm_lightning.world.tables import FACTORS

# Shares of a batch; what is left stays as it is.
_SHARES = {"disturbed": 0.35, "mixed": 0.1, "cut": 0.1, "warped": 0.1}


class Degraded(NamedTuple):
    """Degraded pictures, and what a reader should say about them.

    Attributes:
        images: (B, C, H, W) float32 in [−1, 1].
        targets: Probabilities of the values of every factor, (B, K) float32 by the factor's name.
        has_pose: Whether the emoji still has a pose, (B,) bool.
    """

    images: Tensor
    targets: dict[str, Tensor]
    has_pose: Tensor


def degrade(images: Tensor, factors: Tensor, rng: np.random.Generator) -> Degraded:
    """Degrade most pictures of a batch; each kind of damage has its share.

    Disturbed pictures (noise, blur, other contrast and brightness) are still what they were. Two pictures that are mixed
    (Zhang et al. 2018) or cut together (Yun et al. 2019) are each to their share. Of a picture that is warped until nobody
    knows it, only the background can be read.

    Args:
        images: (B, C, H, W) float32 in [−1, 1].
        factors: Number of the value of every factor, (B, 4) int64.
        rng: Random numbers of the batch.
    """
    count = len(images)
    edges = (np.cumsum(list(_SHARES.values())) * count).astype(int)
    disturbed, mixed, cut, warped = np.split(rng.permutation(count), edges)[:4]
    result = images.clone()
    targets = {
        name: functional.one_hot(factors[:, column], len(values)).float()
        for column, (name, values) in enumerate(FACTORS.items())
    }
    has_pose = torch.ones(count, dtype=torch.bool, device=images.device)
    result[disturbed] = _disturb(images[disturbed], rng)
    for rows, blend in ((mixed, _mix), (cut, _cut)):
        partners = np.roll(rows, 1)  # in random order, and none is its own partner
        own = torch.from_numpy(rng.uniform(0.3, 0.7, len(rows))).to(images)
        result[rows], share = blend(images[rows], images[partners], own)
        for target in targets.values():
            target[rows] = share[:, None] * target[rows] + (1 - share[:, None]) * target[partners]
        has_pose[rows] = False
    result[warped] = _warp(images[warped], rng)
    for name in ("object", "style", "turn"):
        targets[name][warped] = 1 / targets[name].shape[1]
    has_pose[warped] = False
    return Degraded(result.clamp(-1, 1), targets, has_pose)


def _uniform(rng: np.random.Generator, low: float, high: float, like: Tensor) -> Tensor:
    return torch.from_numpy(rng.uniform(low, high, (len(like), 1, 1, 1))).to(like)


def _disturb(x: Tensor, rng: np.random.Generator) -> Tensor:
    """Return pictures with noise, blur, and another contrast and brightness, each from none to as much as people bear."""
    blurred = gaussian_blur(x, [5, 5], [1.0, 1.0])
    share = _uniform(rng, 0, 1, x)
    x = share * blurred + (1 - share) * x
    x = _uniform(rng, 0.75, 1.15, x) * x + _uniform(rng, -0.12, 0.12, x)
    noise = torch.from_numpy(rng.standard_normal(x.shape, dtype=np.float32)).to(x)
    return x + _uniform(rng, 0, 0.25, x) * noise


def _mix(x: Tensor, y: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
    weight = own.view(-1, 1, 1, 1)
    return weight * x + (1 - weight) * y, own


def _cut(x: Tensor, y: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
    """Return the left or upper part of x beside the rest of y, and the share of x."""
    size = x.shape[-1]
    first = torch.arange(size, device=x.device) < (own * size).round()[:, None]  # (B, size)
    upper = (torch.arange(len(x), device=x.device) % 2 == 0).view(-1, 1, 1, 1)
    mask = torch.where(upper, first[:, None, :, None], first[:, None, None, :])
    return torch.where(mask, x, y), first.float().mean(1)


def _warp(x: Tensor, rng: np.random.Generator) -> Tensor:
    """Return pictures whose places are displaced by about a quarter of the side, differently every few pixels."""
    coarse = torch.from_numpy(rng.standard_normal((len(x), 2, 6, 6), dtype=np.float32)).to(x)
    fields = functional.interpolate(0.5 * coarse, x.shape[-2:], mode="bicubic", align_corners=True)
    still = functional.affine_grid(torch.eye(2, 3, device=x.device).expand(len(x), 2, 3), list(x.shape), False)
    return functional.grid_sample(x, still + fields.permute(0, 2, 3, 1), padding_mode="border", align_corners=False)
