"""What guidance loses without the network's Jacobian: three directions against the exact one, per noise level.

    python -m benchmarks.studies.directions            # the committed network, 64 samples, ten noise levels

With v = ∂score/∂x0_hat and J = ∂x0_hat/∂x_t the exact direction is g = Jᵀv. Along ancestral chains: the cosine of v, of J v
(by a finite difference) and of the two controls with g, the Rayleigh quotient vᵀJv / |v|², which must be positive for v to
climb the score, and how far each direction raises the score of x0_hat(x_t) when x_t is moved by it: a step of equal RMS, a
twentieth of the noise in x_t, the mean over samples in units of the exact direction's. Controls: v of the next sample, and
x0_hat minus the data's mean.
"""

from __future__ import annotations

import torch
from jsonargparse import auto_cli
from torch import Tensor

from sgm_lightning import DDPM, DiffusersCheckpoint, MinorityScore, SampleNoise, SelfGuidance
from sgm_lightning.diffusion import Condition, Denoiser, NoiseLevel, Step
from sgm_lightning.diffusion.noise import Purpose
from sgm_lightning.diffusion.pixels import from_uint8
from sgm_lightning.images import FashionMNIST

SCORE = MinorityScore(level=NoiseLevel(ratio=0.8))
NAMES = ("exact", "v", "J v", "v of another sample", "x0_hat − mean")


def cosine(a: Tensor, b: Tensor) -> Tensor:
    return torch.cosine_similarity(a.flatten(1), b.flatten(1), dim=1)


def unit(v: Tensor) -> Tensor:
    """Of RMS 1 per sample."""
    return v / v.square().mean((1, 2, 3), keepdim=True).sqrt().clamp(min=1e-20)


def mean_and_spread(values: Tensor) -> str:
    return f"{float(values.mean()):.2f} ± {float(values.std()):.2f}"


class Draws:
    """The same draw for every direction."""

    def __init__(self, noise: Tensor) -> None:
        self.noise = noise
        self.indices: list[int] = []

    def draw(self, purpose: Purpose, index: int, number: int) -> Tensor:
        return self.noise


def directions(denoiser: Denoiser, x_t: Tensor, index: int, draw: Tensor, mean: Tensor) -> dict[str, Tensor]:
    found = {}
    for name, gradient in (("exact", "exact"), ("v", "jacobian_free"), ("J v", "finite_difference")):
        guidance = SelfGuidance(SCORE, 1.0, normalize=False, gradient=gradient)  # type: ignore[arg-type]
        x = x_t.detach().requires_grad_()
        with torch.enable_grad():
            denoised = denoiser(x, index)
        found[name] = guidance(Step(denoiser, index, x, denoised, Draws(draw), Condition()))  # type: ignore[arg-type]
    found["v of another sample"] = found["v"].roll(1, 0)
    with torch.no_grad():
        found["x0_hat − mean"] = denoiser(x_t, index).x0_hat - mean
    return found


def climbs(denoiser: Denoiser, x_t: Tensor, index: int, draw: Tensor, direction: Tensor) -> Tensor:
    """(B,) change of the score's value when x_t is moved along a direction, the reconstruction drawn anew."""
    step = 0.05 * denoiser.process.scales(index)[1] * unit(direction)
    with torch.no_grad():
        values = [
            SCORE(denoiser, denoiser(x, index).x0_hat, Draws(draw))  # type: ignore[arg-type]
            for x in (x_t, x_t + step)
        ]
    return values[1] - values[0]


def main(
    num_samples: int = 64, num_steps: int = 100, levels: int = 10, checkpoint: str = "checkpoints/fashion_mnist_28"
) -> None:
    denoiser = DiffusersCheckpoint(checkpoint).load().denoiser(num_steps)
    mean = from_uint8(FashionMNIST("half_b", limit=10_000).images).mean(0, keepdim=True)
    wanted = {round((i + 0.5) * num_steps / levels) for i in range(levels)}
    sampler = DDPM()
    state = sampler.start(denoiser, SampleNoise(5, range(num_samples), denoiser.image_shape))
    heads = [f"cos {name}" for name in NAMES[1:]] + ["vᵀJv/\\|v\\|²"] + [f"climb {name}" for name in NAMES[1:]]
    print("| index | log SNR | " + " | ".join(heads) + " |\n" + "|--:" * (len(heads) + 2) + "|")
    for index in sampler.indices(num_steps):
        if index in wanted:
            draw = SampleNoise(6, range(num_samples), denoiser.image_shape).draw(Purpose.GUIDANCE, index, 0)
            found = directions(denoiser, state.x, index, draw, mean)
            v, jv = found["v"], found["J v"]
            rayleigh = (v * jv).sum((1, 2, 3)) / v.square().sum((1, 2, 3)).clamp(min=1e-20)
            rise = {name: climbs(denoiser, state.x, index, draw, d).mean() for name, d in found.items()}
            cells = [mean_and_spread(cosine(found[name], found["exact"])) for name in NAMES[1:]]
            cells.append(mean_and_spread(rayleigh))
            cells += [f"{float(rise[name] / rise['exact']):+.2f}" for name in NAMES[1:]]
            print(f"| {index} | {denoiser.process.log_snr_list[index]:.1f} | " + " | ".join(cells) + " |", flush=True)
        sampler.step(state, index)


if __name__ == "__main__":
    auto_cli(main)
