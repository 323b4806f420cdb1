"""Methods that change a chain or its model: closed forms, what leaves a sample unchanged, and how they are put together."""

import math

import pytest
import torch
from support.closed_forms import SHAPE, Gaussian, TwoModes, closed_form, drawn, gaussian, mixture
from support.networks import small_model

from sgm_lightning import (
    CADS,
    DDIM,
    DDPM,
    BestOf,
    BoostAndSkip,
    ClassifierFreeGuidance,
    Condition,
    DiffusersCheckpoint,
    DPMSolverPlusPlus,
    SelfGuidance,
    SGMError,
    TemporalScoreRescaling,
)
from sgm_lightning.diffusion.noise import SampleNoise
from sgm_lightning.guidance import ParticleGuidance, Together, Window


@pytest.fixture(scope="module")
def conditional():
    return DiffusersCheckpoint(small_model(10)).load()


@pytest.fixture(scope="module")
def classes(conditional):
    return conditional.denoiser(20)


# Boost-and-Skip


def test_boost_of_one_and_no_skip_change_nothing():
    assert torch.equal(drawn(BoostAndSkip(1.0, 0), gaussian()), drawn(DDPM(), gaussian()))


def test_boosted_start_and_later_begin():
    """DDIM is linear on a Gaussian: what a boost of the start does to the end is known."""
    denoiser = gaussian(spacing=20)
    plain, boosted = (drawn(BoostAndSkip(b, 2, DDIM(clip=False)), denoiser) for b in (1.0, 3.0))
    sampler = DDIM(clip=False)
    state = sampler.start(denoiser, SampleNoise(0, range(8), SHAPE))
    for index in range(17, -1, -1):
        sampler.step(state, index)
    torch.testing.assert_close(plain, state.x)
    more = drawn(BoostAndSkip(5.0, 2, DDIM(clip=False)), denoiser)
    torch.testing.assert_close(more - boosted, boosted - plain, rtol=1e-4, atol=1e-5)
    assert float((boosted - plain).std()) > 0.1


# Temporal score rescaling


@pytest.mark.parametrize("k", [0.25, 4.0])
def test_rescaling_draws_the_gaussian_of_another_temperature(k):
    """N(μ, σ²) becomes N(μ, σ² / k), exactly: the rescaled model is that Gaussian's."""
    sigma, shape = 0.2, (1, 8, 8)  # every pixel is a sample
    given, wanted = (closed_form(Gaussian(0.3, variance), 100, shape) for variance in (sigma**2, sigma**2 / k))
    x = drawn(TemporalScoreRescaling(k, sigma, DDPM(clip=False)), given, range(50))
    assert float(x.mean()) == pytest.approx(0.3, abs=0.02)
    expected = drawn(DDPM(clip=False), wanted, range(50))
    torch.testing.assert_close(x, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("k", [0.5, 2.0])
def test_rescaling_keeps_the_weights_of_modes(k):
    """Eight of ten in one mode, each as wide as in the mixture of v / k; a temperature of the whole moves the weights."""
    count, weight, variance = 400, 0.8, 0.02
    narrow, wide = (closed_form(TwoModes(weight, v), 60, schedule="cosine") for v in (variance, variance / k))
    x = drawn(TemporalScoreRescaling(k, variance**0.5, DDPM(clip=False)), narrow, range(count))
    expected = drawn(DDPM(clip=False), wide, range(count))
    upper = x.mean((1, 2, 3)) > 0
    assert float(upper.float().mean()) == pytest.approx(weight, abs=4 * (weight * (1 - weight) / count) ** 0.5)
    for sign in (1, -1):
        found, right = (batch[sign * batch.mean((1, 2, 3)) > 0].var() for batch in (x, expected))
        assert float(found) == pytest.approx(float(right), rel=0.05)


def test_rescaling_by_one_changes_nothing():
    denoiser = mixture(20)
    torch.testing.assert_close(
        drawn(TemporalScoreRescaling(1.0, 0.3), denoiser), drawn(DDPM(), denoiser), rtol=1e-4, atol=1e-4
    )


# Classifier-free guidance and CADS


def test_classifier_free_guidance_between_its_two_models(classes, conditional):
    labels = torch.arange(4) * 2
    condition = Condition(labels)
    unconditional = Condition(torch.full_like(labels, classes.model.null_class))
    found, plain = (
        drawn(chain, conditional.denoiser(6), range(4), condition=condition)
        for chain in (ClassifierFreeGuidance(1.0), DDPM())
    )
    torch.testing.assert_close(found, plain, rtol=1e-3, atol=1e-3)
    x_t = SampleNoise(0, range(4), classes.image_shape).start()
    e_0, e_1 = (classes.predict(x_t, 12, c)[0] for c in (unconditional, condition))
    expected = classes.process.x0_from_eps(x_t, 12, e_0 + 2.5 * (e_1 - e_0))
    found = ClassifierFreeGuidance(2.5).guided(classes, x_t, 12, condition).x0_hat
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("psi", [1.0, 0.3])
def test_cads_hides_the_class_first_and_shows_it_last(classes, psi):
    cads, condition = CADS(0.25, 0.3, 0.8, psi), Condition(torch.tensor([3, 7]))
    noise = SampleNoise(0, range(2), classes.image_shape)
    y = classes.model.embed_classes(condition.labels)
    assert torch.equal(cads.annealed(classes, condition, 0, noise), y)
    for index in (19, 12):
        found = cads.annealed(classes, condition, index, noise)
        gamma = min(1, max(0, (0.8 - classes.process.step_list[index] / 1000) / 0.5))
        n = noise.condition(index, y.shape[1])
        y_hat = math.sqrt(gamma) * y + 0.25 * math.sqrt(1 - gamma) * n
        y_r = (y_hat - y_hat.mean(1, True)) / y_hat.std(1, keepdim=True) * y.std(1, keepdim=True) + y.mean(1, True)
        torch.testing.assert_close(found, psi * y_r + (1 - psi) * y_hat)
        if psi == 1:
            torch.testing.assert_close(found.std(1), y.std(1))
    assert torch.equal(noise.condition(5, 8)[1:], SampleNoise(0, [1], SHAPE).condition(5, 8))


def test_cads_that_anneals_nothing_changes_nothing(conditional):
    classes = conditional.denoiser(6)
    condition = Condition(torch.tensor([3, 7]))
    found = drawn(CADS(0.0, 0.98, 1.0), classes, range(2), condition=condition)
    torch.testing.assert_close(found, drawn(DDPM(), classes, range(2), condition=condition), rtol=1e-4, atol=1e-4)
    other = drawn(CADS(0.25), classes, range(2), condition=condition)
    assert not torch.allclose(found, other, atol=0.1)


@pytest.mark.parametrize("sampler", [DDPM(), DDIM(), DPMSolverPlusPlus(True)])
def test_every_method_composes_with_every_other(sampler, conditional):
    """All at once, and every part counts: without it, or at its neutral strength, another image comes out."""
    classes = conditional.denoiser(4)
    condition = Condition(torch.tensor([1, 5, 9]))

    def nested(boost=1.5, k=0.9, tau_2=0.9, w=2.0):
        cads = CADS(0.25, tau_2 - 0.3, tau_2, sampler=ClassifierFreeGuidance(w, sampler))
        return BoostAndSkip(boost, 1, TemporalScoreRescaling(k, 0.3, cads))

    def x_0(scale=0.5, repel=30.0, **options):
        guidance = Together(
            [SelfGuidance(scale=scale, window=Window(interval=2)), ParticleGuidance(repel, window=Window(0.3))]
        )
        return drawn(nested(**options), classes, range(3), guidance, condition)

    x = x_0()
    assert x.shape == (3, *classes.image_shape) and float(x.abs().max()) < 3
    assert float((x - drawn(sampler, classes, range(3), condition=condition)).abs().max()) > 1e-3
    parts = [{"boost": 1.0}, {"k": 1.0}, {"tau_2": 0.31}, {"w": 1.0}, {"scale": 0.0}, {"repel": 0.0}]
    for part in parts if isinstance(sampler, DPMSolverPlusPlus) else []:
        assert float((x - x_0(**part)).abs().max()) > 1e-3, part
    one, guidance = Condition(torch.tensor([1])), SelfGuidance(scale=0.5, window=Window(interval=2))
    best, simple = (drawn(BestOf(2, sampler=chain), classes, [0], guidance, one) for chain in (nested(), sampler))
    assert torch.isfinite(best).all() and float((best - simple).abs().max()) > 1e-3


# One clear sentence


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: drawn(CADS(), gaussian()), "unconditional model.*use a conditional"),
        (lambda: drawn(ClassifierFreeGuidance(), gaussian()), "null class.*label_dropout"),
        (lambda: drawn(BestOf(2), gaussian(), guidance=ParticleGuidance()), r"couples them \(ParticleGuidance\)"),
        (lambda: drawn(BestOf(2), gaussian(), guidance=Together([ParticleGuidance()])), r"couples them \(Together\)"),
        (lambda: drawn(BoostAndSkip(2.0, 20), gaussian(spacing=20)), r"skip_steps .*\(20\), got 20"),
        (lambda: Together([SelfGuidance(), SelfGuidance(weighting="constant")]), "got .'constant', 'variance'. of 2"),
        (lambda: Together([]), "of 0 guidances"),
        (lambda: Window(0.5, 0.5), "start must be less .* got 0.5 and 0.5"),
        (lambda: TemporalScoreRescaling(0.0), "k must be positive, got 0.0"),
        (lambda: CADS(tau_1=0.9, tau_2=0.6), "tau_1 .* got 0.9 and 0.6"),
        (lambda: BoostAndSkip(0.0), "boost must be positive, got 0.0"),
    ],
)
def test_what_does_not_go_together_is_refused_in_one_sentence(call, words):
    with pytest.raises(SGMError, match=f"{words}.*\\.$"):
        call()
