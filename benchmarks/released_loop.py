"""The order of work of the released sampler, to compare with: what it computes is the same, what it does for it is more.

At a guided step the release calls the network three times (for the step, again with gradients for the guidance, and for the
perturbed image), and its weights ask for gradients, so that everything a weight's gradient would need is kept.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sgm_lightning import DDPM, Condition, Denoiser
from sgm_lightning.diffusion import Denoised
from sgm_lightning.diffusion.noise import Noise
from sgm_lightning.guidance import Guidance


class ReleasedDDPM(DDPM):
    """Ancestral sampling with a guidance of its own forward; use a denoiser whose weights are not frozen."""

    def advance(
        self,
        denoiser: Denoiser,
        x_t: Tensor,
        index: int,
        noise: Noise,
        guidance: Guidance | None = None,
        condition: Condition | None = None,
    ) -> tuple[Tensor, Denoised]:
        condition = condition or Condition()
        with torch.no_grad():
            x_t = x_t.detach()
            denoised = denoiser(x_t, index, condition)
        direction = None
        if guidance is not None and guidance.active(index, denoiser.process.num_steps):
            with torch.enable_grad():
                x = x_t.detach().requires_grad_()
                again = denoiser(x, index, condition)
            direction = guidance(denoiser, x, again, index, noise, condition)
        with torch.no_grad():
            denoised = Denoised(denoised.x0_hat.clamp(-1, 1), denoised.variance, denoised.log_variance)
            return self.step(denoiser, x_t, denoised, index, noise, guidance, direction), denoised
