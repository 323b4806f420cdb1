"""The interfaces of a classifier of noisy images and of its source."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from sgm_lightning.diffusion import DiffusionProcess, Process, make_betas
from sgm_lightning.errors import SGMError


class NoisyClassifier(nn.Module, ABC):
    """Predicts log p(class | x_t, t) up to a constant, at every noise level of the chain.

    Attributes:
        num_classes: Number K of classes.
        image_shape: Shape (C, H, W) of x_t.
        chain: Noise schedule and length of the chain that it was trained on, or None if unknown.
    """

    num_classes: int
    image_shape: tuple[int, int, int]
    chain: tuple[str, int] | None = None

    @abstractmethod
    def forward(self, x_t: Tensor, train_step: Tensor) -> Tensor:
        """Return the (B, K) logits of (B, C, H, W) x_t at the (B,) train steps, 0 … T − 1."""

    @abstractmethod
    def features(self, x_t: Tensor, train_step: Tensor) -> Tensor:
        """Return the input of the classifier's head, (B, D, h, w) or (B, D)."""

    def pooled(self, x_t: Tensor, train_step: Tensor) -> Tensor:
        """Return the features averaged over positions, (B, D)."""
        found = self.features(x_t, train_step)
        return found.mean((2, 3)) if found.ndim == 4 else found

    def features_shape(self) -> tuple[int, ...]:
        """Return the shape of the features of one image, (D, h, w) or (D,)."""
        with torch.no_grad():
            found = self.features(torch.zeros(1, *self.image_shape), torch.zeros(1, dtype=torch.long))
        return tuple(found.shape[1:])

    def trainable(self) -> list[nn.Parameter]:
        """Return the weights that training changes."""
        return list(self.parameters())

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Return all but the weights, as JSON types; see `from_description`."""


class Classifier(ABC):
    """The source of a classifier. The constructor reads no weights; `load` does."""

    @abstractmethod
    def load(self) -> NoisyClassifier:
        """Read the classifier.

        Raises:
            SGMError: If the file is missing, damaged, not finite, or does not fit its description.
        """


def loaded(classifier: Classifier | NoisyClassifier) -> NoisyClassifier:
    """Return the classifier for guidance: loaded, in evaluation mode, with frozen weights."""
    found = classifier.load() if isinstance(classifier, Classifier) else classifier
    return found.eval().requires_grad_(False)


def check_fits(classifier: NoisyClassifier, process: Process, image_shape: tuple[int, int, int]) -> None:
    """Raise unless a classifier fits a model's images and, if its chain is known, the model's chain."""
    if classifier.image_shape != image_shape:
        raise SGMError(
            f"The classifier must be of the model's images, {image_shape}, got one of "
            f"{classifier.image_shape}; take another."
        )
    if classifier.chain is None:
        return
    if not isinstance(process, DiffusionProcess):
        raise SGMError(f"The classifier must be trained on the model's process, got a {type(process).__name__}; train one.")
    alphas_cumprod = torch.cumprod(1 - make_betas(*classifier.chain), 0)
    same = process.num_train_steps == len(alphas_cumprod)
    # From the process's list: its tables are on the device, and reading them would wait for it.
    own = torch.tensor(process.log_snr_list, dtype=torch.float64).sigmoid()
    if not same or not torch.allclose(alphas_cumprod[process.step_list], own, rtol=1e-3, atol=1e-7):
        name, length = classifier.chain
        raise SGMError(
            f"The classifier must be trained on the model's chain, got one of the {name} chain of {length} steps; train one "
            "with the model's `noise_schedule` and `diffusion_steps`."
        )
