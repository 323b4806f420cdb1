"""DPM-Solver++ against diffusers' scheduler, and what a guidance means at any number of steps."""

import dataclasses

import pytest
import torch
from diffusers import DPMSolverMultistepScheduler
from support.closed_forms import mixture, step_of

from sgm_lightning import DDPM, DPMSolverPlusPlus, SGMError
from sgm_lightning.diffusion import make_betas
from sgm_lightning.diffusion.noise import SampleNoise
from sgm_lightning.guidance import Guidance, Window


@pytest.mark.parametrize("stochastic", [False, True])
@pytest.mark.parametrize("steps", [7, 40])
def test_equals_diffusers(stochastic, steps):
    denoiser = mixture(steps)
    own = DPMSolverPlusPlus(stochastic, clip=False)(denoiser, SampleNoise(3, range(4), denoiser.image_shape))
    scheduler = DPMSolverMultistepScheduler(
        trained_betas=make_betas("cosine").numpy(),
        algorithm_type="sde-dpmsolver++" if stochastic else "dpmsolver++",
        prediction_type="sample",
        final_sigmas_type="zero",
    )
    process = denoiser.process
    scheduler.set_timesteps(timesteps=process.step_list[::-1])
    noise = SampleNoise(3, range(4), denoiser.image_shape)
    x = noise.start()
    for index in reversed(range(steps)):
        z = noise.step(index) if index else torch.zeros_like(x)
        x = scheduler.step(denoiser(x, index).x0_hat, process.step_list[index], x, variance_noise=z).prev_sample
    torch.testing.assert_close(own, x, rtol=1e-4, atol=1e-4)


def update(denoiser, index, past):
    """The state after a step, with or without what the step before has seen."""
    x = torch.full((1, *denoiser.image_shape), 0.3)
    step = step_of(denoiser, index, x, SampleNoise(0, [0], denoiser.image_shape))
    if past:
        step = dataclasses.replace(step, past=((index + 1, step.denoised.x0_hat - 1),))
    return DPMSolverPlusPlus(stochastic=True).update(step, None)


def test_nothing_is_extrapolated_over_a_seam():
    """Where two sections of a chain meet, the step before was hundreds of times shorter; everywhere else it counts."""
    seams = {"14,7": [13], "15,10": [14], "10,15,20": [9, 24], "25": [], "8": []}
    for spacing, expected in seams.items():
        denoiser = mixture(spacing)
        inner = range(1, denoiser.process.num_steps - 1)
        first_order = [i for i in inner if torch.equal(update(denoiser, i, True), update(denoiser, i, False))]
        assert first_order == expected, spacing


def test_noise_at_high_noise_levels_only():
    """Down to min_sigma the states are those of the form with noise; from there on the other form's, from the same state."""
    steps, min_sigma = 12, 0.6
    denoiser = mixture(steps)
    mixed, noisy, still = DPMSolverPlusPlus(True, min_sigma=min_sigma), DPMSolverPlusPlus(True), DPMSolverPlusPlus()
    states = [sampler.start(denoiser, SampleNoise(0, range(2), denoiser.image_shape)) for sampler in (mixed, noisy)]
    sigmas = (1 / denoiser.process.alphas_cumprod - 1).sqrt()
    above = [index for index in range(steps) if sigmas[index] >= min_sigma]
    for index in reversed(above):
        mixed.step(states[0], index)
        noisy.step(states[1], index)
        assert torch.equal(states[0].x, states[1].x)
    assert 1 < len(above) < steps - 1
    for index in reversed(range(above[0])):
        mixed.step(states[0], index)
        still.step(states[1], index)
        assert torch.equal(states[0].x, states[1].x)
    for arguments in ((False, True, 0.6), (True, True, -1.0)):
        with pytest.raises(SGMError, match="min_sigma"):
            DPMSolverPlusPlus(*arguments)


def test_two_batches_do_not_mix():
    """The past of one chain is not the past of the next."""
    denoiser, sampler = mixture(6), DPMSolverPlusPlus()
    apart = [DPMSolverPlusPlus()(denoiser, SampleNoise(0, [i], denoiser.image_shape)) for i in (0, 1)]
    assert torch.equal(
        torch.cat([sampler(denoiser, SampleNoise(0, [i], denoiser.image_shape)) for i in (0, 1)]), torch.cat(apart)
    )


def test_two_chains_in_turns_do_not_mix():
    denoiser, sampler = mixture(6), DPMSolverPlusPlus()
    noises = [SampleNoise(0, [i], denoiser.image_shape) for i in (0, 1)]
    states = [sampler.start(denoiser, noise) for noise in noises]
    for index in sampler.indices(6):
        for state in states:
            sampler.step(state, index)
    alone = [DPMSolverPlusPlus()(denoiser, SampleNoise(0, [i], denoiser.image_shape)) for i in (0, 1)]
    assert all(torch.equal(state.x, x) for state, x in zip(states, alone, strict=True))


class Constant(Guidance):
    """The same direction at every n-th step up to `top`, its size by `rate`."""

    def __init__(self, rate, interval, top):
        super().__init__(Window(stop=top, interval=interval))
        self.rate = rate

    def forward(self, step):
        return self.rate * self.window.interval * torch.ones_like(step.x_t)


def shift(sampler, steps, interval=1, top=1.0):
    """How far a constant direction moves x_0 of a Gaussian, whose denoiser is linear: the same for every sample."""
    denoiser = mixture(steps)
    denoiser.network.m = torch.zeros(1, 4, 4)
    plain, pushed = (
        sampler(denoiser, SampleNoise(0, [0], denoiser.image_shape), guidance)
        for guidance in (None, Constant(0.01, interval, top))
    )
    return float((pushed - plain).mean())


@pytest.mark.slow
def test_a_rate_means_the_same_at_any_number_of_steps():
    for make in (lambda: DPMSolverPlusPlus(clip=False), lambda: DPMSolverPlusPlus(True, clip=False)):
        fine = shift(make(), 1000)
        # The push itself is exact; that x0_hat answers to it within a step is what a solver of long steps misses.
        for steps, error in ((250, 0.01), (100, 0.02), (50, 0.05), (20, 0.2)):
            assert shift(make(), steps) == pytest.approx(fine, rel=error)
        # At another interval, too, where steps are equally long: not at the top, where ᾱ falls to 1e-9 in a few.
        assert shift(make(), 250, 5, top=0.9) == pytest.approx(shift(make(), 250, top=0.9), rel=0.05)


def test_steps_without_noise_forget_less():
    """One rate moves x_0 farther if the late steps are those of the form without noise."""
    noisy = shift(DPMSolverPlusPlus(True, clip=False), 250)
    for steps in (250, 50, "14,7"):
        assert 1.1 < shift(DPMSolverPlusPlus(True, clip=False, min_sigma=0.64), steps) / noisy < 2


def test_a_score_shift_is_not_asked_for_where_it_does_nothing():
    """At index 0: the same image, for one call of the network less; what is added to the image itself still is."""
    calls = []

    class Counted(Constant):
        def forward(self, step):
            calls.append(step.index)
            return super().forward(step)

    for sampler in (DPMSolverPlusPlus(), DPMSolverPlusPlus(True), DPMSolverPlusPlus(True, min_sigma=0.6)):
        calls.clear()
        shift_score, add = Counted(0.01, 3, 1.0), Counted(0.01, 3, 1.0)
        add.weighting = "constant"
        denoiser = mixture(9)
        for guidance in (shift_score, add):
            sampler(denoiser, SampleNoise(0, [0], denoiser.image_shape), guidance)
        assert calls == [6, 3, 6, 3, 0]
        step = step_of(denoiser, 0, torch.zeros(1, *denoiser.image_shape), SampleNoise(0, [0], denoiser.image_shape))
        assert torch.equal(sampler.update(step, None), sampler.update(step, step.x_t + 1))


@pytest.mark.slow
def test_the_solver_with_noise_is_pushed_as_ancestral_sampling_is():
    """σ² g, in the limit of short steps."""
    fine = shift(DDPM(clip=False), 1000)
    for steps, loss in ((250, 0.03), (50, 0.13), (20, 0.26)):
        assert 1 - shift(DDPM(clip=False), steps) / fine < loss
    assert shift(DPMSolverPlusPlus(True, clip=False), 1000) == pytest.approx(fine, rel=0.01)
