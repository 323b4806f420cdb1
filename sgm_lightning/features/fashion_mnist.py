"""A small classifier of Fashion-MNIST, the feature extractor for the default model."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from sgm_lightning.features.extractor import FeatureExtractor, load_weights
from sgm_lightning.features.normalise import Normalise


class SmallClassifier(nn.Module):
    """Four 3 × 3 convolutions with batch normalisation, mean pooling, and two linear layers; 28 × 28 gray images.

    Args:
        dim: Width of the layer before the last, which gives the features.
        num_classes: Number of classes.
    """

    def __init__(self, dim: int = 32, num_classes: int = 10) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for given, width, stride in ((1, 24, 1), (24, 48, 2), (48, 96, 2), (96, 96, 1)):
            layers += [nn.Conv2d(given, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        self.trunk = nn.Sequential(*layers)
        self.embed = nn.Linear(96, dim)
        self.head = nn.Linear(dim, num_classes)

    def embedding(self, x: Tensor) -> Tensor:
        """Return the features, (B, dim)."""
        found: Tensor = self.embed(self.trunk(x).mean((2, 3)))
        return found

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(functional.relu(self.embedding(x)))
        return logits


class FashionMNISTClassifier(FeatureExtractor):
    """Features of a classifier trained on half A of Fashion-MNIST's training images, before the last ReLU.

    Args:
        weights: File with the state dict of a `SmallClassifier`.
    """

    def __init__(self, weights: str = "checkpoints/fashion_mnist_features/classifier.safetensors") -> None:
        super().__init__()
        self.name = "Fashion-MNIST classifier"
        self.prepare = Normalise(channels=1)
        self.network = SmallClassifier()
        load_weights(self.network, weights)
        self.eval().requires_grad_(False)

    def features(self, x: Tensor) -> Tensor:
        return self.network.embedding(x)

    def classes(self, images: Tensor) -> Tensor:
        """Return the (B, 10) class probabilities of uint8 images."""
        with torch.no_grad():
            logits: Tensor = self.network(self.prepare(images))
        return logits.softmax(1)
