"""The bound: the score as one of its terms, its strata, and a Gaussian whose bound is known."""

import numpy as np
import pytest
import torch
from support.closed_forms import Mixture, closed_form, mixture

from sgm_lightning import SGMError
from sgm_lightning.diffusion import from_uint8, make_betas
from sgm_lightning.scores import elbo

GENERATOR = torch.Generator().manual_seed(0)


def test_the_weighted_score_is_the_bound():
    """Under fixed-small variance, unclipped: w_s ‖x_0 − x0_hat(x_s)‖² is L_s, on the same draws."""
    denoiser = mixture(25)
    alphas = torch.cumprod(1 - make_betas("cosine"), 0)[denoiser.process.step_list]
    snr = alphas / (1 - alphas)
    x_0 = from_uint8(torch.randint(0, 256, (6, 1, 4, 4), generator=GENERATOR, dtype=torch.uint8))
    for index in range(1, 25):
        assert elbo.score_weight(denoiser.process, index) == pytest.approx(
            0.5 * (snr[index - 1] - snr[index]).item(), rel=1e-5
        )
        noise = torch.randn(x_0.shape, generator=GENERATOR)
        term = elbo.bound_term(denoiser, x_0, index, noise, clip=False)
        x_s = denoiser.process.q_sample(x_0, index, noise)
        squared = (x_0 - denoiser(x_s, index).x0_hat).square().mean((1, 2, 3))
        expected = elbo.score_weight(denoiser.process, index) * squared / np.log(2)
        assert torch.allclose(term.vb, expected.float(), rtol=1e-5, atol=1e-7) and torch.equal(term.vb, term.score)


def test_what_is_no_score_is_reported_apart():
    """Fixed-large variance: the rest of the term is a constant, the bracket of the variances' ratio."""
    denoiser = mixture(25, "fixed_large")
    x_0 = from_uint8(torch.randint(0, 256, (6, 1, 4, 4), generator=GENERATOR, dtype=torch.uint8))
    term = elbo.bound_term(denoiser, x_0, 12, torch.randn(x_0.shape, generator=GENERATOR))
    rest = term.vb - term.score
    ratio = float(denoiser.process.posterior_variance[12] / denoiser.process.betas[12])
    assert torch.allclose(rest, torch.full_like(rest, 0.5 * (ratio - 1 - np.log(ratio)) / np.log(2)), atol=1e-6)


def test_strata_estimate_the_full_sum():
    denoiser = mixture(41)
    images = torch.randint(0, 256, (16, 1, 4, 4), generator=GENERATOR, dtype=torch.uint8)
    ratios = []
    for seed in range(16):
        full = elbo.negative_elbo(images, denoiser, seed, range(16))
        assert (full.standard_error == 0).all() and (full.score <= full.total).all()
        part = elbo.negative_elbo(images, denoiser, seed, range(16), num_strata=8)
        ratios.append(((part.total - full.total).mean() / part.standard_error.mean()).item())
    assert abs(np.mean(ratios)) < 3 * np.std(ratios) / 16**0.5 + 0.1  # unbiased
    assert np.std(ratios) < 2  # and the error it states is of the right size
    with pytest.raises(SGMError, match="between 1 and 40"):
        elbo.negative_elbo(images, denoiser, 0, range(16), num_strata=41)


def test_the_bound_finds_a_gaussian():
    """Where the model is exact, the bound on 1000 steps is −log p of the level, in bits per dimension."""
    betas = make_betas("cosine")
    network = Mixture(torch.zeros(1, 16, 16), 0.1, torch.cumprod(1 - betas, 0).float())
    denoiser = closed_form(network, shape=(1, 16, 16), schedule="cosine", variance="fixed_large")
    levels = torch.tensor([50, 100, 127, 180, 250], dtype=torch.uint8)
    images = levels.view(5, 1, 1, 1, 1).expand(5, 4, 1, 16, 16).reshape(20, 1, 16, 16)
    found = elbo.negative_elbo(images, denoiser, 0, list(range(4)) * 5, clip=False).total.view(5, 4).mean(1)
    x = from_uint8(levels)
    truth = (0.5 * x.square() / 0.1 + 0.5 * np.log(2 * np.pi * 0.1) - np.log(2 / 255)) / np.log(2)
    assert torch.allclose(found, truth, atol=0.2)
    # What one level has over another hardly depends on the noise, which all levels share.
    assert torch.allclose(found - found[2], truth - truth[2], atol=0.06)
