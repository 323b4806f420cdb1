"""Temporal score rescaling (Xu et al. 2025, arXiv 2510.01184)."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from sgm_lightning.diffusion import Condition, Denoised, Denoiser
from sgm_lightning.errors import SGMError
from sgm_lightning.guidance import Guidance
from sgm_lightning.samplers.base import Chain, State
from sgm_lightning.samplers.wrapper import Wrapper


class TemporalScoreRescaling(Wrapper):
    """The score times r_t = (η_t σ² + 1) / (η_t σ² / k + 1), with η_t = ᾱ_t / (1 − ᾱ_t).

    r_t is what turns the score of N(μ, σ² I), diffused to t, into that of N(μ, σ² / k · I): wherever the data look like
    well separated Gaussians of variance σ², each of them is drawn wider (k < 1) or narrower (k > 1), and the weights
    between them stay. The tail is k < 1. r_t → 1 where there is only noise and r_t → k where there is none.

    With eps_hat, of which the score is a multiple: x0_hat ← r x0_hat + (1 − r) x_t / √ᾱ_t. A guidance sees the rescaled
    model.

    Args:
        k: Inverse temperature > 0; 1 changes nothing.
        sigma: σ > 0, in units of pixels in [−1, 1]: larger values act earlier in the chain.
        sampler: The chain that is changed; default ancestral.

    Raises:
        SGMError: If an argument is not positive.
    """

    def __init__(self, k: float = 0.95, sigma: float = 0.1, sampler: Chain | None = None) -> None:
        super().__init__(sampler)
        for name, value in (("k", k), ("sigma", sigma)):
            if value <= 0:
                raise SGMError(f"{name} must be positive, got {value}; for rarer samples k lies just below 1.")
        self.k = k
        self.sigma = sigma

    def move(self, denoiser: Denoiser, state: State, index: int, guidance: Guidance | None = None) -> Denoised:
        return self.sampler.move(denoiser.modified(self._rescaled), state, index, guidance)

    def _rescaled(self, denoiser: Denoiser, x_t: Tensor, index: int | Tensor, condition: Condition) -> Denoised:
        denoised = denoiser(x_t, index, condition)
        alpha = denoiser.process.at("alphas_cumprod", index)
        signal = alpha / (1 - alpha) * self.sigma**2
        r = (signal + 1) / (signal / self.k + 1)
        return replace(denoised, x0_hat=r * denoised.x0_hat + (1 - r) * x_t / alpha.sqrt())
