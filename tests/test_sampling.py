"""Properties of the sampler and of the self-guidance, on the default network and on closed forms."""

import math

import pytest
import torch
from conftest import FASHION, GOLDENS
from support.closed_forms import Counter, Mixture, alphas_cumprod, closed_form, step_of
from torch import nn

from sgm_lightning import (
    DDIM,
    DDPM,
    LPIPS,
    Backbone,
    DiffusersCheckpoint,
    DiffusionProcess,
    FeatureDistance,
    Lp,
    MinorityScore,
    NoiseLevel,
    SampleNoise,
    SelfGuidance,
    SGMError,
    Window,
)
from sgm_lightning.diffusion import make_betas
from sgm_lightning.diffusion.noise import Purpose, generator

SHAPE = (1, 28, 28)


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return DiffusersCheckpoint(str(FASHION)).load()


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


def test_ddim_with_eta_one_is_ddpm_with_small_variance():
    """Song et al. 2021, section 4.1: the same step, here on the same noise, unclipped."""
    denoiser = closed_form(Counter(), 30)
    noises = [SampleNoise(0, range(2), (1, 4, 4)) for _ in range(2)]
    a, b = DDPM(clip=False)(denoiser, noises[0]), DDIM(eta=1.0, clip=False)(denoiser, noises[1])
    assert torch.allclose(a, b, rtol=1e-4, atol=1e-4 * float(a.abs().max()))


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


def test_a_noise_level_in_three_units():
    denoiser = closed_form(Counter(), 100, schedule="cosine")
    assert NoiseLevel(ratio=0.8).place(denoiser) == (denoiser, 80)
    step = denoiser.process.step_list[80]
    log_snr = denoiser.process.log_snr_list[80]
    for level in (NoiseLevel(train_step=step), NoiseLevel(log_snr=log_snr), MinorityScore(level=log_snr).level):
        chain, s = level.place(denoiser)
        assert chain.process.step_list[s] == step and chain.process.log_snr_list[s] == pytest.approx(log_snr)


def test_feature_distance_measures_in_the_extractors_space():
    a, b = torch.rand(2, 3, 1, 4, 4)
    double = nn.Conv2d(1, 1, 1, bias=False)
    double.weight.data.fill_(2.0)
    assert torch.allclose(FeatureDistance(double)(a, b), 2 * Lp()(a, b))


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


def test_a_nan_state_names_step_and_samples():
    class Breaks(nn.Module):
        def forward(self, x, step):
            y = 0.5 * x
            second = torch.arange(len(x)) == 1
            return torch.where(((step < 500) & second).view(-1, 1, 1, 1), float("nan"), y)

    with pytest.raises(SGMError, match=r"respaced index 4 \(train step 444\) for the samples \[11\]"):
        DDPM()(closed_form(Breaks(), 10), SampleNoise(0, [10, 11, 12], (1, 4, 4)))


def test_inference_mode_is_refused_under_guidance():
    with torch.inference_mode(), pytest.raises(SGMError, match="inference_mode: false"):
        DDPM()(closed_form(Counter(), 5), SampleNoise(0, [0], (1, 4, 4)), SelfGuidance())


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


def test_the_mixture_is_sampled_from():
    """Ancestral sampling with the optimal denoiser finds both modes, and their mean and variance.

    On all 1000 steps: on fewer, the fixed-small variance leaves out what x_0 itself varies and the modes get narrow.
    """
    network = Mixture(torch.full((1, 1, 1), 0.6), 0.01, alphas_cumprod())
    x = DDPM(clip=False)(closed_form(network, shape=(1, 1, 1)), SampleNoise(0, range(400), (1, 1, 1))).flatten()
    share = float((x > 0).float().mean())
    assert abs(share - 0.5) < 4 * 0.5 / 20
    assert abs(float(x.abs().mean()) - 0.6) < 0.03
    assert abs(float(x.abs().std()) - 0.1) < 0.02


def test_lpips_on_small_gray_images(caplog):
    distance = LPIPS("squeeze", features=GOLDENS / "squeezenet_features_random.safetensors")
    a, b = torch.rand(2, 3, 1, 28, 28, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert torch.equal(distance(a, a), torch.zeros(3))
    found = distance(a, b)
    assert found.shape == (3,) and bool((found > 0).all()) and "enlarged" in caplog.text
    assert torch.allclose(found, distance(a.repeat(1, 3, 1, 1), b.repeat(1, 3, 1, 1)))
    with pytest.raises(SGMError, match="lack"):
        LPIPS("vgg", features=GOLDENS / "squeezenet_features_random.safetensors")
