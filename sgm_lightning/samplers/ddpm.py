"""Ancestral sampling."""

from __future__ import annotations

from torch import Tensor

from sgm_lightning.diffusion import Step
from sgm_lightning.samplers.base import Sampler


class DDPM(Sampler):
    """Ancestral sampling: x_{t−1} = μ(x0_hat, x_t) + σ² g + σ z (Ho et al. 2020; guided as in Dhariwal & Nichol 2021)."""

    @property
    def title(self) -> str:
        return "ancestral"

    def update(self, step: Step, shift: Tensor | None) -> Tensor:
        denoised = step.denoised
        x = step.process.posterior_mean(denoised.x0_hat, step.x_t, step.index)
        if shift is not None:
            x = x + denoised.variance * shift
        return x if step.index == 0 else x + (0.5 * denoised.log_variance).exp() * step.z
