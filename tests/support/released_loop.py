"""The order of work of the released sampler, to compare with: it computes the same and does more for it.

At a guided step the release calls the network three times (for the step, again with gradients for the guidance, and for the
perturbed image), and its weights ask for gradients, so that everything a weight's gradient would need is kept.
"""

from __future__ import annotations

import torch

from sgm_lightning import DDPM
from sgm_lightning.diffusion import Denoised, Step
from sgm_lightning.guidance import Guidance
from sgm_lightning.samplers import State


class ReleasedDDPM(DDPM):
    """Ancestral sampling with a guidance of its own forward; use a denoiser whose weights are not frozen."""

    def step(self, state: State, index: int, guidance: Guidance | None = None) -> Denoised:
        denoiser, condition = state.denoiser, state.condition
        with torch.no_grad():
            x_t = state.x.detach()
            denoised = denoiser(x_t, index, condition)
        direction = None
        if guidance is not None and guidance.acts(index, denoiser.process.num_steps):
            with torch.enable_grad():
                x = x_t.detach().requires_grad_()
                again = denoiser(x, index, condition)
            direction = guidance(Step(denoiser, index, x, again, state.noise, condition))
        with torch.no_grad():
            denoised = Denoised(denoised.x0_hat.clamp(-1, 1), denoised.variance, denoised.log_variance)
            state.x = self.update(Step(denoiser, index, x_t, denoised, state.noise, condition), direction)
        return denoised
