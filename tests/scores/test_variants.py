"""Scores beyond the released form: the bound over log-SNR, and distances per complexity."""

import math

import pytest
import torch
from support.closed_forms import SHAPE, gaussian

from sgm_lightning import ELBOScore, Lp, Window
from sgm_lightning.diffusion.noise import SampleNoise
from sgm_lightning.scores import PerComplexity, SquaredError


def elbo_score(score, denoiser, x_0, repeats):
    noise, total = SampleNoise(0, range(len(x_0)), SHAPE), 0.0
    for index in range(repeats):
        total = total + score(denoiser, x_0, noise, None, index, turn=index)
    return total / repeats


@pytest.mark.parametrize("antithetic", [pytest.param(False, marks=pytest.mark.slow), True])
def test_the_bound_is_the_integral_over_log_snr(antithetic):
    """Against ½ ∫ SNR E‖x − x0_hat‖² dλ, whose expectation a Gaussian's denoiser has in closed form."""
    variance, mean, (low, high) = 0.04, 0.3, (-4.0, 3.0)
    denoiser = gaussian(variance, 1000, mean)
    x_0 = torch.stack([torch.full(SHAPE, mean), torch.full(SHAPE, mean + 0.6)])
    grid = torch.linspace(low, high, 4001, dtype=torch.float64)
    alpha = grid.sigmoid()
    # x0_hat = μ + gain (x_λ − √ᾱ μ), so x − x0_hat = (1 − gain √ᾱ)(x − μ) − gain √(1 − ᾱ) noise
    gain = alpha.sqrt() * variance / (alpha * variance + 1 - alpha)
    offset = torch.tensor([0.0, 0.6], dtype=torch.float64)[:, None]
    squared = 16 * (((1 - gain * alpha.sqrt()) * offset) ** 2 + gain**2 * (1 - alpha))
    expected = torch.trapezoid(0.5 * grid.exp() * squared, grid)
    found = elbo_score(ELBOScore(low, high, num_draws=4, antithetic=antithetic), denoiser, x_0, 600)
    torch.testing.assert_close(found.double(), expected, rtol=0.03, atol=0)


@pytest.mark.parametrize("interval", [1, 5, 13])
def test_levels_cover_the_range_evenly_and_pairs_share_theirs(interval):
    """Over the steps that are guided, 20 of them: 13 golden ratios are nearly a whole number, 8.03."""
    score, window = ELBOScore(-4.0, 2.0, num_draws=2), Window(interval=interval)
    guided = [i for i in range(20 * interval) if window.contains(i, 1000)]
    levels = sorted(score.log_snr(window.turn(i), j) for i in guided for j in range(2))
    assert len(levels) == 40
    even = [-4.0 + 6.0 * (k + 0.5) / 40 for k in range(40)]
    assert levels == pytest.approx(even, abs=0.25)
    chain, s = score.place(gaussian(spacing=1000), 3, 1)
    assert chain.process.log_snr_list[s] == pytest.approx(score.log_snr(3, 1), abs=0.05)
    paired = ELBOScore(-4.0, 2.0, num_draws=2, antithetic=True)
    assert all(paired.log_snr(i, 0) == paired.log_snr(i, 1) for i in range(20))


def test_batched_draws_of_the_bound_are_the_same():
    denoiser = gaussian(spacing=20)
    x_0 = torch.rand(3, *SHAPE) - 0.5
    torch.testing.assert_close(
        *(
            ELBOScore(num_draws=3, batch_draws=batched)(denoiser, x_0, SampleNoise(0, range(3), SHAPE), None, 7, turn=7)
            for batched in (False, True)
        )
    )


@pytest.mark.parametrize("complexity", ["contrast", "detail"])
def test_the_score_per_complexity_is_the_same_for_more_contrast(complexity):
    """Of image and reconstruction alike; what a guidance sees is the next test's."""
    rng = torch.Generator().manual_seed(0)
    a, b = (torch.rand(4, *SHAPE, generator=rng) - 0.5 for _ in range(2))
    distance = PerComplexity(Lp(2.0), complexity, floor=1e-4)
    torch.testing.assert_close(distance(3 * a, 3 * b), distance(a, b), rtol=1e-4, atol=0)
    assert float((Lp(2.0)(3 * a, 3 * b) / Lp(2.0)(a, b)).min()) > 2.9
    flat = torch.zeros(1, *SHAPE, requires_grad=True)
    distance(flat, b[:1]).sum().backward()
    assert torch.isfinite(flat.grad).all()


def test_detail_is_the_mean_square_between_neighbours():
    stripes = torch.tensor([-0.5, 0.5]).repeat(2).expand(1, 1, 4, 4).contiguous()
    distance = PerComplexity(SquaredError(), "detail", floor=1e-6)
    assert float(distance(stripes, stripes + 1)) == pytest.approx(16 / math.sqrt(0.5), rel=1e-4)
