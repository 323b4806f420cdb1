"""Self-guidance beyond the released form: the bound as score, antithetic draws, directions that leave complexity alone."""

import math

import pytest
import torch
from support.closed_forms import SHAPE, gaussian, mixture, step_of

from sgm_lightning import DDPM, ELBOScore, Lp, MinorityScore, SelfGuidance, SGMError, Window
from sgm_lightning.diffusion.noise import SampleNoise
from sgm_lightning.guidance.self_guidance import across
from sgm_lightning.scores import PerComplexity, SquaredError


def elbo_score(score, denoiser, x_0, repeats):
    noise, total = SampleNoise(0, range(len(x_0)), SHAPE), 0.0
    for index in range(repeats):
        total = total + score(denoiser, x_0, noise, None, index, turn=index)
    return total / repeats


@pytest.mark.parametrize("antithetic", [False, True])
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


def test_antithetic_draws_cancel_what_is_odd_in_the_noise():
    """On a Gaussian the gradient of the squared error is a constant plus a part that is linear in the noise."""
    denoiser, index = gaussian(spacing=20), 9
    x_t = SampleNoise(1, range(4), SHAPE).start().requires_grad_()

    def direction(seed, antithetic):
        score = MinorityScore(SquaredError(), num_draws=2, antithetic=antithetic)
        guidance = SelfGuidance(score, normalize=False)
        return guidance(step_of(denoiser, index, x_t, SampleNoise(seed, range(4), SHAPE)))

    torch.testing.assert_close(direction(0, True), direction(5, True), rtol=1e-3, atol=1e-5)
    assert not torch.allclose(direction(0, False), direction(5, False), rtol=1e-2)


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


def contrast(x):
    return x.flatten(1).std(1, correction=0)


def detail(x):
    return (x.diff(dim=2).square().mean((1, 2, 3)) + x.diff(dim=3).square().mean((1, 2, 3))).sqrt()


@pytest.mark.parametrize("fixed", ["reconstruction", "reference"])
@pytest.mark.parametrize(("name", "complexity"), [("contrast", contrast), ("detail", detail)])
def test_guided_per_complexity_a_step_leaves_the_complexity_of_x0_hat(name, complexity, fixed):
    """By finite differences through the denoiser, as self-guidance uses it; the distance alone drifts."""
    denoiser, index = mixture(20), 6
    x_t = SampleNoise(2, range(6), SHAPE).start().requires_grad_()

    def growth(distance):
        guidance = SelfGuidance(MinorityScore(distance, fixed=fixed), scale=1.0)
        g = guidance(step_of(denoiser, index, x_t, SampleNoise(0, range(6), SHAPE)))
        assert float(g.flatten(1).norm(dim=1).min()) > 0.1
        with torch.no_grad():
            up, down = (complexity(denoiser(x_t + sign * 0.01 * g, index).x0_hat) for sign in (1, -1))
        return ((up - down) / 0.02).abs()

    assert float(growth(PerComplexity(Lp(2.0), name)).max()) < 2e-4
    assert float(growth(Lp(2.0)).median()) > 5e-3


def test_in_the_cheaper_gradients_the_complexity_stays_to_their_order():
    """Jacobian-free in the space of x0_hat; by finite differences as J v and J ∇c are taken there."""
    denoiser, index = mixture(20), 6
    x_t = SampleNoise(2, range(6), SHAPE).start().requires_grad_()

    def direction(gradient):
        guidance = SelfGuidance(MinorityScore(PerComplexity()), scale=1.0, gradient=gradient, normalize=False)
        return guidance(step_of(denoiser, index, x_t, SampleNoise(0, range(6), SHAPE)))

    x0_hat = denoiser(x_t, index).x0_hat.detach()
    normal = x0_hat - x0_hat.mean((1, 2, 3), keepdim=True)
    cosine = torch.cosine_similarity(direction("jacobian_free").flatten(1), normal.flatten(1))
    assert float(cosine.abs().max()) < 1e-5
    # An optimal denoiser has a symmetric Jacobian: here finite differences are exact up to their step.
    found, expected = (direction(name).flatten(1) for name in ("finite_difference", "exact"))
    assert float(torch.cosine_similarity(found, expected).min()) > 0.99


def test_an_image_without_complexity_is_guided_by_the_distance_alone():
    g, flat = torch.randn(2, *SHAPE), torch.zeros(2, *SHAPE)
    assert torch.equal(across(g, flat), g)


def test_detail_is_the_mean_square_between_neighbours():
    stripes = torch.tensor([-0.5, 0.5]).repeat(2).expand(1, 1, 4, 4).contiguous()
    distance = PerComplexity(SquaredError(), "detail", floor=1e-6)
    assert float(distance(stripes, stripes + 1)) == pytest.approx(16 / math.sqrt(0.5), rel=1e-4)


def test_variants_guide_a_chain_and_refuse_what_they_do_not_take():
    denoiser = mixture(12)
    plain = DDPM()(denoiser, SampleNoise(0, range(3), denoiser.image_shape))
    for guidance in (
        SelfGuidance(ELBOScore(), scale=0.5),
        SelfGuidance(ELBOScore(), gradient="jacobian_free"),
        SelfGuidance(MinorityScore(PerComplexity())),
    ):
        x = DDPM()(denoiser, SampleNoise(0, range(3), denoiser.image_shape), guidance)
        assert torch.isfinite(x).all() and not torch.allclose(x, plain)
    for wrong in ({"min_log_snr": 3.0}, {"num_draws": 3, "antithetic": True}):
        with pytest.raises(SGMError, match=r"got .*\.$"):
            ELBOScore(**wrong)
