"""The Gaussian forward process on a chain of noise levels, and its posterior, in closed form."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from sgm_lightning.diffusion.schedule import spaced_steps
from sgm_lightning.errors import SGMError


class Process(nn.Module, ABC):
    """q(x_t | x_0) = N(α_t x_0, σ_t² I) on a chain of K levels, index 0 being the least noisy.

    A subclass defines α, σ and the time that the network is given for each level. Every method takes an `index`: an int for
    the whole batch, or a (B,) int64 tensor. Index −1 stands for the clean image, α = 1 and σ = 0.

    Attributes:
        num_steps: Number K of levels.
        log_snr_list: Log-SNR ln(α² / σ²) of every level, falling.
    """

    num_steps: int
    log_snr_list: list[float]

    @abstractmethod
    def scales(self, index: int | Tensor) -> tuple[Tensor, Tensor]:
        """Return α and σ at `index`, shaped to broadcast against (B, C, H, W). An int index causes no host sync."""

    @abstractmethod
    def time(self, index: int | Tensor) -> Tensor:
        """Return the time that the network is given for the level, a scalar or (B,) tensor."""

    @abstractmethod
    def share(self, index: int) -> float:
        """Return the place of `index` in the whole process, from 0 (clean) to 1 (noise)."""

    @abstractmethod
    def describe(self, index: int) -> str:
        """Return the level of `index` in words, for messages: `train step 444`."""

    def full(self) -> Process:
        """Return the chain of all the network's levels, for uses that need an exact level; default: this chain."""
        return self

    def q_sample(self, x_0: Tensor, index: int | Tensor, noise: Tensor) -> Tensor:
        """Return x_t = α_t x_0 + σ_t noise."""
        alpha, sigma = self.scales(index)
        return alpha * x_0 + sigma * noise

    def renoise(self, x: Tensor, level: int, index: int, noise: Tensor) -> Tensor:
        """Return x_t at the noisier `index` from x at `level` (−1: clean), by q(x_t | x_s) of the forward process."""
        (alpha, sigma), (next_alpha, next_sigma) = self.scales(level), self.scales(index)
        ratio = next_alpha / alpha
        return ratio * x + (next_sigma**2 - ratio**2 * sigma**2).clamp(min=0).sqrt() * noise

    def x0_from_eps(self, x_t: Tensor, index: int | Tensor, eps: Tensor) -> Tensor:
        """Return Tweedie's posterior mean (x_t − σ_t eps) / α_t."""
        alpha, sigma = self.scales(index)
        return (x_t - sigma * eps) / alpha

    def eps_from_x0(self, x_t: Tensor, index: int | Tensor, x_0: Tensor) -> Tensor:
        """Return eps of x_t and x_0, the inverse of `x0_from_eps`."""
        alpha, sigma = self.scales(index)
        return (x_t - alpha * x_0) / sigma

    def x0_from_v(self, x_t: Tensor, index: int | Tensor, v: Tensor) -> Tensor:
        """Return (α_t x_t − σ_t v) / (α_t² + σ_t²), which is α_t x_t − σ_t v where α² + σ² = 1 (Salimans & Ho 2022)."""
        alpha, sigma = self.scales(index)
        return (alpha * x_t - sigma * v) / (alpha**2 + sigma**2)

    def posterior_mean(self, x_0: Tensor, x_t: Tensor, index: int | Tensor) -> Tensor:
        """Return the mean of q(x_{t−1} | x_t, x_0) (Kingma et al. 2021, eq. 26)."""
        (alpha, sigma), (next_alpha, next_sigma) = self.scales(index), self.scales(index - 1)
        return alpha / next_alpha * next_sigma**2 / sigma**2 * x_t + self.posterior_coefficient_at(index) * x_0

    def posterior_coefficient_at(self, index: int | Tensor) -> Tensor:
        """Return the factor of x_0 in `posterior_mean`."""
        (_, sigma), (next_alpha, _) = self.scales(index), self.scales(index - 1)
        return next_alpha * self._added_variance(index) / sigma**2

    def posterior_variance_at(self, index: int | Tensor) -> tuple[Tensor, Tensor]:
        """Return the variance β̃_t of q(x_{t−1} | x_t, x_0) and its logarithm.

        At index 0, where β̃ is 0, the logarithm is that of index 1, as in ADM. A chain of one level has none.
        """
        last = self.num_steps - 1
        later = min(max(index, 1), last) if isinstance(index, int) else index.clamp(1, last)
        tiny = torch.finfo(torch.float32).tiny
        return self._posterior_variance(index), self._posterior_variance(later).clamp(min=tiny).log()

    def transition_variance_at(self, index: int | Tensor) -> tuple[Tensor, Tensor]:
        """Return the variance β_t of q(x_t | x_{t−1}) and its logarithm."""
        variance = self._added_variance(index)
        return variance, variance.log()

    def log_beta_at(self, index: int | Tensor) -> Tensor:
        """Return log β_t, the upper bound of a learned variance."""
        return self.transition_variance_at(index)[1]

    def _posterior_variance(self, index: int | Tensor) -> Tensor:
        (_, sigma), (_, next_sigma) = self.scales(index), self.scales(index - 1)
        return self._added_variance(index) * next_sigma**2 / sigma**2

    def _added_variance(self, index: int | Tensor) -> Tensor:
        """Return β_t, which is σ_t² less the noise variance carried over from t − 1."""
        (alpha, sigma), (next_alpha, next_sigma) = self.scales(index), self.scales(index - 1)
        return sigma**2 - (alpha / next_alpha) ** 2 * next_sigma**2

    def index_of_log_snr(self, log_snr: float) -> int:
        """Return the index whose ln(α² / σ²) is nearest to `log_snr`, the only unit that is comparable between models."""
        return min(range(self.num_steps), key=lambda i: abs(self.log_snr_list[i] - log_snr))

    def index_of_ratio(self, ratio: float) -> int:
        """Return int(K · ratio), as released."""
        return int(self.num_steps * ratio)

    def index_of_train_step(self, step: int) -> int:
        """Return the index whose train step is nearest to `step`.

        Raises:
            SGMError: If the process has no such step.
        """
        raise SGMError(f"A {type(self).__name__} has no train steps, got {step}; give the level as a log-SNR.")


class DiffusionProcess(Process):
    """The variance-preserving chain of DDPM: α² = ᾱ_t, σ² = 1 − ᾱ_t, where each index stands for a train step.

    Respacing keeps ᾱ at the chosen train steps and rebuilds β from it (Nichol & Dhariwal 2021). Tables are computed in
    float64 and kept in float32.

    Args:
        betas: Betas of the training chain, (T,) float64.
        spacing: Train steps that are kept; see `spaced_steps`.
    """

    alphas_cumprod: Tensor
    betas: Tensor
    train_steps: Tensor
    posterior_variance: Tensor
    scale_tables: Tensor

    def __init__(self, betas: Tensor, spacing: str | int | None = None) -> None:
        super().__init__()
        steps = spaced_steps(len(betas), spacing)
        self.num_steps = len(steps)
        self.num_train_steps = len(betas)
        self.step_list = steps
        self._train_betas = betas
        alphas_cumprod = torch.cumprod(1 - betas.double(), 0)[steps]
        previous = torch.cat([torch.ones(1, dtype=torch.float64), alphas_cumprod[:-1]])
        beta = 1 - alphas_cumprod / previous
        posterior_variance = beta * (1 - previous) / (1 - alphas_cumprod)
        # β̃_0 = 0 has no logarithm: ADM puts β̃_1 in its place.
        clipped = torch.cat([posterior_variance[1:2] if self.num_steps > 1 else beta[:1], posterior_variance[1:]])
        large = torch.cat([clipped[:1], beta[1:]])
        self.log_snr_list = torch.logit(alphas_cumprod).tolist()
        tables = {
            "alphas_cumprod": alphas_cumprod,
            "betas": beta,
            "log_betas": beta.log(),
            "posterior_variance": posterior_variance,
            "posterior_log_variance": clipped.log(),
            "large_variance": large,
            "large_log_variance": large.log(),
            # Index −1, the last entry, is the clean image.
            "sqrt_alphas_cumprod": torch.cat([alphas_cumprod.sqrt(), torch.ones(1, dtype=torch.float64)]),
            "sqrt_one_minus_alphas_cumprod": torch.cat([(1 - alphas_cumprod).sqrt(), torch.zeros(1, dtype=torch.float64)]),
            "sqrt_recip_alphas_cumprod": (1 / alphas_cumprod).sqrt(),
            "sqrt_recipm1_alphas_cumprod": (1 / alphas_cumprod - 1).sqrt(),
            "posterior_coef_x0": beta * previous.sqrt() / (1 - alphas_cumprod),
            "posterior_coef_xt": (1 - previous) * (1 - beta).sqrt() / (1 - alphas_cumprod),
        }
        for name, table in tables.items():
            self.register_buffer(name, table.float(), persistent=False)
        self.register_buffer("train_steps", torch.tensor(steps), persistent=False)

    def at(self, table: str, index: int | Tensor) -> Tensor:
        """Return a table's value at `index`, shaped to broadcast against (B, C, H, W). An int index causes no host sync."""
        values: Tensor = getattr(self, table)
        return values[index] if isinstance(index, int) else values[index].view(-1, 1, 1, 1)

    def scales(self, index: int | Tensor) -> tuple[Tensor, Tensor]:
        return self.at("sqrt_alphas_cumprod", index), self.at("sqrt_one_minus_alphas_cumprod", index)

    def time(self, index: int | Tensor) -> Tensor:
        return self.train_steps[index]

    def share(self, index: int) -> float:
        return self.step_list[index] / self.num_train_steps

    def describe(self, index: int) -> str:
        return f"train step {self.step_list[index]}"

    def full(self) -> DiffusionProcess:
        if self.num_steps == self.num_train_steps:
            return self
        return DiffusionProcess(self._train_betas).to(self.alphas_cumprod.device)

    # These methods use the released code's tables, so that the numbers are the same.

    def x0_from_eps(self, x_t: Tensor, index: int | Tensor, eps: Tensor) -> Tensor:
        return self.at("sqrt_recip_alphas_cumprod", index) * x_t - self.at("sqrt_recipm1_alphas_cumprod", index) * eps

    def eps_from_x0(self, x_t: Tensor, index: int | Tensor, x_0: Tensor) -> Tensor:
        return (self.at("sqrt_recip_alphas_cumprod", index) * x_t - x_0) / self.at("sqrt_recipm1_alphas_cumprod", index)

    def x0_from_v(self, x_t: Tensor, index: int | Tensor, v: Tensor) -> Tensor:
        alpha, sigma = self.scales(index)
        return alpha * x_t - sigma * v

    def posterior_mean(self, x_0: Tensor, x_t: Tensor, index: int | Tensor) -> Tensor:
        return self.at("posterior_coef_x0", index) * x_0 + self.at("posterior_coef_xt", index) * x_t

    def posterior_coefficient_at(self, index: int | Tensor) -> Tensor:
        return self.at("posterior_coef_x0", index)

    def posterior_variance_at(self, index: int | Tensor) -> tuple[Tensor, Tensor]:
        """Return β̃_t and its logarithm; at index 0 the logarithm is that of index 1, as in ADM."""
        return self.at("posterior_variance", index), self.at("posterior_log_variance", index)

    def transition_variance_at(self, index: int | Tensor) -> tuple[Tensor, Tensor]:
        """Return β_t and its logarithm; at index 0 both are those of β̃_1, as in ADM's fixed-large variance."""
        return self.at("large_variance", index), self.at("large_log_variance", index)

    def log_beta_at(self, index: int | Tensor) -> Tensor:
        return self.at("log_betas", index)

    def index_of_train_step(self, step: int) -> int:
        """Return the respaced index whose train step is nearest to `step`."""
        if not 0 <= step < self.num_train_steps:
            raise SGMError(f"A train step must lie in [0, {self.num_train_steps}), got {step}.")
        return min(range(self.num_steps), key=lambda i: abs(self.step_list[i] - step))
