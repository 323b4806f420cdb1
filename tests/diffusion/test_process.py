"""The chain and its noise: the posterior, parametrisations, levels, and streams of random numbers."""

import math

import pytest
import torch
from support.closed_forms import Counter, Mixture, alphas_cumprod, closed_form
from torch import nn

from sgm_lightning import DiffusionProcess, MinorityScore, NoiseLevel, SampleNoise
from sgm_lightning.diffusion import make_betas
from sgm_lightning.diffusion.noise import Purpose, generator

SHAPE = (1, 28, 28)


def test_a_sample_does_not_depend_on_its_batch_noise():
    together = SampleNoise(7, range(5), SHAPE)
    alone = SampleNoise(7, [3], SHAPE)
    for draw in (lambda n: n.start(), lambda n: n.step(9), lambda n: n.draw(Purpose.GUIDANCE, 9, 0), lambda n: n.step(8)):
        assert torch.equal(draw(together)[3:4], draw(alone))


def test_streams_are_distinct_and_normal():
    first = torch.stack([torch.tensor(generator(0, i, s).standard_normal(2)) for i in range(300) for s in Purpose])
    assert len(torch.unique(first[:, 0])) == len(first)
    assert abs(float(first.mean())) < 4 / math.sqrt(first.numel())
    assert abs(float(first.var()) - 1) < 4 * math.sqrt(2 / first.numel())


def test_posterior_against_bayes():
    """q(x_{t-1} | x_t, x_0) from the product of two Gaussians."""
    process = DiffusionProcess(make_betas("cosine"), 10)
    alpha_bar = torch.cumprod(1 - make_betas("cosine"), 0)[process.step_list]
    x_0, x_t = torch.randn(2, 1, 1, 1, generator=torch.Generator().manual_seed(0)).double()
    for t in range(1, 9):
        a = alpha_bar[t] / alpha_bar[t - 1]
        precision = a / (1 - a) + 1 / (1 - alpha_bar[t - 1])
        mean = (a.sqrt() * x_t / (1 - a) + alpha_bar[t - 1].sqrt() * x_0 / (1 - alpha_bar[t - 1])) / precision
        assert torch.allclose(process.posterior_mean(x_0, x_t, t).double(), mean, rtol=1e-4, atol=1e-5)
        assert float(process.posterior_variance[t]) == pytest.approx(float(1 / precision), rel=1e-4)


def test_a_noise_level_in_three_units():
    denoiser = closed_form(Counter(), 100, schedule="cosine")
    assert NoiseLevel(ratio=0.8).place(denoiser) == (denoiser, 80)
    step = denoiser.process.step_list[80]
    log_snr = denoiser.process.log_snr_list[80]
    for level in (NoiseLevel(train_step=step), NoiseLevel(log_snr=log_snr), MinorityScore(level=log_snr).level):
        chain, s = level.place(denoiser)
        assert chain.process.step_list[s] == step and chain.process.log_snr_list[s] == pytest.approx(log_snr)


@pytest.mark.parametrize("prediction", ["sample", "v_prediction"])
def test_parametrisations_agree(prediction):
    """The same posterior mean, told as noise, as x_0, or as v = √ᾱ ε − √(1−ᾱ) x_0."""
    alphas, shape = alphas_cumprod("cosine"), (1, 2, 2)
    mixture = Mixture(torch.full(shape, 0.4), 0.1, alphas)

    class Other(nn.Module):
        def forward(self, x, step):
            a = alphas[step[0]]
            x0_hat = mixture.x0_hat(x, a)
            return x0_hat if prediction == "sample" else a.sqrt() * mixture(x, step) - (1 - a).sqrt() * x0_hat

    x = SampleNoise(0, [0, 1], shape).start()
    first, second = (
        closed_form(network, "ddim10", shape, "cosine", prediction=kind)
        for network, kind in ((mixture, "epsilon"), (Other(), prediction))
    )
    for index in (0, 5, 9):
        assert torch.allclose(first(x, index).x0_hat, second(x, index).x0_hat, atol=1e-4)
