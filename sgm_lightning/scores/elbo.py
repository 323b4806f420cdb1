"""The variational bound of a diffusion model, term by term (Ho et al. 2020; Nichol & Dhariwal 2021)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sgm_lightning.diffusion import Condition, Denoiser, DiffusionProcess, from_images
from sgm_lightning.diffusion.bound import bits_per_dimension, decoder_nll, divergence
from sgm_lightning.diffusion.noise import Purpose, SampleNoise
from sgm_lightning.errors import SGMError


class BoundTerm(NamedTuple):
    """Term of the bound at one index, (B,) float32 each.

    Attributes:
        vb: Term L_s, in bits per dimension.
        score: Part w_s ‖x_0 − x0_hat(x_s)‖² of the term, in bits per dimension: the minority score under squared error,
            weighted. It is zero at index 0, whose term is the decoder's likelihood.
        x0_error: Mean of (x_0 − x0_hat)².
        eps_error: Mean of (noise − eps_hat)².
    """

    vb: Tensor
    score: Tensor
    x0_error: Tensor
    eps_error: Tensor


def score_weight(process: DiffusionProcess, index: int) -> float:
    """Return ½ (SNR_{s−1} − SNR_s), the weight of ‖x_0 − x0_hat(x_s)‖² in the bound, in nats, for s ≥ 1.

    The formula is that of fixed-small variance.
    """
    # Computed as coefficient² / (2 β̃_s), which is equal: float32 tables of 1 − ᾱ lose digits near ᾱ = 1.
    return 0.5 * float(
        process.at("posterior_coef_x0", index).double() ** 2 / process.at("posterior_variance", index).double()
    )


@torch.no_grad()
def bound_term(
    denoiser: Denoiser,
    x_0: Tensor,
    index: int,
    noise: Tensor,
    condition: Condition | None = None,
    clip: bool = True,
) -> BoundTerm:
    """Return L_s of the bound at respaced index s, for one noise draw.

    For s ≥ 1 it is KL(q(x_{s−1} | x_s, x_0) ‖ p(x_{s−1} | x_s)), a squared error in x_0 plus a part due to the difference
    of the variances; for s = 0 it is −log p(x_0 | x_1) of pixels discretised to 256 levels.

    Args:
        denoiser: Denoiser of the model on its chain.
        x_0: Images, (B, C, H, W) float32 in [−1, 1], of 256 levels.
        index: Respaced index s.
        noise: Standard normal noise, (B, C, H, W), which makes x_s from x_0.
        condition: Condition of the images.
        clip: Whether to clip x0_hat to [−1, 1], as in sampling and in ADM's evaluation.

    Returns:
        The term and its parts.
    """
    process = denoiser.process
    x_s = process.q_sample(x_0, index, noise)
    denoised = denoiser(x_s, index, condition)
    x0_hat = denoised.x0_hat.clamp(-1, 1) if clip else denoised.x0_hat
    x0_error = _mean((x_0 - x0_hat).square())
    eps_error = _mean((noise - process.eps_from_x0(x_s, index, x0_hat)).square())
    log_variance = denoised.log_variance.expand_as(x_0)
    if index == 0:
        nll = decoder_nll(process, x_0, x_s, index, x0_hat, log_variance)
        return BoundTerm(bits_per_dimension(nll), torch.zeros_like(x0_error), x0_error, eps_error)
    score, bracket = divergence(process, x_0, index, x0_hat, log_variance)
    return BoundTerm(bits_per_dimension(score + bracket), bits_per_dimension(score), x0_error, eps_error)


def prior_term(process: DiffusionProcess, x_0: Tensor) -> Tensor:
    """Return KL(q(x_T | x_0) ‖ N(0, I)) in bits per dimension, (B,)."""
    # In float64: at the end of a chain the terms cancel to some 1e-9.
    alpha = process.at("alphas_cumprod", process.num_steps - 1).double()
    return bits_per_dimension(0.5 * (alpha * (x_0.double().square() - 1) - torch.log1p(-alpha))).float()


class NELBO(NamedTuple):
    """Estimated bound of each sample, in bits per dimension; higher = rarer.

    Attributes:
        total: Sum of the decoder term, the terms s ≥ 1 and the prior, (B,).
        standard_error: Standard error due to the draw of steps, (B,); 0 where all steps are summed.
        score: Part of the sum over s ≥ 1 that is a weighted squared-error minority score, (B,).
    """

    total: Tensor
    standard_error: Tensor
    score: Tensor


def negative_elbo(
    images: Tensor,
    denoiser: Denoiser,
    seed: int,
    indices: Sequence[int],
    num_strata: int | None = None,
    condition: Condition | None = None,
    clip: bool = True,
) -> NELBO:
    """Return the NELBO of finished images on the denoiser's chain. The bound depends on the chain: report K with it.

    Args:
        images: Finished images, (B, C, H, W) uint8.
        denoiser: Denoiser of the model on its chain of K indices.
        seed: Seed of the draws.
        indices: Index of each sample, which determines its noise, so that equal indices are compared on equal draws.
        num_strata: None for the full sum (K forwards); else the number of strata into which the indices s ≥ 1 are cut. Two
            indices of each are drawn, the same for all samples (2 · num_strata + 1 forwards).
        condition: Condition of the images.
        clip: Whether to clip x0_hat; see `bound_term`.

    Returns:
        The estimates of all samples.

    Raises:
        SGMError: If there are more strata than indices, the process is no `DiffusionProcess`, or the model diffuses latents.
    """
    process = denoiser.process
    if not isinstance(process, DiffusionProcess):
        raise SGMError(f"The bound is that of a discrete chain, got a {type(process).__name__}; set `nelbo: false`.")
    if not denoiser.model.codec.bounded:  # its last term is a likelihood of 256 levels of a pixel
        raise SGMError("The bound is that of a model of pixels, got one of latents; set `nelbo: false`.")
    x_0 = from_images(denoiser.model.codec, images)

    draws = SampleNoise(seed, indices, images.shape[1:], images.device)

    def term(index: int) -> BoundTerm:
        # Every index has separate noise, which is the same whichever other indices are drawn.
        noise = draws.normal(Purpose.ELBO, index)
        return bound_term(denoiser, x_0, index, noise, condition, clip)

    total = term(0).vb + prior_term(process, x_0)
    variance, score = torch.zeros_like(total), torch.zeros_like(total)
    for stratum, chosen in _strata(process.num_steps, num_strata, seed):
        terms = [term(index) for index in chosen]
        values = torch.stack([found.vb for found in terms])
        total = total + stratum * values.mean(0)
        score = score + stratum * torch.stack([found.score for found in terms]).mean(0)
        if len(chosen) < stratum:
            # Two of n without replacement: var(mean) = (1 − 2/n) s²/2.
            variance = variance + stratum**2 * (1 - 2 / stratum) * values.var(0) / 2
    return NELBO(total, variance.sqrt(), score)


def _strata(num_steps: int, num_strata: int | None, seed: int) -> list[tuple[int, list[int]]]:
    """Return size and drawn indices of every stratum of 1 … K − 1."""
    if num_strata is None:
        return [(1, [index]) for index in range(1, num_steps)]
    if not 1 <= num_strata < num_steps:
        raise SGMError(
            f"num_strata must lie between 1 and {num_steps - 1}, the steps of the chain less one, got {num_strata}; set "
            "it to null for the full sum."
        )
    source = np.random.default_rng([seed, 7])
    # Terms fall steeply with s: strata grow geometrically, and the first ones are summed whole.
    edges = np.unique(np.geomspace(1, num_steps, num_strata + 1).round().astype(int))
    parts = [np.arange(low, high) for low, high in itertools.pairwise(edges)]
    return [
        (len(part), sorted(source.choice(part, 2, replace=False).tolist()) if len(part) > 2 else part.tolist())
        for part in parts
    ]


def _mean(values: Tensor) -> Tensor:
    return values.flatten(1).mean(1)
