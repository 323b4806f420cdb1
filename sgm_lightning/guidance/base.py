"""The interface of a guidance for a sampler."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

import torch
from torch import Tensor, nn

from sgm_lightning.diffusion import Denoiser, Noise, Step
from sgm_lightning.errors import SGMError
from sgm_lightning.guidance.window import Window

Weighting = Literal["variance", "constant"]


class Guidance(nn.Module, ABC):
    """A direction in which the reverse step is shifted. A subclass implements `forward`.

    Args:
        window: Part of the chain in which the guidance acts; default all steps.
        weighting: Rule by which the direction g enters: with `variance` the step's mean moves by σ² g, as in classifier
            guidance; with `constant` x_{t−1} moves by g itself.

    Attributes:
        needs_grad: Whether `forward` differentiates through the denoiser's forward at x_t.
        couples_batch: Whether a sample's direction depends on the other samples of its batch. If so, a seed gives the same
            image only for the same chunk.
        least_batch: Smallest chunk size for which the guidance has an effect.
    """

    needs_grad: bool = False
    couples_batch: bool = False
    least_batch: int = 1

    def __init__(self, window: Window | None = None, weighting: Weighting = "variance") -> None:
        super().__init__()
        self.window = Window() if window is None else window
        self.weighting: Weighting = weighting

    @property
    def title(self) -> str:
        """Name of the guided samples in reports."""
        return type(self).__name__

    def acts(self, index: int, num_steps: int) -> bool:
        """Return True if the step at respaced `index` of `num_steps` is guided."""
        return self.window.contains(index, num_steps)

    def differentiates(self, index: int, num_steps: int) -> bool:
        """Return True if the guidance of the step at respaced `index` differentiates through its forward."""
        return self.needs_grad and self.acts(index, num_steps)

    def check(self, denoiser: Denoiser) -> None:
        """Raise unless the guidance fits the model. It is called once before a run, and once per chain."""

    def ahead(self, noise: Noise, index: int, num_steps: int) -> None:
        """Request the noise of the step at `index` in advance, so that it is made while the network runs."""

    @abstractmethod
    def forward(self, step: Step) -> Tensor:
        """Return the scaled direction g, (B, C, H, W) float32, detached.

        Where `differentiates` is true, `step.x_t` requires grad and `step.denoised` is part of its graph.
        """


def differentiable(x: Tensor) -> Tensor:
    """Return the same values as a leaf of a new graph.

    Raises:
        SGMError: If inference mode forbids gradients.
    """
    if torch.is_inference_mode_enabled():
        raise SGMError(
            "Guidance needs gradients, which inference mode forbids, got trainer.inference_mode: true; set "
            "`trainer.inference_mode: false`."
        )
    return x.detach().requires_grad_()


def largest_is_one(gradient: Tensor) -> Tensor:
    """Return `gradient`, (B, C, H, W), divided by its largest absolute value, per sample; a zero gradient stays zero."""
    largest = gradient.abs().amax(dim=(1, 2, 3), keepdim=True)
    return torch.where(largest == 0, torch.zeros_like(gradient), gradient / largest)


def labels_of(step: Step, label: int | Literal["condition"]) -> Tensor:
    """Return (B,) int64 classes: `label` for every sample, or with `condition` the class of each sample.

    Raises:
        SGMError: If the label is `condition` and the samples have no classes.
    """
    if label != "condition":
        return torch.full((len(step.x_t),), int(label), device=step.x_t.device)
    labels = step.condition.labels
    if labels is None:
        raise SGMError("`label: condition` needs a class-conditional model, got samples without classes; set a number.")
    return labels
