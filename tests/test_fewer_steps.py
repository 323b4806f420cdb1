"""DPM-Solver++ against diffusers' scheduler, and what a guidance means at any number of steps."""

import pytest
import torch
from diffusers import DPMSolverMultistepScheduler
from test_metrics import mixture

from sgm_lightning import DPMSolverPlusPlus
from sgm_lightning.diffusion import make_betas
from sgm_lightning.rng import SampleNoise


@pytest.mark.parametrize("stochastic", [False, True])
@pytest.mark.parametrize("steps", [7, 40])
def test_equals_diffusers(stochastic, steps):
    denoiser = mixture(steps)
    noise = SampleNoise(3, range(4), denoiser.image_shape)
    own = DPMSolverPlusPlus(stochastic, clip=False)(denoiser, noise)
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
        x0_hat = denoiser(x, index).x0_hat
        z = noise.step(index) if index else torch.zeros_like(x)
        x = scheduler.step(x0_hat, process.step_list[index], x, variance_noise=z).prev_sample
    torch.testing.assert_close(own, x, rtol=1e-4, atol=1e-4)
