"""Temporal score rescaling (Xu et al. 2025, arXiv 2510.01184)."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from sgm_lightning.diffusion import ChangedDenoiser, Condition, Denoised, Denoiser
from sgm_lightning.errors import SGMError
from sgm_lightning.samplers.base import Sampler
from sgm_lightning.samplers.wrapper import Wrapper


class TemporalScoreRescaling(Wrapper):
    """Multiplies the score by r_t = (η_t σ² + 1) / (η_t σ² / k + 1), with η_t = α_t² / σ_t², the signal-to-noise ratio.

    r_t turns the score of N(μ, σ² I), diffused to t, into that of N(μ, σ² / k · I): wherever the data look like well
    separated Gaussians of variance σ², each of them is drawn wider (k < 1) or narrower (k > 1), and the weights between them
    stay. k < 1 draws more of the tail. r_t → 1 where there is only noise and r_t → k where there is none.

    Since the score is a multiple of eps_hat, x0_hat ← r x0_hat + (1 − r) x_t / α_t. A guidance gets the rescaled
    prediction.

    Args:
        k: Inverse temperature > 0; 1 changes nothing.
        sigma: Standard deviation σ > 0, in units of pixels in [−1, 1]: larger values act earlier in the chain.
        sampler: Sampler whose chain is changed; default: ancestral sampling.

    Raises:
        SGMError: If an argument is not positive.
    """

    def __init__(self, k: float = 0.95, sigma: float = 0.1, sampler: Sampler | None = None) -> None:
        super().__init__(sampler)
        for name, value in (("k", k), ("sigma", sigma)):
            if value <= 0:
                raise SGMError(f"{name} must be positive, got {value}; for rarer samples k lies just below 1.")
        self.k = k
        self.sigma = sigma

    def bind(self, denoiser: Denoiser) -> Denoiser:
        return ChangedDenoiser(denoiser, self.rescaled)

    def rescaled(self, inner: Denoiser, x_t: Tensor, index: int | Tensor, condition: Condition) -> Denoised:
        """Return the model's prediction under the rescaled score."""
        denoised = inner(x_t, index, condition)
        alpha, sigma = inner.process.scales(index)
        signal = (alpha / sigma) ** 2 * self.sigma**2
        r = (signal + 1) / (signal / self.k + 1)
        return replace(denoised, x0_hat=r * denoised.x0_hat + (1 - r) * x_t / alpha)
