"""Ancestral sampling."""

from __future__ import annotations

from torch import Tensor

from sgm_lightning.diffusion import Denoised, Denoiser
from sgm_lightning.diffusion.noise import Noise
from sgm_lightning.guidance import Guidance
from sgm_lightning.samplers.base import Sampler


class DDPM(Sampler):
    """x_{t−1} = μ(x0_hat, x_t) + σ² g + σ z (Ho et al. 2020; guided as in Dhariwal & Nichol 2021)."""

    def step(
        self,
        denoiser: Denoiser,
        x_t: Tensor,
        denoised: Denoised,
        index: int,
        noise: Noise,
        guidance: Guidance | None,
        direction: Tensor | None,
    ) -> Tensor:
        mean = denoiser.process.posterior_mean(denoised.x0_hat, x_t, index)
        if direction is not None and guidance is not None:
            mean = mean + (denoised.variance * direction if guidance.weighting == "variance" else direction)
        if index == 0:
            return mean
        return mean + (0.5 * denoised.log_variance).exp() * noise.step(index)
