"""Losses, step samplers, averages and schedules: pure torch."""

import math

import pytest
import torch
from support.closed_forms import model
from torch import nn

from sgm_lightning import DiffusionProcess, SGMError
from sgm_lightning.diffusion import make_betas
from sgm_lightning.fit import LossSecondMoment, Objective, UniformSteps, ema_update, warmup_schedule
from sgm_lightning.scores.elbo import bound_term

PROCESS = DiffusionProcess(make_betas("cosine"))
SHAPE = (2, 4, 4)


class Says(nn.Module):
    """A network that predicts the x_0 it was given, in the terms of a parametrisation."""

    def __init__(self, x0_hat, prediction, variance=None):
        super().__init__()
        self.x0_hat, self.prediction = nn.Parameter(x0_hat), prediction
        self.variance = None if variance is None else nn.Parameter(variance)

    def forward(self, x, step, **_):
        eps = PROCESS.eps_from_x0(x, step, self.x0_hat)
        a, b = PROCESS.scales(step)
        said = {"epsilon": eps, "sample": self.x0_hat, "v_prediction": a * eps - b * self.x0_hat}[self.prediction]
        return said if self.variance is None else torch.cat([said, self.variance.expand_as(said)], 1)


def draws(batch=6):
    source = torch.Generator().manual_seed(0)
    x_0, x0_hat, noise = (torch.randn(batch, *SHAPE, generator=source) for _ in range(3))
    return x_0.tanh(), x0_hat.tanh(), noise


def denoiser_of(network, prediction, variance="fixed_small"):
    return model(network, SHAPE, "cosine", prediction=prediction, variance=variance).denoiser(frozen=False)


@pytest.mark.parametrize("floor", [None, 0.1])
@pytest.mark.parametrize("prediction", ["epsilon", "sample", "v_prediction"])
def test_min_snr_is_one_weight_of_the_error_in_x0(prediction, floor):
    x_0, x0_hat, noise = draws()
    index = torch.tensor([20, 100, 300, 500, 700, 900])
    denoiser = denoiser_of(Says(x0_hat, prediction), prediction)
    found = Objective("simple", min_snr_gamma=5.0, snr_floor=floor)(denoiser, x_0, index, noise).loss
    alpha = PROCESS.alphas_cumprod[index].double()
    expected = (alpha / (1 - alpha)).clamp(floor, 5) * (x_0 - x0_hat).double().square().flatten(1).mean(1)
    assert torch.allclose(found.double(), expected, rtol=2e-3)  # float32 cancels in eps and v


@pytest.mark.parametrize("prediction", ["epsilon", "sample", "v_prediction"])
def test_the_truth_costs_nothing(prediction):
    x_0, _, noise = draws()
    index = torch.tensor([20, 100, 300, 500, 700, 900])
    denoiser = denoiser_of(Says(x_0, prediction), prediction)
    assert float(Objective("simple")(denoiser, x_0, index, noise).loss.abs().max()) < 1e-6


def test_hybrid_trains_the_variance_alone_through_the_bound():
    x_0, x0_hat, noise = draws()
    index = torch.tensor([0, 1, 10, 300, 700, 900])
    gradients = {}
    for kind in ("hybrid", "simple", "bound"):
        network = Says(x0_hat, "epsilon", torch.full((1, 1, 1, 1), 0.2))
        Objective(kind)(denoiser_of(network, "epsilon", "learned_range"), x_0, index, noise).loss.sum().backward()
        gradients[kind] = network
    mean = gradients["hybrid"].x0_hat.grad
    assert torch.allclose(mean, gradients["simple"].x0_hat.grad, rtol=1e-6) and gradients["simple"].variance.grad is not None
    assert float(gradients["simple"].variance.grad.abs().max()) == 0
    # T = 1000: the bound is weighted by 1 in the hybrid and by T alone.
    assert torch.allclose(1000 * gradients["hybrid"].variance.grad, gradients["bound"].variance.grad, rtol=1e-4)


def test_bound_equals_the_metric(golden_backbone):
    denoiser = golden_backbone("adm_uncond", {"steps": 1000, "noise_schedule": "cosine"}).denoiser()
    source = torch.Generator().manual_seed(1)
    x_0, noise = torch.rand(3, 3, 16, 16, generator=source) * 2 - 1, torch.randn(3, 3, 16, 16, generator=source)
    index = torch.tensor([0, 7, 400])
    found = Objective("bound")(denoiser, x_0, index, noise)
    expected = [bound_term(denoiser, x_0[i : i + 1], int(s), noise[i : i + 1], clip=False).vb for i, s in enumerate(index)]
    assert torch.allclose(found.bound, torch.cat(expected), rtol=1e-4)
    assert torch.allclose(found.loss, 1000 * found.bound)


def test_uniform_steps_cover_the_chain():
    index, weight = UniformSteps()(torch.arange(1000, dtype=torch.float64) / 1000 + 1e-9, 1000)
    assert index.tolist() == list(range(1000)) and torch.allclose(weight, torch.ones(1000))


def test_second_moments_draw_large_losses_more_often_without_bias():
    sampler = LossSecondMoment(history=2, num_steps=4)
    uniform = (torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000
    true = torch.tensor([8.0, 1.0, 4.0, 2.0])
    for _ in range(2):
        assert torch.allclose(sampler.probabilities(4), torch.full((4,), 0.25, dtype=torch.float64))
        sampler.update(torch.arange(4), 10 * true)  # these, …
    sampler.update(torch.tensor([0, 1, 2, 3]), true)  # … and one newer each, which pushes an old one out
    p = sampler.probabilities(4)
    expected = true * math.sqrt((100 + 1) / 2)
    assert torch.allclose(p, 0.999 * expected.double() / expected.sum() + 0.00025)
    index, weight = sampler(uniform, 4)
    assert torch.allclose(index.bincount().double() / 100_000, p, atol=1e-4)
    assert math.isclose(float((weight * true[index]).double().mean()), float(true.mean()), rel_tol=1e-3)
    again = LossSecondMoment(history=2, num_steps=4)
    again.load_state_dict(sampler.state_dict())
    assert torch.equal(again.probabilities(4), p)


def test_ema_by_hand():
    update, average = ema_update(0.9), [torch.tensor([1.0])]
    for n in range(1, 200):
        update(average, [torch.tensor([float(n)])], torch.tensor(n))
        if n == 1:
            d = 2 / 11
            assert math.isclose(float(average[0]), d * 1 + (1 - d) * 1)
        if n == 2:
            d = 3 / 12
            assert math.isclose(float(average[0]), d * 1 + (1 - d) * 2)
    # Long after the start the decay is 0.9: the average of a ramp lags by d / (1 − d).
    assert math.isclose(float(average[0]), 199 - 9, rel_tol=1e-3)
    for wrong in (1.0, -0.1):
        with pytest.raises(SGMError, match="decay"):
            ema_update(wrong)


@pytest.mark.parametrize("shape", ["constant", "cosine"])
def test_warmup_then(shape):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule, rates = warmup_schedule(optimizer, 100, 10, shape), []
    for _ in range(100):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert [round(rate * 11) for rate in rates[:10]] == list(range(1, 11)) and rates[10] == 1
    assert rates[55] == pytest.approx(1.0 if shape == "constant" else 0.5)
    # A longer training, resumed half-way, follows the longer schedule.
    longer = warmup_schedule(torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0), 190, 10, shape)
    longer.load_state_dict(schedule.state_dict())
    longer.step()
    assert longer.get_last_lr()[0] == pytest.approx(1.0 if shape == "constant" else 0.5, abs=0.02)


def test_bad_settings():
    network = Says(draws()[1], "epsilon")
    with pytest.raises(SGMError, match="fixed_small"):
        Objective("hybrid").check(denoiser_of(network, "epsilon"))
    wrong = [{"min_snr_gamma": 0}, {"bound_weight": -1}, {"kind": "bound", "min_snr_gamma": 5.0}]
    for settings in (*wrong, {"snr_floor": 0.1}, {"snr_floor": 6.0, "min_snr_gamma": 5.0}):
        with pytest.raises(SGMError):
            Objective(**settings)
    with pytest.raises(SGMError, match="history"):
        LossSecondMoment(history=0)
    with pytest.raises(SGMError, match="1000 steps"):
        LossSecondMoment(num_steps=10).probabilities(1000)
    with pytest.raises(SGMError, match="warmup_steps"):
        warmup_schedule(torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0), 10, 10)
