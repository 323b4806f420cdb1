"""Choosing among candidates: whose noise is whose, what is kept, what it costs, and the tilted distribution."""

import pytest
import torch
from support.closed_forms import mixture
from torch import nn

from sgm_lightning import DDIM, DDPM, BestOf, DPMSolverPlusPlus, MinorityScore, SGMError
from sgm_lightning.diffusion.noise import SampleNoise


class Brightness(nn.Module):
    """A score that can be read off the image: its mean (of a, whatever b is)."""

    def forward(self, a, b):
        return a.mean((1, 2, 3))


BRIGHT = MinorityScore(Brightness())


def drawn(method, indices=range(6), steps=12):
    denoiser = mixture(steps)
    return method(denoiser, SampleNoise(0, indices, denoiser.image_shape))


def candidates(k, indices=range(6), steps=12, sampler=None):
    """Every candidate drawn alone, (B, K, C, H, W)."""
    denoiser = mixture(steps)
    noises = [SampleNoise(0, indices, denoiser.image_shape, candidates=[c] * len(indices)) for c in range(k)]
    return torch.stack([(sampler or DDPM())(denoiser, noise) for noise in noises], dim=1)


@pytest.mark.parametrize("sampler", [DDPM(), DDIM(), DPMSolverPlusPlus(), DPMSolverPlusPlus(True)])
def test_the_best_of_all_candidates_is_kept(sampler):
    every = candidates(3, sampler=sampler)
    best = every.mean((2, 3, 4)).argmax(1)
    assert len(set(best.tolist())) > 1
    chosen = drawn(BestOf(3, sampler=sampler, score=BRIGHT))
    torch.testing.assert_close(chosen, every[torch.arange(6), best], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("sampler", [DDPM(), DPMSolverPlusPlus()])
def test_who_is_left_after_a_stage_goes_on_as_if_alone(sampler):
    """Whatever is chosen is one of the candidates, each with its own noise and its own past."""
    every = candidates(4, sampler=sampler)
    for stages in ([(0.5, 1)], [(0.7, 3), (0.4, 2)]):
        chosen = drawn(BestOf(4, stages, sampler=sampler, score=BRIGHT))
        distance = (every - chosen[:, None]).abs().amax((2, 3, 4))
        assert float(distance.amin(1).max()) < 1e-5


@pytest.mark.parametrize("sampler", [DDPM(), DPMSolverPlusPlus(True)])
def test_a_stage_keeps_the_candidate_whose_estimate_scores_highest(sampler):
    every, estimates = candidates(4, sampler=sampler), []
    denoiser = mixture(12)
    for c in range(4):
        seen = {}
        noise = SampleNoise(0, range(6), denoiser.image_shape, candidates=[c] * 6)
        sampler(denoiser, noise, on_step=lambda index, denoised, x, seen=seen: seen.update({index: denoised.x0_hat}))
        estimates.append(seen[7].mean((1, 2, 3)))  # of the last step before index 6 = 0.5 · 12
    best = torch.stack(estimates, 1).argmax(1)
    chosen = drawn(BestOf(4, [(0.5, 1)], sampler=sampler, score=BRIGHT))
    torch.testing.assert_close(chosen, every[torch.arange(6), best], rtol=1e-5, atol=1e-5)


def test_samples_do_not_depend_on_their_batch():
    method = BestOf(4, [(0.5, 2)], tilt=3.0, score=BRIGHT)
    whole = drawn(method)
    apart = torch.cat([drawn(method, indices=[i]) for i in range(6)])
    torch.testing.assert_close(whole, apart, rtol=1e-5, atol=1e-5)


def test_what_it_costs():
    rows = []
    denoiser = mixture(10)
    denoiser.network.register_forward_pre_hook(lambda module, inputs: rows.append(len(inputs[0])))
    BestOf(4, [(0.5, 1)])(denoiser, SampleNoise(0, [0], denoiser.image_shape))
    # Steps 9 … 6 for four, their score, steps 5 … 0 for one.
    assert rows == [4] * 4 + [4] + [1] * 6


@pytest.mark.slow
def test_the_tilted_distribution():
    """One stage, m = 1, K large: p(x) exp(λ score(x)) over the mixture's two modes, here +0.4 and −0.4 of brightness."""
    lam, count, steps = 1.5, 250, 6
    method = BestOf(16, tilt=lam, score=BRIGHT)
    bright = drawn(method, range(count), steps).mean((1, 2, 3))
    plain = candidates(16, range(count), steps).mean((2, 3, 4)).flatten().clamp(-1, 1)
    weights = (lam * plain).softmax(0)
    expected, error = float((weights * plain).sum()), float(bright.std()) / count**0.5
    assert float(plain.mean()) == pytest.approx(0, abs=0.03) and expected > 0.15
    assert float(bright.mean()) == pytest.approx(expected, abs=4 * error + 0.02)
    by_chance = drawn(BestOf(4, tilt=0.0, score=BRIGHT), range(count), steps).mean((1, 2, 3))
    assert float(by_chance.mean()) == pytest.approx(0, abs=4 * error)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"num_candidates": 1}, "at least 2"),
        ({"tilt": -1.0}, "tilt"),
        ({"stages": [(0.5, 4)]}, "decreasing"),
        ({"stages": [(0.3, 2), (0.5, 1)]}, "decreasing"),
        ({"stages": [(1.0, 1)]}, "decreasing"),
    ],
)
def test_bad_arguments(options, word):
    with pytest.raises(SGMError, match=word):
        BestOf(**{"num_candidates": 4, **options})


def test_a_stage_before_the_first_step_is_refused():
    with pytest.raises(SGMError, match="index of its own"):
        BestOf(4, [(0.95, 1)]).indices(10)
    with pytest.raises(SGMError, match="index of its own"):  # both at index 5
        BestOf(6, [(0.59, 3), (0.5, 2)]).indices(10)
    with pytest.raises(SGMError, match="index of its own"):  # where the finished images are chosen from
        BestOf(4, [(0.05, 2)]).indices(10)
