"""Terms of the variational bound, element by element (Ho et al. 2020; Nichol & Dhariwal 2021)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sgm_lightning.diffusion.process import Process


def divergence(
    process: Process, x_0: Tensor, index: int | Tensor, x0_hat: Tensor, log_variance: Tensor
) -> tuple[Tensor, Tensor]:
    """Return KL(q(x_{s−1} | x_s, x_0) ‖ p(x_{s−1} | x_s)) of every element, for s ≥ 1, as a sum of two parts.

    Args:
        process: Process that defines the chain.
        x_0: Clean state x_0, (B, C, H, W) in [−1, 1].
        index: Respaced index s, one int for all or (B,) int64.
        x0_hat: Prediction of x_0 that gives p its mean.
        log_variance: Logarithm of p's variance.

    Returns:
        The weighted squared error in x_0, and the part due to the difference of the variances, in nats.
    """
    # The posterior mean is linear in x_0, so the means' squared distance is coefficient² · (x_0 − x0_hat)².
    coefficient = process.posterior_coefficient_at(index)
    error = 0.5 * coefficient.square() * (x_0 - x0_hat).square() * (-log_variance).exp()
    log_ratio = process.posterior_variance_at(index)[1] - log_variance
    return error, 0.5 * (log_ratio.exp() - 1 - log_ratio)


def decoder_nll(
    process: Process, x_0: Tensor, x_t: Tensor, index: int | Tensor, x0_hat: Tensor, log_variance: Tensor
) -> Tensor:
    """Return −log p(x_0 | x_1) of every element in nats, the term of s = 0, for pixels of 256 levels."""
    mean = process.posterior_mean(x0_hat, x_t, index)
    return -_log_likelihood_of_levels(x_0, mean, 0.5 * log_variance)


def bits_per_dimension(nats: Tensor) -> Tensor:
    """Convert (B, …) nats per element to (B,) bits per dimension."""
    return nats.flatten(1).mean(1) / math.log(2)


def _log_likelihood_of_levels(x: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
    """Return the log of a Gaussian's mass in the level of x. Levels are 2/255 wide and the outer two are open.

    The normal distribution function is ADM's approximation by tanh, which its published bounds include.
    """
    inverse = (-log_scale).exp()

    def cdf(z: Tensor) -> Tensor:
        return 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3)))

    above = cdf(inverse * (x - mean + 1 / 255))
    below = cdf(inverse * (x - mean - 1 / 255))
    mass = torch.where(x < -0.999, above, torch.where(x > 0.999, 1 - below, above - below))
    return mass.clamp(min=1e-12).log()
