"""The minority score of finished images, comparable across runs and methods of one model."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from sgm_lightning.diffusion import Condition, Denoiser
from sgm_lightning.diffusion.noise import NormalStream, Stream
from sgm_lightning.diffusion.pixels import from_uint8


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
    noise = NormalStream(seed, indices, Stream.SCORE, images.shape[1:], images.device)
    return reconstruction_distance(from_uint8(images), denoiser, distance, perturb_index, noise, num_draws, condition)


@torch.no_grad()
def reconstruction_distance(
    x_0: Tensor,
    denoiser: Denoiser,
    distance: Callable[[Tensor, Tensor], Tensor],
    perturb_index: int,
    noise: Callable[[], Tensor],
    num_draws: int,
    condition: Condition | None = None,
    clip: bool = False,
) -> Tensor:
    """Mean over draws of d(x_0, x0_hat(√ᾱ_s x_0 + √(1 − ᾱ_s) noise)).

    Args:
        x_0: (B, C, H, W) float32 in [−1, 1].
        denoiser: The model.
        distance: d.
        perturb_index: Respaced index s.
        noise: Gives the next draw, (B, C, H, W).
        num_draws: Draws that are averaged.
        condition: What the images are conditioned on.
        clip: Clip x0_hat to [−1, 1], as minority guidance does when it scores a data set (Um, Lee & Ye, ICLR 2024).

    Returns:
        (B,) float32 ≥ 0.
    """
    draws = []
    for _ in range(num_draws):
        x0_hat = denoiser(denoiser.process.q_sample(x_0, perturb_index, noise()), perturb_index, condition).x0_hat
        draws.append(distance(x_0, x0_hat.clamp(-1, 1) if clip else x0_hat))
    return torch.stack(draws).mean(0)
