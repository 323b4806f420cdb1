"""What a classifier of noisy images is, and where one comes from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn


class NoisyClassifier(nn.Module, ABC):
    """log p(class | x_t, t) up to a constant, at every noise of the chain.

    Attributes:
        num_classes: K.
        image_shape: (C, H, W) of x_t.
    """

    num_classes: int
    image_shape: tuple[int, int, int]

    @abstractmethod
    def forward(self, x_t: Tensor, train_step: Tensor) -> Tensor:
        """(B, K) logits of (B, C, H, W) x_t at the (B,) train steps, 0 … T − 1."""

    @abstractmethod
    def features(self, x_t: Tensor, train_step: Tensor) -> Tensor:
        """(B, D, h, w) or (B, D): what the classifier's head sees."""

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
