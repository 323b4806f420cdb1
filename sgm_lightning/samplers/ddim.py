"""Denoising diffusion implicit models (Song et al. 2021)."""

from __future__ import annotations

from torch import Tensor

from sgm_lightning.diffusion import Process, Step
from sgm_lightning.errors import SGMError
from sgm_lightning.samplers.base import Sampler


class DDIM(Sampler):
    """DDIM: x_{t−1} = α' x0_hat + √(σ'² − s²) eps_hat + s z, with s² = η² β̃_t and α', σ' at t − 1.

    A step without noise has no variance to weight a guidance with, so the guidance shifts the score instead:
    x0_hat ← x0_hat + σ_t² / α_t · g (Dhariwal & Nichol 2021, algorithm 2).

    Args:
        eta: Share η of the noise, in [0, 1]; 0 is deterministic, 1 adds as much as ancestral sampling with fixed-small
            variance.
        clip: Whether the predicted x_0 is clipped; see `Sampler`.

    Raises:
        SGMError: If η is out of its range.
    """

    def __init__(self, eta: float = 0.0, clip: bool | None = None) -> None:
        super().__init__(clip)
        if not 0 <= eta <= 1:
            raise SGMError(f"eta must lie in [0, 1], got {eta}; 0 is deterministic.")
        self.eta = eta

    def adds_noise(self, process: Process, index: int) -> bool:
        return index > 0 and self.eta > 0

    def update(self, step: Step, shift: Tensor | None) -> Tensor:
        process, index, x0_hat = step.process, step.index, step.denoised.x0_hat
        (alpha, sigma), (next_alpha, next_sigma) = step.scales, step.next_scales
        if shift is not None:
            x0_hat = x0_hat + sigma**2 / alpha * shift
        eps = process.eps_from_x0(step.x_t, index, x0_hat)
        variance = self.eta**2 * process.posterior_variance_at(index)[0]
        x = next_alpha * x0_hat + (next_sigma**2 - variance).clamp(min=0).sqrt() * eps
        return x + variance.sqrt() * step.z if self.adds_noise(process, index) else x
