"""Particle guidance (Corso et al., ICLR 2024, arXiv 2310.13102)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sgm_lightning.diffusion import Condition, Denoised, Denoiser
from sgm_lightning.diffusion.noise import Noise
from sgm_lightning.guidance.base import Guidance


class ParticleGuidance(Guidance):
    """The samples of a batch push one another away: g_i = scale · ∇_{x_i} (−Σ_j k(u_i, u_j)), u = x_t / √ᾱ_t.

    k(u, v) = exp(−‖u − v‖² / h_i), h_i = m_i² / ln(B − 1) with m_i the median of the distances from u_i to the others, which
    is held fixed. Only where the noise of u exceeds the data: (1 − ᾱ_t) / ᾱ_t ≥ min_sigma², as in the release. No call of
    the network.

    It seeks variety among the samples of a chunk, not what the model holds rare, and couples them: a seed means the same
    image only for the same `data.chunk_size`, which is part of the run. In chunks of fewer than 3 h is infinite, and the
    direction zero: a run of such chunks is refused.

    Args:
        scale: Strength, the release's coefficient.
        min_sigma: Least √((1 − ᾱ_t) / ᾱ_t) at which the samples repel.
    """

    needs_grad = False
    couples_batch = True
    least_batch = 3

    def __init__(self, scale: float = 30.0, min_sigma: float = 1.0) -> None:
        super().__init__()
        self.scale = scale
        self.min_sigma = min_sigma

    def active(self, index: int, num_steps: int) -> bool:
        return True

    def forward(
        self, denoiser: Denoiser, x_t: Tensor, denoised: Denoised, index: int, noise: Noise, condition: Condition
    ) -> Tensor:
        count, alpha = len(x_t), denoiser.process.at("sqrt_alphas_cumprod", index)
        if count < 3:  # ln(B − 1) = 0: h is infinite, and nothing repels
            return torch.zeros_like(x_t)
        u = x_t.detach().flatten(1) / alpha
        u = u - u.mean(0)  # differences are what counts; of smaller numbers they lose fewer digits
        # Not by products: ‖u‖² + ‖v‖² − 2 u·v loses what is close.
        distances = torch.cdist(u, u, compute_mode="donot_use_mm_for_euclid_dist")
        # The lower median of the others; a sample's distance from itself, 0, comes first.
        median = distances.sort(dim=1).values[:, 1 + (count - 2) // 2, None]
        h = (median**2 / math.log(count - 1)).clamp(min=torch.finfo(u.dtype).tiny)
        weights = 2 * (-(distances**2) / h).exp() / h
        # Σ_j w_ij (u_i − u_j), where j = i adds nothing, without the (B, B, D) differences.
        direction = weights.sum(1, keepdim=True) * u - weights @ u
        noisy = denoiser.process.at("sqrt_recipm1_alphas_cumprod", index) >= self.min_sigma
        return self.scale * noisy * (direction / alpha).view_as(x_t)
