"""The minority score at a fine level relative to that at a coarse one."""

import math

import pytest
import torch
from support.closed_forms import SHAPE, gaussian

from sgm_lightning import LevelRatio, Lp, MinorityScore, SGMError, SquaredError
from sgm_lightning.diffusion.noise import SampleNoise


class Twice(SquaredError):
    def forward(self, a, b):
        return 2 * super().forward(a, b)


def images(count=5):
    return torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(0)) - 0.5


def scored(score, x_0):
    return score(gaussian(spacing=1000), x_0, SampleNoise(0, range(len(x_0)), SHAPE))


def test_it_is_the_ratio_of_two_expectations_that_a_gaussian_has_in_closed_form():
    variance, mean, offsets = 0.04, 0.3, torch.tensor([0.1, 0.6])
    x_0 = mean + offsets[:, None, None, None].expand(-1, *SHAPE)
    score = LevelRatio(2.0, -1.0, 0.7, SquaredError(), num_draws=4000, antithetic=True, batch_draws=True)
    found = score(gaussian(variance, 1000, mean), x_0, SampleNoise(0, range(2), SHAPE))

    def expected(log_snr):
        alpha = 1 / (1 + math.exp(-log_snr))
        gain = math.sqrt(alpha) * variance / (alpha * variance + 1 - alpha)
        return x_0[0].numel() * (((1 - gain * math.sqrt(alpha)) * offsets) ** 2 + gain**2 * (1 - alpha))

    torch.testing.assert_close(found, expected(2.0).log() - 0.7 * expected(-1.0).log(), rtol=0.01, atol=0.02)


def test_weight_zero_orders_as_the_fine_level_and_weight_one_has_no_unit():
    x_0 = images()
    fine = scored(MinorityScore(SquaredError(), 2.0), x_0)
    torch.testing.assert_close(scored(LevelRatio(2.0, 0.0, 0.0, SquaredError()), x_0), fine.log())
    one, other = (scored(LevelRatio(weight=1.0, distance=distance), x_0) for distance in (SquaredError(), Twice()))
    torch.testing.assert_close(one, other)
    halves = [scored(LevelRatio(weight=0.5, distance=distance), x_0) for distance in (SquaredError(), Twice())]
    torch.testing.assert_close(halves[1] - halves[0], torch.full((5,), 0.5 * math.log(2)))


def test_both_levels_see_the_same_noise_and_draws_in_one_call_change_nothing():
    x_0 = images()
    assert float(scored(LevelRatio(1.0, 1.0, 1.0), x_0).abs().max()) == 0
    torch.testing.assert_close(
        *(scored(LevelRatio(num_draws=4, antithetic=True, batch_draws=batched), x_0) for batched in (False, True))
    )


def test_an_image_that_is_restored_without_error_has_a_value_and_a_gradient_exists():
    assert torch.isfinite(scored(LevelRatio(distance=Lp(2.0)), torch.zeros(1, *SHAPE))).all()
    x_0 = images().requires_grad_()
    scored(LevelRatio(), x_0).sum().backward()
    assert torch.isfinite(x_0.grad).all() and float(x_0.grad.abs().min(0).values.max()) > 0


def test_it_counts_its_calls_and_says_what_it_is():
    score = LevelRatio(num_draws=3)
    assert score.calls == 6 and MinorityScore(num_draws=3).calls == 3
    assert score.describe() == "ln of L_2 at log-SNR 4 − 0.4 · at log-SNR 0, mean of 3 draws"


@pytest.mark.parametrize("weight", [-0.1, math.nan])
def test_wrong_weights_are_refused(weight):
    with pytest.raises(SGMError, match="weight must be at least 0"):
        LevelRatio(weight=weight)
