"""Self-guidance beyond the released form: antithetic draws, and directions that leave complexity alone."""

import pytest
import torch
from support.closed_forms import SHAPE, gaussian, mixture, step_of

from sgm_lightning import DDPM, ELBOScore, Lp, MinorityScore, SelfGuidance, SGMError
from sgm_lightning.diffusion.noise import SampleNoise
from sgm_lightning.guidance.self_guidance import across
from sgm_lightning.scores import PerComplexity, SquaredError


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
