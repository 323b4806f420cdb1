"""Networks whose answers are known in closed form, and denoisers of them."""

import math

import torch
from torch import nn

from sgm_lightning import Condition, SampleNoise
from sgm_lightning.backbones import NetworkBackbone
from sgm_lightning.diffusion import Step, make_betas

SHAPE = (1, 4, 4)


def model(network, shape=SHAPE, schedule="linear", **facts):
    """The network as a backbone of the named schedule, or of given betas."""
    betas = make_betas(schedule) if isinstance(schedule, str) else schedule
    return NetworkBackbone(network, betas, shape, **facts)


def closed_form(network, spacing=None, shape=SHAPE, schedule="linear", **facts):
    """A denoiser of the network on a respaced chain."""
    return model(network, shape, schedule, **facts).denoiser(spacing)


def step_of(denoiser, index, x_t, noise=None, condition=None, denoised=None):
    """What a guidance or a sampler is given at x_t; the model is asked where `denoised` is not given."""
    condition = condition or Condition()
    denoised = denoiser(x_t, index, condition) if denoised is None else denoised
    return Step(denoiser, index, x_t, denoised, noise, condition)


class Counter(nn.Module):
    """Counts a network's forwards and the backwards through it."""

    def __init__(self):
        super().__init__()
        self.forwards = self.backwards = 0
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, x, step, **_):
        self.forwards += 1
        y = 0.5 * self.weight * x
        if y.requires_grad:
            y.register_hook(self._count)
        return y

    def _count(self, _):
        self.backwards += 1


class Mixture(nn.Module):
    """The optimal noise prediction for a mixture of isotropic Gaussians with means ±m and variance v."""

    def __init__(self, mean, variance, alphas_cumprod):
        super().__init__()
        self.m, self.v, self.alphas_cumprod = mean, variance, alphas_cumprod

    def x0_hat(self, x, alpha):
        total = alpha * self.v + 1 - alpha
        weight = (alpha.sqrt() * (x * self.m).flatten(1).sum(1) / total).tanh().view(-1, 1, 1, 1)
        shrink = alpha.sqrt() * self.v / total
        return weight * self.m + shrink * (x - alpha.sqrt() * weight * self.m)

    def forward(self, x, step):
        alpha = self.alphas_cumprod[step[0]]
        return (x - alpha.sqrt() * self.x0_hat(x, alpha)) / (1 - alpha).sqrt()

    def jacobian(self, x, alpha):
        """d x0_hat / d x of one sample, derived by hand: c·I + (1 − c√ᾱ)·(1 − w²)·√ᾱ/total · m mᵀ, c = √ᾱ v / total."""
        total = alpha * self.v + 1 - alpha
        c = alpha.sqrt() * self.v / total
        w = (alpha.sqrt() * (x * self.m).sum() / total).tanh()
        m = self.m.flatten()
        return c * torch.eye(len(m)) + (1 - c * alpha.sqrt()) * (1 - w**2) * alpha.sqrt() / total * torch.outer(m, m)


def alphas_cumprod(schedule="linear"):
    """(1000,) float32 ᾱ of the training chain."""
    return torch.cumprod(1 - make_betas(schedule), 0).float()


def mixture(num_steps, variance="fixed_small"):
    """Modes at ±0.4 of variance 0.1 in every pixel, on a cosine chain."""
    network = Mixture(torch.full(SHAPE, 0.4), 0.1, alphas_cumprod("cosine"))
    return closed_form(network, num_steps, schedule="cosine", variance=variance)


class Gaussian(nn.Module):
    """The optimal network of N(mean, variance I): eps_hat = √(1 − ᾱ) (x − √ᾱ mean) / (ᾱ variance + 1 − ᾱ)."""

    def __init__(self, mean: float, variance: float):
        super().__init__()
        self.mean, self.variance = mean, variance
        self.alphas_cumprod = alphas_cumprod()

    def forward(self, x, step, class_labels=None):
        alpha = self.alphas_cumprod[step].view(-1, 1, 1, 1)
        return (1 - alpha).sqrt() * (x - alpha.sqrt() * self.mean) / (alpha * self.variance + 1 - alpha)


def gaussian(variance=0.04, spacing=200, mean=0.3):
    return closed_form(Gaussian(mean, variance), spacing)


class TwoModes(nn.Module):
    """The optimal network of w N(0.4, v I) + (1 − w) N(−0.4, v I): which mode it is tells in closed form."""

    def __init__(self, weight, variance):
        super().__init__()
        self.prior, self.variance = math.log(weight / (1 - weight)), variance
        self.alphas_cumprod = alphas_cumprod("cosine")

    def forward(self, x, step, class_labels=None):
        alpha = self.alphas_cumprod[step].view(-1, 1, 1, 1)
        total = alpha * self.variance + 1 - alpha
        odds = self.prior + 2 * alpha.sqrt() * 0.4 * x.sum((1, 2, 3), keepdim=True) / total
        mean = 0.4 * torch.tanh(odds / 2)
        return (1 - alpha).sqrt() * (x - alpha.sqrt() * mean) / total


def drawn(method, denoiser, indices=range(8), guidance=None, condition=None, seed=0):
    """What a method draws with a denoiser."""
    return method(denoiser, SampleNoise(seed, indices, denoiser.image_shape), guidance, condition)


class Listed:
    """Draws from a list."""

    def __init__(self, draws):
        self.draws = draws

    def draw(self, purpose, index, number):
        return self.draws[number]
