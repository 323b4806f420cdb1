"""The seams for other models: a codec, other conditions, any network, any levels of noise, and chains that go up again."""

import itertools
import math

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file
from support.closed_forms import SHAPE, Gaussian, closed_form, gaussian, mixture, model
from torch import nn
from torch.nn import functional

from sgm_lightning import (
    DDIM,
    DDPM,
    BestOf,
    Condition,
    Denoiser,
    DPMSolverPlusPlus,
    MinorityScore,
    SampleNoise,
    SelfGuidance,
    SGMError,
)
from sgm_lightning.backbones import NetworkBackbone
from sgm_lightning.cli import main
from sgm_lightning.diffusion import LevelProcess, from_images, to_images
from sgm_lightning.samplers import Sampler
from sgm_lightning.scores import negative_elbo

# A codec of the model's own


class Blocks:
    """Latents of four channels and half the side, twice as large as pixels: an exact stand-in for a VAE."""

    bounded = False

    def encode(self, pixels):
        return 2 * functional.pixel_unshuffle(pixels, 2)

    def decode(self, x_0):
        return functional.pixel_shuffle(x_0 / 2, 2)

    def pixel_shape(self, shape):
        return shape[0] // 4, 2 * shape[1], 2 * shape[2]


def latent_gaussian(spacing=50, **facts):
    return closed_form(Gaussian(0.6, 0.16), spacing, (4, 2, 2), codec=Blocks(), **facts)


@pytest.mark.slow
def test_a_latent_model_draws_and_scores_images():
    """The Gaussian of the pixels, drawn as that of their latents: mean and deviation are half of the latents'."""
    denoiser = latent_gaussian(200)
    x_0 = DDPM()(denoiser, SampleNoise(0, range(200), (4, 2, 2)))
    assert float(x_0.max()) > 1  # not clipped: latents have no bounds
    images = to_images(denoiser.model.codec, x_0)
    assert images.shape == (200, 1, 4, 4) and images.dtype == torch.uint8
    values = images.float() / 127.5 - 1
    assert float(values.mean()) == pytest.approx(0.3, abs=0.02) and float(values.std()) == pytest.approx(0.2, abs=0.02)
    shown = x_0.clamp(-2, 2)  # what pixels can say
    torch.testing.assert_close(from_images(denoiser.model.codec, images), shown, atol=2 * 2 / 255, rtol=0)
    score = MinorityScore().of_images(images, denoiser, 0, range(200))
    same = MinorityScore()(denoiser, from_images(denoiser.model.codec, images), SampleNoise(0, range(200), (4, 2, 2)))
    assert torch.equal(score, same) and score.shape == (200,)
    best = BestOf(2)(denoiser, SampleNoise(0, range(3), (4, 2, 2)), SelfGuidance(scale=0.1))
    assert best.shape == (3, 4, 2, 2) and torch.isfinite(best).all()
    with pytest.raises(SGMError, match="a model of pixels, got one of latents"):
        negative_elbo(images[:2], denoiser, 0, range(2))


# Other conditions than labels


class Told(nn.Module):
    """The optimal network of N(m, v I) whose mean m is told by a condition of the sample."""

    def __init__(self):
        super().__init__()
        self.plain = Gaussian(0.0, 0.04)

    def forward(self, x, step, means):
        self.plain.mean = means.view(-1, 1, 1, 1)
        return self.plain(x, step)


def test_conditions_by_name_reach_the_network_and_follow_their_rows():
    denoiser = closed_form(Told(), 50, conditions={"text": "means"})
    means = torch.tensor([0.5, -0.5, 0.0])
    condition = Condition(text=means)
    x = DDPM()(denoiser, SampleNoise(0, range(3), SHAPE), SelfGuidance(scale=0.1), condition)
    torch.testing.assert_close(x.mean((1, 2, 3)), means, atol=0.2, rtol=0)
    best = BestOf(3, [(0.5, 1)])(denoiser, SampleNoise(0, range(3), SHAPE), None, condition)
    torch.testing.assert_close(best.mean((1, 2, 3)), means, atol=0.2, rtol=0)
    assert torch.equal(condition.select([2, 0])["text"], means[[2, 0]]) and len(condition.repeat(2)["text"]) == 6
    with pytest.raises(SGMError, match=r"takes the conditions text, got mask; .*\.$"):
        DDPM()(denoiser, SampleNoise(0, range(3), SHAPE), None, Condition(text=means, mask=means))


# Any network


NETWORK = """
import torch
from torch import nn

class Small(nn.Module):
    def __init__(self, width: int = 4):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(1, width, 3, padding=1), nn.SiLU(), nn.Conv2d(width, 1, 3, padding=1))
        self.time = nn.Linear(1, 1)

    def forward(self, x, step):
        return self.layers(x) + self.time(step.float()[:, None] / 1000)[:, :, None, None]
"""


def test_a_network_from_elsewhere_by_yaml(tmp_path, monkeypatch, capsys):
    """A class path and a state dict: no edit here."""
    (tmp_path / "my_network.py").write_text(NETWORK)
    monkeypatch.syspath_prepend(tmp_path)
    from my_network import Small

    torch.manual_seed(0)
    network = Small(6)
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    backbone = {
        "class_path": "NetworkFrom",
        "init_args": {
            "network": {"class_path": "my_network.Small", "init_args": {"width": 6}},
            "weights": str(tmp_path / "weights.safetensors"),
            "image_shape": [1, 8, 8],
            "noise_schedule": "cosine",
            "prediction": "v_prediction",
        },
    }
    config = {
        "model": {"backbone": backbone, "spacing": 4, "score": {"num_draws": 1}, "guidance": {"class_path": "SelfGuidance"}},
        "data": {"class_path": "SampleIndices", "init_args": {"num_samples": 3, "chunk_size": 3}},
        "trainer": {"accelerator": "cpu"},
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config))
    assert main(["predict", "--config", str(tmp_path / "run.yaml"), "--run_dir", str(tmp_path / "run")]) == 0
    drawn = np.load(tmp_path / "run/samples.npz")["arr_0"]
    denoiser = model(network, (1, 8, 8), "cosine", prediction="v_prediction").denoiser(4)
    expected = DDPM()(denoiser, SampleNoise(0, range(3), (1, 8, 8)), SelfGuidance())
    assert np.array_equal(drawn, to_images(denoiser.model.codec, expected).permute(0, 2, 3, 1).numpy())
    backbone["init_args"]["network"]["init_args"]["width"] = 5
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config))
    assert main(["predict", "--config", str(tmp_path / "run.yaml"), "--run_dir", str(tmp_path / "other")]) == 1
    assert "does not hold the weights of Small" in capsys.readouterr().err


# Levels of noise given by α and σ


class Exact(nn.Module):
    """The optimal prediction of x_0 for N(mean, variance I) at any (α, σ), told as σ / α."""

    def __init__(self, mean, variance):
        super().__init__()
        self.mean, self.variance, self.alphas = mean, variance, None

    def forward(self, x, ratio):
        ratio = ratio.view(-1, 1, 1, 1)
        alpha = self.alphas(ratio)
        total = self.variance + ratio**2
        return self.mean + self.variance / total * (x / alpha - self.mean)


def levels(kind, count):
    """A chain from almost clean to almost noise, as EDM, rectified flow and DDPM write it; equal σ / α."""
    ratios = [math.exp(math.log(0.01) + i / (count - 1) * math.log(100 / 0.01)) for i in range(count)]
    scale = {
        "edm": lambda r: 1.0,
        "flow": lambda r: 1 / (1 + r),
        "preserving": lambda r: 1 / math.sqrt(1 + r**2),
    }[kind]
    network = Exact(0.3, 0.04)
    network.alphas = {
        "edm": lambda r: torch.ones_like(r),
        "flow": lambda r: 1 / (1 + r),
        "preserving": lambda r: 1 / (1 + r**2).sqrt(),
    }[kind]
    alphas = [scale(r) for r in ratios]
    process = LevelProcess(alphas, [a * r for a, r in zip(alphas, ratios, strict=True)])
    backbone = NetworkBackbone(network, torch.full((1,), 0.5), SHAPE, prediction="sample")
    return Denoiser(backbone, process)


class Start:
    """The same x_T / α_T in every kind, and the same noise at every step."""

    def __init__(self, denoiser, count):
        self.noise = SampleNoise(0, range(count), SHAPE)
        _, sigma = denoiser.process.scales(denoiser.process.num_steps - 1)
        self.scale, self.indices = sigma, range(count)

    def start(self):
        return self.scale * self.noise.start()

    def __getattr__(self, name):
        return getattr(self.noise, name)


@pytest.mark.parametrize(
    "sampler",
    [DDPM(clip=False), DPMSolverPlusPlus(True, clip=False)]
    + [pytest.param(s, marks=pytest.mark.slow) for s in (DDIM(clip=False), DDIM(1.0, False), DPMSolverPlusPlus(clip=False))],
)
def test_edm_flow_and_ddpm_are_one_process_in_three_scales(sampler):
    """Every sampler draws the same x_0, unguided and guided, whichever scale α the states are written in."""
    drawn = {}
    for kind in ("edm", "flow", "preserving"):
        denoiser = levels(kind, 60)
        drawn[kind] = sampler(denoiser, Start(denoiser, 100))
        assert float(drawn[kind].mean()) == pytest.approx(0.3, abs=0.02)
    torch.testing.assert_close(drawn["edm"], drawn["preserving"], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(drawn["flow"], drawn["preserving"], rtol=1e-3, atol=1e-3)
    assert float(drawn["edm"].std()) == pytest.approx(0.2, rel=0.1)


def test_scores_and_guidance_at_any_levels():
    """The level of a score is a log-SNR, which is the same thing in all of them."""
    scores = {}
    for kind in ("edm", "flow", "preserving"):
        denoiser = levels(kind, 60)
        x_0 = SampleNoise(1, range(4), SHAPE).start() * 0.3
        scores[kind] = MinorityScore()(denoiser, x_0, SampleNoise(0, range(4), SHAPE))
        guided = DDPM(clip=False)(denoiser, Start(denoiser, 4), SelfGuidance(scale=0.3))
        assert torch.isfinite(guided).all()
    torch.testing.assert_close(scores["edm"], scores["preserving"], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(scores["flow"], scores["preserving"], rtol=1e-4, atol=1e-5)


def test_the_general_formulas_are_ddpms():
    """A chain given by its α and σ alone against the tables of the released code."""
    from sgm_lightning.diffusion import DiffusionProcess, make_betas
    from sgm_lightning.diffusion.process import Process

    ours = DiffusionProcess(make_betas("linear"), 20)
    general = LevelProcess(ours.sqrt_alphas_cumprod[:-1].tolist(), ours.sqrt_one_minus_alphas_cumprod[:-1].tolist())
    x_0, x_t = torch.rand(2, 3, *SHAPE)
    for index in (1, 7, 19, torch.tensor([1, 7, 19])):
        for name in ("posterior_mean",):
            torch.testing.assert_close(
                getattr(general, name)(x_0, x_t, index), getattr(ours, name)(x_0, x_t, index), rtol=1e-3, atol=1e-4
            )
        for name in ("x0_from_eps", "eps_from_x0", "x0_from_v"):
            torch.testing.assert_close(
                getattr(Process, name)(ours, x_t, index, x_0), getattr(ours, name)(x_t, index, x_0), rtol=1e-3, atol=1e-3
            )
        for name in ("posterior_variance_at", "transition_variance_at"):
            for a, b in zip(getattr(general, name)(index), getattr(ours, name)(index), strict=True):
                torch.testing.assert_close(a, b, rtol=5e-3, atol=1e-6)
    for index in (0, torch.tensor([0, 7])):  # where the variance is 0, its logarithm is that of index 1
        for a, b in zip(general.posterior_variance_at(index), ours.posterior_variance_at(index), strict=True):
            torch.testing.assert_close(a, b, rtol=5e-3, atol=1e-6)
    for wrong in (([1.0], [0.1, 0.2]), ([1.0, 1.0], [0.2, 0.1]), ([], [])):
        with pytest.raises(SGMError, match="rising"):
            LevelProcess(*wrong)


# Chains that go up again


class Jumping(DDPM):
    """Ancestral sampling that goes back up `length` steps, `times` times, from every tenth index (as RePaint does)."""

    def __init__(self, length=5, times=2, clip=None):
        super().__init__(clip)
        self.length, self.times = length, times

    def indices(self, num_steps):
        steps, index = [], num_steps - 1
        left = {i: self.times for i in range(0, num_steps - self.length, 10)}
        while index >= 0:
            steps.append(index)
            index -= 1
            if left.get(index, 0):
                left[index] -= 1
                index += self.length
        return steps


@pytest.mark.slow
def test_a_chain_may_go_up_again():
    """The distribution stays, the noise of a second visit is its own, and nothing depends on the batch."""
    denoiser, sampler = gaussian(0.04, 100), Jumping(clip=False)
    indices = sampler.indices(100)
    assert len(indices) > 150 and any(later > earlier for earlier, later in itertools.pairwise(indices))
    x = sampler(denoiser, SampleNoise(0, range(80), SHAPE))
    plain = DDPM(clip=False)(denoiser, SampleNoise(0, range(80), SHAPE))  # whose steps leave out some of the variance
    assert float(x.mean()) == pytest.approx(0.3, abs=0.01) and float(x.std()) == pytest.approx(float(plain.std()), rel=0.05)
    noise = SampleNoise(0, [4], SHAPE)
    assert not torch.equal(noise.step(7, 0), noise.step(7, 1)) and not torch.equal(noise.jump(7, 0), noise.step(7, 0))
    torch.testing.assert_close(sampler(denoiser, noise), x[4:5], rtol=1e-4, atol=1e-4)
    best = BestOf(2, sampler=Jumping())(mixture(30), SampleNoise(0, range(2), SHAPE), SelfGuidance(scale=0.2))
    assert torch.isfinite(best).all()


def test_noise_brings_a_state_to_a_noisier_level():
    """From level s to t and straight to t: one distribution."""
    process = gaussian(spacing=50).process
    z = torch.randn(2, 20_000, 1, 1, 1, generator=torch.Generator().manual_seed(0))
    x_0 = torch.full_like(z[0], 0.7)
    for level, index in ((-1, 10), (10, 11), (10, 40)):
        x_s = x_0 if level < 0 else process.q_sample(x_0, level, z[0])
        x_t = process.renoise(x_s, level, index, z[1])
        alpha, sigma = process.scales(index)
        assert float(x_t.mean()) == pytest.approx(float(alpha) * 0.7, abs=0.03)
        assert float(x_t.std()) == pytest.approx(float(sigma), rel=0.03)


def test_a_sampler_of_ones_own_is_its_update():
    class Euler(Sampler):
        def update(self, step, shift):
            next_alpha, next_sigma = step.next_scales
            eps = step.process.eps_from_x0(step.x_t, step.index, step.denoised.x0_hat)
            return next_alpha * step.denoised.x0_hat + next_sigma * eps

    found, expected = (method(mixture(10), SampleNoise(0, range(2), SHAPE)) for method in (Euler(), DDIM()))
    torch.testing.assert_close(found, expected)
