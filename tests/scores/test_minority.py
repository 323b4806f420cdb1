"""The minority score by its definition."""

import pytest
import torch
from support.closed_forms import Listed, closed_form, mixture

from sgm_lightning import MinorityScore, NoiseLevel, SampleNoise
from sgm_lightning.diffusion.noise import Purpose
from sgm_lightning.diffusion.pixels import from_uint8


class Third(torch.nn.Module):
    """Takes a third of x_t for noise."""

    def forward(self, x_t, step, class_labels=None):
        return x_t / 3


@pytest.mark.parametrize("clip", [True, False])
def test_the_score_is_its_definition(clip):
    """Mean over draws of ‖x_0 − clip(x0_hat(√ᾱ x_0 + √(1 − ᾱ) noise))‖, the network's call and all written out.

    By a network whose x0_hat leaves [−1, 1] where the noise is large.
    """
    denoiser, index = closed_form(Third(), 20, schedule="cosine"), 12
    x_0, draws = torch.rand(3, 1, 4, 4) * 2 - 1, torch.randn(5, 3, 1, 4, 4)
    found = MinorityScore(level=NoiseLevel(ratio=0.6), num_draws=5, clip=clip)(denoiser, x_0, Listed(draws))
    alpha = denoiser.process.alphas_cumprod[index]
    step = denoiser.process.train_steps[index].expand(3)
    expected, beyond = torch.zeros(3), 0.0
    for noise in draws:
        x_s = alpha.sqrt() * x_0 + (1 - alpha).sqrt() * noise
        x0_hat = (x_s - (1 - alpha).sqrt() * denoiser.network(x_s, step)) / alpha.sqrt()
        beyond = max(beyond, float(x0_hat.abs().max()))
        x0_hat = torch.where(x0_hat.abs() > 1, x0_hat.sign(), x0_hat) if clip else x0_hat
        expected += (x_0 - x0_hat).square().sum((1, 2, 3)).sqrt() / 5
    assert beyond > 1.5
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_the_reported_score_is_of_the_finished_images():
    """`of_images` of finished images: uint8, unclipped, the samples' own random numbers."""
    denoiser, images = mixture(20), torch.randint(0, 256, (2, 1, 4, 4), dtype=torch.uint8)
    score = MinorityScore(level=NoiseLevel(ratio=0.8), num_draws=2)
    found = score.of_images(images, denoiser, 3, [5, 9])
    noise, total = SampleNoise(3, [5, 9], (1, 4, 4)), torch.zeros(2)
    for number in range(2):
        x_s = denoiser.process.q_sample(from_uint8(images), 16, noise.draw(Purpose.SCORE, 0, number))
        total += (from_uint8(images) - denoiser(x_s, 16).x0_hat).flatten(1).norm(dim=1) / 2
    torch.testing.assert_close(found, total)
