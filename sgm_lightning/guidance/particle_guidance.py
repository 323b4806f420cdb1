"""Particle guidance (Corso et al., ICLR 2024, arXiv 2310.13102)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sgm_lightning.diffusion import Step
from sgm_lightning.guidance.base import Guidance
from sgm_lightning.guidance.window import Window


class ParticleGuidance(Guidance):
    """The samples of a batch repel each other: g_i = scale · ∇_{x_i} (−Σ_j k(u_i, u_j)), u = x_t / α_t.

    k(u, v) = exp(−‖u − v‖² / h_i), h_i = m_i² / ln(B − 1), where m_i is the median of the distances from u_i to the others,
    which is held fixed. The guidance acts only where the noise of u exceeds the data: σ_t / α_t ≥ min_sigma, as in the
    release. It does not call the network.

    It increases variety among the samples of a chunk, not rarity under the model, and couples the samples: a seed gives the
    same image only for the same `data.chunk_size`, which is part of the run. In chunks of fewer than 3 samples h is infinite
    and the direction zero; a run of such chunks is refused.

    Args:
        scale: Strength of the repulsion, as the release's coefficient.
        min_sigma: Smallest σ_t / α_t at which the samples repel each other.
        window: Part of the chain in which the guidance acts; default all steps.
    """

    couples_batch = True
    least_batch = 3

    def __init__(self, scale: float = 30.0, min_sigma: float = 1.0, window: Window | None = None) -> None:
        super().__init__(window)
        self.scale, self.min_sigma = scale, min_sigma

    def acts(self, index: int, num_steps: int) -> bool:
        return self.scale != 0 and super().acts(index, num_steps)

    def forward(self, step: Step) -> Tensor:
        count, (alpha, sigma) = len(step.x_t), step.scales
        if count < 3:  # ln(B − 1) = 0: h is infinite, and nothing repels
            return torch.zeros_like(step.x_t)
        u = step.x_t.detach().flatten(1) / alpha
        u = u - u.mean(0)  # only differences matter, and those of smaller numbers lose fewer digits
        # Not by products: ‖u‖² + ‖v‖² − 2 u·v loses the digits of small distances.
        distances = torch.cdist(u, u, compute_mode="donot_use_mm_for_euclid_dist")
        # The lower median of the distances to the others; a sample's distance to itself, 0, comes first.
        median = distances.sort(dim=1).values[:, 1 + (count - 2) // 2, None]
        h = (median**2 / math.log(count - 1)).clamp(min=torch.finfo(u.dtype).tiny)
        weights = 2 * (-(distances**2) / h).exp() / h
        # Σ_j w_ij (u_i − u_j), where j = i adds nothing, without the (B, B, D) differences.
        direction = weights.sum(1, keepdim=True) * u - weights @ u
        noisy = sigma / alpha >= self.min_sigma
        return self.scale * noisy * (direction / alpha).view_as(step.x_t)
