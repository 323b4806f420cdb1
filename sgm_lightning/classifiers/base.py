"""What a classifier of noisy images is, and where one comes from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from sgm_lightning.diffusion import DiffusionProcess, Process, make_betas
from sgm_lightning.errors import SGMError


class NoisyClassifier(nn.Module, ABC):
    """log p(class | x_t, t) up to a constant, at every noise of the chain.

    Attributes:
        num_classes: K.
        image_shape: (C, H, W) of x_t.
        chain: Noise schedule and length of the chain that it was trained on, where that is known.
    """

    num_classes: int
    image_shape: tuple[int, int, int]
    chain: tuple[str, int] | None = None

    @abstractmethod
    def forward(self, x_t: Tensor, train_step: Tensor) -> Tensor:
        """(B, K) logits of (B, C, H, W) x_t at the (B,) train steps, 0 … T − 1."""

    @abstractmethod
    def features(self, x_t: Tensor, train_step: Tensor) -> Tensor:
        """(B, D, h, w) or (B, D): what the classifier's head sees."""

    def pooled(self, x_t: Tensor, train_step: Tensor) -> Tensor:
        """(B, D): the features, averaged over positions."""
        found = self.features(x_t, train_step)
        return found.mean((2, 3)) if found.ndim == 4 else found

    def trainable(self) -> list[nn.Parameter]:
        """The weights that training changes."""
        return list(self.parameters())

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """All but the weights, as what JSON holds; see `from_description`."""


class Classifier(ABC):
    """Where a classifier comes from. Making one reads no weights; `load` does."""

    @abstractmethod
    def load(self) -> NoisyClassifier:
        """Read the classifier.

        Raises:
            SGMError: If the file is missing, damaged, not finite, or does not fit its description.
        """


def loaded(classifier: Classifier | NoisyClassifier) -> NoisyClassifier:
    """The classifier itself, for guidance: in evaluation mode, its weights frozen."""
    found = classifier.load() if isinstance(classifier, Classifier) else classifier
    return found.eval().requires_grad_(False)


def check_fits(classifier: NoisyClassifier, process: Process, image_shape: tuple[int, int, int]) -> None:
    """Raise unless a classifier is for a model's images and, where it knows its own, for the model's chain."""
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
    # The process's own list: its tables are on the device, and reading them would wait for it.
    own = torch.tensor(process.log_snr_list, dtype=torch.float64).sigmoid()
    if not same or not torch.allclose(alphas_cumprod[process.step_list], own, rtol=1e-3, atol=1e-7):
        name, length = classifier.chain
        raise SGMError(
            f"The classifier must be trained on the model's chain, got one of the {name} chain of {length} steps; train one "
            "with the model's `noise_schedule` and `diffusion_steps`."
        )
