"""A small classifier on the features of a large one (Um, Lee & Ye, ICLR 2024)."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from sgm_lightning.classifiers.base import Classifier, NoisyClassifier
from sgm_lightning.errors import SGMError


class StackedNetwork(NoisyClassifier):
    """Computes head(extractor.features(x_t, t), t). Training changes the head only.

    Args:
        extractor: Classifier whose features are taken; frozen.
        head: Classifier that takes the features as its images.

    Raises:
        SGMError: If the features do not fit the head.
    """

    def __init__(self, extractor: NoisyClassifier, head: NoisyClassifier) -> None:
        super().__init__()
        self.extractor, self.head = extractor.eval().requires_grad_(False), head
        self.num_classes, self.image_shape = head.num_classes, extractor.image_shape
        found = extractor.features_shape()
        if found != head.image_shape:
            raise SGMError(
                f"The head takes {head.image_shape}, got features of {found}; set its flags' in_channels and image_size to "
                "those."
            )

    def train(self, mode: bool = True) -> StackedNetwork:
        """Set the mode of the head; the extractor stays in evaluation mode."""
        super().train(mode)
        self.extractor.eval()
        return self

    def forward(self, x_t: Tensor, train_step: Tensor) -> Tensor:
        logits: Tensor = self.head(self.extractor.features(x_t, train_step), train_step)
        return logits

    def features(self, x_t: Tensor, train_step: Tensor) -> Tensor:
        return self.head.features(self.extractor.features(x_t, train_step), train_step)

    def features_shape(self) -> tuple[int, ...]:
        return self.head.features_shape()

    def trainable(self) -> list[nn.Parameter]:
        return self.head.trainable()

    def describe(self) -> dict[str, Any]:
        return {"kind": "stacked", "extractor": self.extractor.describe(), "head": self.head.describe()}


class StackedClassifier(Classifier):
    """A head on the features of a frozen classifier, as in the minority-guidance release.

    Args:
        extractor: Frozen classifier; in the release, ADM's of ImageNet.
        head: Small classifier on its features; a `NewClassifier` to train it.
    """

    def __init__(self, extractor: Classifier, head: Classifier) -> None:
        self.extractor, self.head = extractor, head

    def load(self) -> NoisyClassifier:
        return StackedNetwork(self.extractor.load(), self.head.load())
