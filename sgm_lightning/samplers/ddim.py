"""Denoising diffusion implicit models (Song et al. 2021)."""

from __future__ import annotations

from torch import Tensor

from sgm_lightning.diffusion import Denoised, Denoiser
from sgm_lightning.diffusion.noise import Noise
from sgm_lightning.errors import SGMError
from sgm_lightning.guidance import Guidance
from sgm_lightning.samplers.base import Sampler


class DDIM(Sampler):
    """x_{t−1} = √ᾱ_{t−1} x0_hat + √(1 − ᾱ_{t−1} − σ²) eps_hat + σ z.

    σ = η √((1 − ᾱ_{t−1}) / (1 − ᾱ_t)) √(1 − ᾱ_t / ᾱ_{t−1}). Without step noise there is no variance to weigh a guidance
    with: it shifts the score, x0_hat ← x0_hat + (1 − ᾱ_t) / √ᾱ_t · g (Dhariwal & Nichol 2021, algorithm 2). Under
    `weighting: constant` the direction is added to x_{t−1}.

    Args:
        eta: η in [0, 1]; 0 is deterministic, 1 adds as much noise as ancestral sampling with fixed-small variance.
        clip: See `Sampler`.
    """

    def __init__(self, eta: float = 0.0, clip: bool = True) -> None:
        super().__init__(clip)
        if not 0 <= eta <= 1:
            raise SGMError(f"eta must lie in [0, 1], got {eta}; 0 is deterministic.")
        self.eta = eta

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
        process = denoiser.process
        alpha, previous = process.at("alphas_cumprod", index), process.at("alphas_cumprod_previous", index)
        x0_hat = denoised.x0_hat
        shifts_score = direction is not None and guidance is not None and guidance.weighting == "variance"
        if shifts_score:
            assert direction is not None
            x0_hat = x0_hat + (1 - alpha) / alpha.sqrt() * direction
        eps = process.eps_from_x0(x_t, index, x0_hat)
        sigma = self.eta * ((1 - previous) / (1 - alpha)).sqrt() * (1 - alpha / previous).sqrt()
        mean = previous.sqrt() * x0_hat + (1 - previous - sigma**2).clamp(min=0).sqrt() * eps
        if direction is not None and not shifts_score:
            mean = mean + direction
        if index == 0 or self.eta == 0:
            return mean
        return mean + sigma * noise.step(index)
