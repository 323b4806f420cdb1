"""Does guidance find what is rare where the density is known? A Gaussian mixture whose optimal denoiser is closed-form.

    python -m benchmarks.studies.known_density         # seconds

Ten components of unequal weight in 16 dimensions, of different widths. Printed per setting, at equal step sizes: the mean of
the true −log p of the samples (higher: rarer), the share of samples in the four lightest components, the share that lies
within the 99 % ball of a component (real), and the RMS of the shift a guided step adds. `another's v` and `x0_hat − mean`
are controls of the same largest value, which must lose.
"""

from __future__ import annotations

import math

import torch
from jsonargparse import auto_cli
from torch import Tensor, nn

from sgm_lightning import DDPM, Denoiser, DiffusionProcess, MinorityScore, SampleNoise, SelfGuidance
from sgm_lightning.backbones import NetworkBackbone
from sgm_lightning.diffusion import NoiseLevel, Step, make_betas
from sgm_lightning.guidance import Window

SHAPE = (1, 4, 4)
DIM = 16
SCORE = MinorityScore(level=NoiseLevel(ratio=0.8))


class Mixture(nn.Module):
    """Predicts x_0 of Σ_k w_k N(m_k, v_k I)."""

    def __init__(self, betas: Tensor) -> None:
        super().__init__()
        source = torch.Generator().manual_seed(0)
        self.means = 0.6 * torch.randn(10, DIM, generator=source).sign() * torch.rand(10, DIM, generator=source).sqrt()
        self.variances = torch.linspace(0.01, 0.04, 10)
        self.weights = torch.tensor([0.3, 0.2, 0.15, 0.1, 0.08, 0.06, 0.05, 0.03, 0.02, 0.01])
        self.alphas_cumprod = torch.cumprod(1 - betas, 0).float()

    def log_parts(self, x: Tensor, alpha: Tensor) -> Tensor:
        """(B, K): log w_k N(x; √ᾱ m_k, ᾱ v_k + 1 − ᾱ)."""
        variance = alpha * self.variances + 1 - alpha
        square = (x.flatten(1)[:, None] - alpha.sqrt() * self.means).square().sum(2)
        return self.weights.log() - square / (2 * variance) - DIM / 2 * (2 * math.pi * variance).log()

    def forward(self, x: Tensor, step: Tensor) -> Tensor:
        alpha = self.alphas_cumprod[step[0]]
        share = self.log_parts(x, alpha).softmax(1)
        shrink = alpha.sqrt() * self.variances / (alpha * self.variances + 1 - alpha)
        away = x.flatten(1)[:, None] - alpha.sqrt() * self.means
        return (share[..., None] * (self.means + shrink[:, None] * away)).sum(1).view_as(x)


class Control(SelfGuidance):
    """A direction that knows less, of the same largest value."""

    def __init__(self, kind: str, scale: float, interval: int, mean: Tensor) -> None:
        super().__init__(SCORE, scale, window=Window(interval=interval), gradient="jacobian_free")
        self.kind, self.mean = kind, mean

    def forward(self, step: Step) -> Tensor:
        if self.kind == "another's v":
            return super().forward(step).roll(1, 0)
        v = step.denoised.x0_hat.detach() - self.mean
        return self.scale * v / v.abs().amax((1, 2, 3), keepdim=True)


def known_density(num_samples: int = 4000, num_steps: int = 100, interval: int = 2, seed: int = 0) -> None:
    betas = make_betas("cosine")
    network = Mixture(betas)
    backbone = NetworkBackbone(network, betas, SHAPE, prediction="sample")
    denoiser = Denoiser(backbone, DiffusionProcess(betas, num_steps))
    mean = (network.weights[:, None] * network.means).sum(0).view(1, *SHAPE)
    print("| scale | direction | −log p | in the lightest four | real | RMS of g |\n|--:|---|--:|--:|--:|--:|")
    for scale in (0.0, 0.5, 1.0, 2.0):
        settings = {
            name: SelfGuidance(SCORE, scale, window=Window(interval=interval), gradient=name)  # type: ignore[arg-type]
            for name in GRADIENTS
        } | {name: Control(name, scale, interval, mean) for name in ("another's v", "x0_hat − mean")}
        for name, guidance in settings.items() if scale else [("unguided", None)]:
            sizes: list[float] = []
            if guidance is not None:
                guidance.register_forward_hook(
                    lambda module, inputs, out, sizes=sizes: sizes.append(float(out.square().mean().sqrt()))
                )
            noise = SampleNoise(seed, range(num_samples), SHAPE)
            x = DDPM(clip=False)(denoiser, noise, guidance)
            one = torch.ones(())
            parts = network.log_parts(x, one)
            distance = (x.flatten(1)[:, None] - network.means).square().sum(2) / network.variances
            nearest = distance.min(1)
            rarity = -parts.logsumexp(1)
            print(
                f"| {scale:g} | {name} | {rarity.mean():.2f} ± {rarity.std() / num_samples**0.5:.2f} | "
                f"{(nearest.indices >= 6).float().mean():.3f} | {(nearest.values < 32.0).float().mean():.3f} | "
                f"{sum(sizes) / max(len(sizes), 1):.3f} |",
                flush=True,
            )


GRADIENTS = ("exact", "jacobian_free", "finite_difference")

if __name__ == "__main__":
    auto_cli(known_density)
