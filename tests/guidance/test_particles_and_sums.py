"""Particle guidance, and guidances that act together."""

import math
from dataclasses import replace

import torch
from support.closed_forms import SHAPE, drawn, gaussian, mixture, step_of
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from sgm_lightning import DDPM, SelfGuidance
from sgm_lightning.diffusion.noise import SampleNoise
from sgm_lightning.guidance import ParticleGuidance, Together, Window

# Particle guidance


def test_particles_follow_the_gradient_of_their_potential():
    """The direction is that of −Σ k(u_i, u_j) with respect to x_i, by autograd in float64."""
    denoiser, index = gaussian(spacing=20), 15
    x_t = SampleNoise(0, range(5), SHAPE).start()
    found = ParticleGuidance(2.0)(step_of(denoiser, index, x_t))
    alpha = denoiser.process.scales(index)[0].double()
    for i in range(5):
        x = x_t[i].double().requires_grad_()
        distances = torch.stack([(x / alpha - x_t[j].double() / alpha).norm() for j in range(5) if j != i])
        h = distances.detach().median() ** 2 / math.log(4)
        (expected,) = torch.autograd.grad(-2.0 * (-(distances**2) / h).exp().sum(), x)
        torch.testing.assert_close(found[i], expected.float(), rtol=1e-4, atol=1e-6)
    assert not ParticleGuidance(2.0)(step_of(denoiser, 0, x_t)).any()
    assert not ParticleGuidance(2.0)(step_of(denoiser, index, x_t[:1])).any()


def test_particles_keep_no_difference_of_every_pair():
    """B² · D numbers are 3 GB for 64 images of 256²: nothing is larger than the batch or one number a pair."""
    denoiser, index, count = gaussian(spacing=20), 15, 20
    step = step_of(denoiser, index, SampleNoise(0, range(count), SHAPE).start())
    with Largest() as largest:
        ParticleGuidance(2.0)(step)
    assert largest.found == max(step.x_t.numel(), count**2)


class Largest(TorchDispatchMode):
    """The largest number of elements that an operation returned."""

    found = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        self.found = max([self.found, *(o.numel() for o in pytree.tree_leaves(out) if isinstance(o, torch.Tensor))])
        return out


def test_particles_spread_out():
    denoiser = mixture(30)

    def spread(guidance):
        return float(torch.pdist(drawn(DDPM(), denoiser, range(16), guidance).flatten(1)).mean())

    assert spread(ParticleGuidance(300.0)) > 1.02 * spread(None)


# Together


def test_guidances_add_up_and_windows_hold():
    """Each with noise of its own, inside its own window and that of all of them."""
    denoiser, noise, index = mixture(10), SampleNoise(0, range(3), mixture(10).image_shape), 4
    x_t = noise.start().requires_grad_()
    parts = [SelfGuidance(scale=0.5), SelfGuidance(scale=0.25, window=Window(stop=0.5))]
    both = Together([*parts, SelfGuidance(scale=0.25, window=Window(start=0.5))])
    step = step_of(denoiser, index, x_t, noise)
    expected = sum(part(replace(step, noise=noise.apart(n), keeps_graph=True)) for n, part in enumerate(parts))
    torch.testing.assert_close(both(step), expected)
    late = Together([SelfGuidance(window=Window(interval=2))], Window(0.2, 0.7, interval=3))
    assert [i for i in range(20) if late.acts(i, 20)] == [6, 12]
