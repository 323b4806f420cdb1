"""One reverse step: all that is known at x_t, and decides x_{t−1}."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from sgm_lightning.diffusion.condition import Condition
from sgm_lightning.diffusion.denoiser import Denoised, Denoiser
from sgm_lightning.diffusion.noise import Noise
from sgm_lightning.diffusion.process import Process


@dataclass(frozen=True)
class Step:
    """The knowledge at respaced `index` before x_{t−1} is drawn.

    Attributes:
        denoiser: The model on its chain, as the methods around the sampler have changed it.
        index: Respaced index t.
        x_t: (B, C, H, W) float32. At a step whose guidance differentiates, it requires grad and `denoised` hangs on it.
        denoised: The model's p(x_{t−1} | x_t).
        noise: Random numbers of the samples.
        condition: What the samples are conditioned on.
        past: (index, x0_hat) of the steps before, the latest last; as many as the sampler's order asks for.
        visit: How often the chain has been at this index before.
        keeps_graph: Whether another guidance will differentiate through `denoised` after this one.
    """

    denoiser: Denoiser
    index: int
    x_t: Tensor
    denoised: Denoised
    noise: Noise
    condition: Condition
    past: tuple[tuple[int, Tensor], ...] = ()
    visit: int = 0
    keeps_graph: bool = False

    @property
    def process(self) -> Process:
        """The chain."""
        return self.denoiser.process

    @property
    def scales(self) -> tuple[Tensor, Tensor]:
        """α and σ at `index`."""
        return self.process.scales(self.index)

    @property
    def next_scales(self) -> tuple[Tensor, Tensor]:
        """α and σ where the step leads, 1 and 0 at the end of the chain."""
        return self.process.scales(self.index - 1)

    @property
    def z(self) -> Tensor:
        """(B, C, H, W) standard normal noise of this step."""
        return self.noise.step(self.index, self.visit)


OnStep = Callable[[int, Denoised, Tensor], None]
