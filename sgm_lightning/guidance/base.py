"""What every guidance is to a sampler."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

from torch import Tensor, nn

from sgm_lightning.diffusion import Condition, Denoised, Denoiser
from sgm_lightning.diffusion.noise import Noise


class Guidance(nn.Module, ABC):
    """A direction in which the reverse step is pushed.

    Attributes:
        weighting: `variance`: the step's mean moves by σ² · direction, as for classifier guidance; `constant`: by the
            direction itself.
        needs_grad: Whether `forward` differentiates through the denoiser's forward at x_t.
        couples_batch: Whether a sample's direction depends on the other samples of its batch: then a seed means the same
            image for the same chunk only.
        least_batch: The smallest chunk that it is of any use in.
        retains_graph: Whether another guidance of the same step may differentiate through the same forward later.
    """

    weighting: Literal["variance", "constant"] = "variance"
    needs_grad: bool = True
    couples_batch: bool = False
    least_batch: int = 1
    retains_graph: bool = False

    @abstractmethod
    def active(self, index: int, num_steps: int) -> bool:
        """Whether the step at respaced `index` of `num_steps` is guided."""

    def needs_grad_at(self, index: int, num_steps: int) -> bool:
        """Whether the step at respaced `index` is guided by what differentiates through its forward."""
        return self.needs_grad and self.active(index, num_steps)

    @abstractmethod
    def forward(
        self, denoiser: Denoiser, x_t: Tensor, denoised: Denoised, index: int, noise: Noise, condition: Condition
    ) -> Tensor:
        """The scaled direction, (B, C, H, W) float32, detached.

        Where `needs_grad_at` says so, x_t requires grad and `denoised` hangs on its graph.
        """
