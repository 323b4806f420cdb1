"""The Gaussian forward process and its posterior on a (respaced) chain, in closed form."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sgm_lightning.diffusion.schedule import spaced_steps
from sgm_lightning.errors import SGMError


class DiffusionProcess(nn.Module):
    """q(x_t | x_0) = N(√ᾱ_t x_0, (1 − ᾱ_t) I) on a chain of K indices, each of which stands for a train step.

    Respacing keeps ᾱ at the chosen train steps and rebuilds β from it (Nichol & Dhariwal 2021). Every method takes a
    respaced `index`: an int for the whole batch or a (B,) int64 tensor. Tables are computed in float64 and kept in
    float32.

    Args:
        betas: (T,) float64, the training chain.
        spacing: See `spaced_steps`.
    """

    alphas_cumprod: Tensor
    train_steps: Tensor

    def __init__(self, betas: Tensor, spacing: str | int | None = None) -> None:
        super().__init__()
        steps = spaced_steps(len(betas), spacing)
        self.num_steps = len(steps)
        self.num_train_steps = len(betas)
        self.step_list = steps
        alphas_cumprod = torch.cumprod(1 - betas.double(), 0)[steps]
        previous = torch.cat([torch.ones(1, dtype=torch.float64), alphas_cumprod[:-1]])
        beta = 1 - alphas_cumprod / previous
        posterior_variance = beta * (1 - previous) / (1 - alphas_cumprod)
        # β̃_0 = 0 has no logarithm: ADM puts β̃_1 in its place.
        clipped = torch.cat([posterior_variance[1:2] if self.num_steps > 1 else beta[:1], posterior_variance[1:]])
        large = torch.cat([clipped[:1], beta[1:]])
        self.log_snr_list: list[float] = torch.logit(alphas_cumprod).tolist()
        tables = {
            "alphas_cumprod": alphas_cumprod,
            "alphas_cumprod_previous": previous,
            "betas": beta,
            "log_betas": beta.log(),
            "posterior_variance": posterior_variance,
            "posterior_log_variance": clipped.log(),
            "large_variance": large,
            "large_log_variance": large.log(),
            "sqrt_alphas_cumprod": alphas_cumprod.sqrt(),
            "sqrt_one_minus_alphas_cumprod": (1 - alphas_cumprod).sqrt(),
            "sqrt_recip_alphas_cumprod": (1 / alphas_cumprod).sqrt(),
            "sqrt_recipm1_alphas_cumprod": (1 / alphas_cumprod - 1).sqrt(),
            "posterior_coef_x0": beta * previous.sqrt() / (1 - alphas_cumprod),
            "posterior_coef_xt": (1 - previous) * (1 - beta).sqrt() / (1 - alphas_cumprod),
        }
        for name, table in tables.items():
            self.register_buffer(name, table.float(), persistent=False)
        self.register_buffer("train_steps", torch.tensor(steps), persistent=False)

    def at(self, table: str, index: int | Tensor) -> Tensor:
        """The table's value at `index`, shaped to broadcast against (B, C, H, W). An int index makes no host sync."""
        values: Tensor = getattr(self, table)
        return values[index] if isinstance(index, int) else values[index].view(-1, 1, 1, 1)

    def q_sample(self, x_0: Tensor, index: int | Tensor, noise: Tensor) -> Tensor:
        """x_t = √ᾱ_t x_0 + √(1 − ᾱ_t) noise."""
        return self.at("sqrt_alphas_cumprod", index) * x_0 + self.at("sqrt_one_minus_alphas_cumprod", index) * noise

    def x0_from_eps(self, x_t: Tensor, index: int | Tensor, eps: Tensor) -> Tensor:
        """Tweedie's posterior mean: (x_t − √(1 − ᾱ_t) eps) / √ᾱ_t."""
        return self.at("sqrt_recip_alphas_cumprod", index) * x_t - self.at("sqrt_recipm1_alphas_cumprod", index) * eps

    def eps_from_x0(self, x_t: Tensor, index: int | Tensor, x_0: Tensor) -> Tensor:
        """The inverse of `x0_from_eps`."""
        return (self.at("sqrt_recip_alphas_cumprod", index) * x_t - x_0) / self.at("sqrt_recipm1_alphas_cumprod", index)

    def x0_from_v(self, x_t: Tensor, index: int | Tensor, v: Tensor) -> Tensor:
        """√ᾱ_t x_t − √(1 − ᾱ_t) v (Salimans & Ho 2022)."""
        return self.at("sqrt_alphas_cumprod", index) * x_t - self.at("sqrt_one_minus_alphas_cumprod", index) * v

    def posterior_mean(self, x_0: Tensor, x_t: Tensor, index: int | Tensor) -> Tensor:
        """Mean of q(x_{t−1} | x_t, x_0)."""
        return self.at("posterior_coef_x0", index) * x_0 + self.at("posterior_coef_xt", index) * x_t

    def index_of_ratio(self, ratio: float) -> int:
        """int(K · ratio), as released."""
        if not 0 < ratio < 1:
            raise SGMError(f"perturb_ratio must lie strictly between 0 and 1, got {ratio}; the paper uses 0.8.")
        return int(self.num_steps * ratio)

    def index_of_train_step(self, step: int) -> int:
        """The respaced index whose train step is nearest to `step`."""
        if step < 0:
            raise SGMError(f"A train step must lie in [0, {self.num_train_steps}), got {step}.")
        return min(range(self.num_steps), key=lambda i: abs(self.step_list[i] - step))

    def index_of_log_snr(self, log_snr: float) -> int:
        """The respaced index whose ln(ᾱ / (1 − ᾱ)) is nearest to `log_snr`: the one unit that travels between models."""
        return min(range(self.num_steps), key=lambda i: abs(self.log_snr_list[i] - log_snr))
