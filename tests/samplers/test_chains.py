"""Chains from noise to images: distributions in closed form, and states that are not finite."""

import pytest
import torch
from support.closed_forms import Counter, Mixture, alphas_cumprod, closed_form
from torch import nn

from sgm_lightning import DDIM, DDPM, SampleNoise, SGMError


def test_ddim_with_eta_one_is_ddpm_with_small_variance():
    """Song et al. 2021, section 4.1: the same step, here on the same noise, unclipped."""
    denoiser = closed_form(Counter(), 30)
    noises = [SampleNoise(0, range(2), (1, 4, 4)) for _ in range(2)]
    a, b = DDPM(clip=False)(denoiser, noises[0]), DDIM(eta=1.0, clip=False)(denoiser, noises[1])
    assert torch.allclose(a, b, rtol=1e-4, atol=1e-4 * float(a.abs().max()))


def test_a_nan_state_names_step_and_samples():
    class Breaks(nn.Module):
        def forward(self, x, step):
            y = 0.5 * x
            second = torch.arange(len(x)) == 1
            return torch.where(((step < 500) & second).view(-1, 1, 1, 1), float("nan"), y)

    with pytest.raises(SGMError, match=r"respaced index 4 \(train step 444\) for the samples \[11\]"):
        DDPM()(closed_form(Breaks(), 10), SampleNoise(0, [10, 11, 12], (1, 4, 4)))


class EachPixel(nn.Module):
    """A network of a single pixel for every pixel: as many samples, of fewer streams of noise."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x, step):
        return self.network(x.reshape(-1, 1, 1, 1), step).view_as(x)


def test_the_mixture_is_sampled_from():
    """Ancestral sampling with the optimal denoiser finds both modes, and their mean and variance.

    On all 1000 steps: on fewer, the fixed-small variance leaves out what x_0 itself varies and the modes get narrow.
    """
    network = EachPixel(Mixture(torch.full((1, 1, 1), 0.6), 0.01, alphas_cumprod()))
    x = DDPM(clip=False)(closed_form(network, shape=(1, 10, 10)), SampleNoise(0, range(4), (1, 10, 10))).flatten()
    assert len(x) == 400
    share = float((x > 0).float().mean())
    assert abs(share - 0.5) < 4 * 0.5 / 20
    assert abs(float(x.abs().mean()) - 0.6) < 0.03
    assert abs(float(x.abs().std()) - 0.1) < 0.02
