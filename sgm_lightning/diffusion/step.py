"""One reverse step: the data from which x_{t−1} is computed."""

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
    """The data of the step at respaced `index`, before x_{t−1} is drawn.

    Attributes:
        denoiser: Denoiser of the model on its chain, as the methods around the sampler have changed it.
        index: Respaced index t.
        x_t: State x_t, (B, C, H, W) float32. At a step whose guidance differentiates, it requires grad and `denoised` is
            part of its graph.
        denoised: Distribution p(x_{t−1} | x_t) of the model.
        noise: Random numbers of the samples.
        condition: Condition of the samples.
        past: Pairs (index, x0_hat) of the previous steps, the latest last; as many as the sampler's order needs.
        visit: Number of earlier steps of the chain at this index.
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
        """Process that defines the chain."""
        return self.denoiser.process

    @property
    def scales(self) -> tuple[Tensor, Tensor]:
        """α and σ at `index`."""
        return self.process.scales(self.index)

    @property
    def next_scales(self) -> tuple[Tensor, Tensor]:
        """α and σ after the step, 1 and 0 at the end of the chain."""
        return self.process.scales(self.index - 1)

    @property
    def z(self) -> Tensor:
        """(B, C, H, W) standard normal noise of this step."""
        return self.noise.step(self.index, self.visit)


OnStep = Callable[[int, Denoised, Tensor], None]
