"""The minority score of finished images, comparable across runs and methods of one model."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from sgm_lightning.diffusion import Condition, Denoiser
from sgm_lightning.rng import NormalStream, Stream


def to_uint8(x: Tensor) -> Tensor:
    """(B, C, H, W) in [−1, 1] to uint8, as released: clamp((x + 1) · 127.5, 0, 255), truncated."""
    return ((x + 1) * 127.5).clamp(0, 255).to(torch.uint8)


def from_uint8(images: Tensor) -> Tensor:
    """uint8 to float32 in [−1, 1]."""
    return images.float() / 127.5 - 1


@torch.no_grad()
def minority_score(
    images: Tensor,
    denoiser: Denoiser,
    distance: Callable[[Tensor, Tensor], Tensor],
    perturb_index: int,
    seed: int,
    indices: Sequence[int],
    num_draws: int = 8,
    condition: Condition | None = None,
) -> Tensor:
    """E d(x_0, x0_hat(√ᾱ_s x_0 + √(1 − ᾱ_s) noise)), after Um & Ye (ECCV 2024); higher = rarer for the model.

    Args:
        images: (B, C, H, W) uint8.
        denoiser: The model.
        distance: d.
        perturb_index: Respaced index s.
        seed: Seed of the draws.
        indices: Index of each sample, whose own `score` stream gives the draws.
        num_draws: Draws that are averaged.
        condition: What the images are conditioned on.

    Returns:
        (B,) float32 ≥ 0.
    """
    x_0 = from_uint8(images)
    noise = NormalStream(seed, indices, Stream.SCORE, images.shape[1:], images.device)
    draws = []
    for _ in range(num_draws):
        x_s = denoiser.process.q_sample(x_0, perturb_index, noise())
        draws.append(distance(x_0, denoiser(x_s, perturb_index, condition).x0_hat))
    return torch.stack(draws).mean(0)
