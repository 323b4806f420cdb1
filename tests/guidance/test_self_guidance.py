"""Self-guidance as released: its gradient in closed form, its calls of the network, and what leaves a sample unchanged."""

import math

import pytest
import torch
from support.closed_forms import Counter, Mixture, alphas_cumprod, closed_form, step_of
from support.networks import small_model
from torch import nn

from sgm_lightning import (
    DDIM,
    DDPM,
    Backbone,
    DiffusersCheckpoint,
    MinorityScore,
    NoiseLevel,
    SampleNoise,
    SelfGuidance,
    SGMError,
    Window,
)
from sgm_lightning.diffusion.noise import Purpose

SHAPE = (1, 28, 28)


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return DiffusersCheckpoint(small_model()).load()


@pytest.mark.parametrize(("gradient", "backwards"), [("exact", 50), ("jacobian_free", 0)])
def test_network_calls_of_the_published_setting(gradient, backwards):
    network = Counter()
    guidance = SelfGuidance(window=Window(interval=5), gradient=gradient)
    DDPM()(closed_form(network, 250), SampleNoise(0, [0], (1, 4, 4)), guidance)
    assert (network.forwards, network.backwards) == (250 + 50, backwards)
    assert network.weight.grad is None and not network.weight.requires_grad


@pytest.mark.parametrize("sampler", [DDPM(), DDIM(), DDIM(eta=1.0)])
@pytest.mark.parametrize("gradient", ["exact", "jacobian_free"])
def test_scale_zero_is_unguided_to_the_bit(backbone, sampler, gradient):
    denoiser = backbone.denoiser(6)
    plain = sampler(denoiser, SampleNoise(0, range(3), SHAPE))
    none = SelfGuidance(scale=0.0, window=Window(interval=2), gradient=gradient)
    guided = sampler(denoiser, SampleNoise(0, range(3), SHAPE), none)
    assert torch.equal(plain, guided)


def test_guidance_raises_the_score_and_no_weight_gets_a_gradient(backbone):
    denoiser = backbone.denoiser(20)
    plain = DDPM()(denoiser, SampleNoise(0, range(4), SHAPE))
    guided = DDPM()(denoiser, SampleNoise(0, range(4), SHAPE), SelfGuidance(scale=1.0, window=Window(interval=2)))
    assert not torch.equal(plain, guided)
    assert all(p.grad is None for p in denoiser.parameters())


@pytest.mark.parametrize("fixed", ["reconstruction", "reference"])
def test_guidance_gradient_on_a_gaussian_mixture(fixed):
    """∇_x ‖r‖ = Jᵀ r/‖r‖ with r = x0_hat − x0_hathat, the reconstruction fixed; see `Mixture.jacobian`."""
    alphas, source = alphas_cumprod(), torch.Generator().manual_seed(0)
    network = Mixture(0.3 * torch.randn(1, 2, 2, generator=source), 0.2, alphas)
    denoiser = closed_form(network, 20, shape=(1, 2, 2))
    noise = SampleNoise(0, [0, 1], (1, 2, 2))
    index, s = 5, 10
    draw = SampleNoise(0, [0, 1], (1, 2, 2)).draw(Purpose.GUIDANCE, index, 0)
    x = torch.randn(2, 1, 2, 2, generator=source).requires_grad_()
    guidance = SelfGuidance(MinorityScore(level=NoiseLevel(ratio=0.5), fixed=fixed), scale=1.0, normalize=False)
    got = guidance(step_of(denoiser, index, x, noise))
    steps = denoiser.process.step_list
    a_t, a_s = alphas[steps[index]], alphas[steps[s]]
    x = x.detach()
    clean = network.x0_hat(x, a_t)
    perturbed = a_s.sqrt() * clean + (1 - a_s).sqrt() * draw
    residual = (clean - network.x0_hat(perturbed, a_s)).flatten(1)
    for i in range(2):
        unit = residual[i] / residual[i].norm()
        expected = network.jacobian(x[i], a_t) @ unit
        if fixed == "reference":
            expected = -network.jacobian(x[i], a_t) @ (a_s.sqrt() * network.jacobian(perturbed[i], a_s) @ unit)
        assert torch.allclose(got[i].flatten(), expected, atol=1e-5 * float(expected.abs().max()) + 1e-6)


def test_jacobian_free_is_the_unit_residual():
    denoiser = closed_form(Counter(), 20)
    x = SampleNoise(1, [0], (1, 4, 4)).start()
    guidance = SelfGuidance(scale=2.0, normalize=False, gradient="jacobian_free")
    out = denoiser(x, 5)
    got = guidance(step_of(denoiser, 5, x, SampleNoise(0, [0], (1, 4, 4)), denoised=out))
    chain, s = guidance.score.place(denoiser, 0, 0)
    draw = SampleNoise(0, [0], (1, 4, 4)).draw(Purpose.GUIDANCE, 5, 0)
    residual = out.x0_hat - chain(chain.process.q_sample(out.x0_hat, s, draw), s).x0_hat
    assert torch.allclose(got, 2 * residual / residual.norm(), atol=1e-6)


def test_finite_difference_is_the_jacobian_times_the_residual():
    """On the mixture J is known and symmetric, so J v is the exact gradient, too."""
    source = torch.Generator().manual_seed(0)
    network = Mixture(0.3 * torch.randn(1, 2, 2, generator=source), 0.2, alphas_cumprod())
    denoiser = closed_form(network, 20, shape=(1, 2, 2))
    x = torch.randn(3, 1, 2, 2, generator=source).requires_grad_()
    found = {}
    for gradient in ("exact", "finite_difference", "jacobian_free"):
        score = MinorityScore(level=NoiseLevel(ratio=0.5))
        guidance = SelfGuidance(score, scale=1.0, normalize=False, gradient=gradient)
        found[gradient] = guidance(step_of(denoiser, 5, x, SampleNoise(0, range(3), (1, 2, 2))))
    scale = float(found["exact"].abs().max())
    assert float((found["finite_difference"] - found["exact"]).abs().max()) < 0.02 * scale
    assert float((found["jacobian_free"] - found["exact"]).abs().max()) > 0.1 * scale


def test_draws_in_one_batch_or_one_by_one():
    found = []
    for batch_draws in (False, True):
        denoiser = closed_form(Counter(), 10)
        noise = SampleNoise(0, range(2), (1, 4, 4))
        score = MinorityScore(num_draws=3, batch_draws=batch_draws)
        found.append(DDPM()(denoiser, noise, SelfGuidance(score, window=Window(interval=2))))
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-4)


def test_a_rate_is_a_scale_per_step():
    assert SelfGuidance(rate=0.08, window=Window(interval=5)).scale == pytest.approx(0.4) == SelfGuidance().scale
    assert SelfGuidance(scale=0.4, rate=0.1, window=Window(interval=2)).scale == 0.2
    with pytest.raises(SGMError, match="weighting"):
        SelfGuidance(rate=0.1, weighting="constant")


def test_zero_gradient_gives_zero_shift():
    class Zero(nn.Module):
        def forward(self, a, b):
            return (0 * a).flatten(1).sum(1)

    denoiser = closed_form(Counter(), 5)
    x = DDPM()(denoiser, SampleNoise(0, [0], (1, 4, 4)), SelfGuidance(MinorityScore(Zero())))
    assert torch.equal(x, DDPM()(denoiser, SampleNoise(0, [0], (1, 4, 4))))


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: MinorityScore(level=NoiseLevel(ratio=1.0)), "ratio"),
        (lambda: MinorityScore(level=NoiseLevel(ratio=0.0)), "ratio"),
        (lambda: MinorityScore(level=NoiseLevel(ratio=0.5, log_snr=1.0)), "exactly one unit"),
        (lambda: MinorityScore(level=NoiseLevel()), "exactly one unit"),
        (lambda: MinorityScore(level=NoiseLevel(log_snr=1e9)), r"log_snr must lie in"),
        (lambda: MinorityScore(level=NoiseLevel(log_snr=math.nan)), r"log_snr must lie in"),
        (lambda: Window(interval=0), "interval"),
        (lambda: Window(start=5), r"start must lie in \[0, 1\), got 5"),
        (lambda: Window(stop=-5), r"stop must lie in \(0, 1\], got -5"),
        (lambda: MinorityScore(num_draws=0), "num_draws"),
        (lambda: SelfGuidance(MinorityScore(fixed="reference"), gradient="jacobian_free"), "jacobian_free"),
    ],
)
def test_bad_guidance_arguments(make, word):
    with pytest.raises(SGMError, match=word):
        make()


def test_inference_mode_is_refused_under_guidance():
    with torch.inference_mode(), pytest.raises(SGMError, match="inference_mode: false"):
        DDPM()(closed_form(Counter(), 5), SampleNoise(0, [0], (1, 4, 4)), SelfGuidance())
