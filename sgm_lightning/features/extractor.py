"""The interface of a feature extractor, and an extractor made of any module."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from sgm_lightning.features.normalise import Normalise
from sgm_lightning.files.digest import weights_sha256
from sgm_lightning.files.locate import locate
from sgm_lightning.files.weights import load_exactly, load_finite
from sgm_lightning.images import Images


class FeatureExtractor(nn.Module, ABC):
    """Maps (B, C, H, W) uint8 images to (B, D) float32 features; frozen, in evaluation mode.

    Attributes:
        name: Name of the feature space in reports.
        prepare: Preparation of the images: channels, size and normalisation.
    """

    name: str
    prepare: Normalise

    @abstractmethod
    def features(self, x: Tensor) -> Tensor:
        """Return the (B, D) features of prepared images."""

    def forward(self, images: Tensor) -> Tensor:
        self.eval()
        with torch.no_grad():
            found: Tensor = self.features(self.prepare(images)).float()
        return found

    def of_floats(self, x: Tensor) -> Tensor:
        """Return the (B, D) features of (B, C, H, W) float32 in [−1, 1], differentiable, for a distance in guidance."""
        return self.features(self.prepare.of_floats(x))

    def of(self, images: Images, batch_size: int = 256) -> Tensor:
        """Return the (N, D) features of a whole set, on the CPU."""
        device = next((parameter.device for parameter in self.parameters()), torch.device("cpu"))
        return torch.cat([self(batch.to(device)).cpu() for _, batch in images.batches(batch_size)])

    def describe(self) -> dict[str, Any]:
        """Return the description that reports record."""
        return {"name": self.name, "class": type(self).__name__, "prepare": self.prepare.describe()}

    def fingerprint(self) -> str:
        """Return the SHA-256 of the weights and the preparation. Equal fingerprints mean equal features."""
        return weights_sha256(self.state_dict(), json.dumps(self.describe(), sort_keys=True).encode())


class ModuleFeatures(FeatureExtractor):
    """A feature extractor made of any network.

    Args:
        module: Network that maps prepared (B, C, H, W) float32 images to (B, D), or to (B, D, …), which is flattened.
        prepare: Preparation of the images: channels, size and normalisation.
        weights: File with a state dict to load (`.safetensors`, or `.pt` with tensors only).
        name: Name of the feature space in reports; default the module's class.
    """

    def __init__(
        self, module: nn.Module, prepare: Normalise | None = None, weights: str | None = None, name: str | None = None
    ) -> None:
        super().__init__()
        self.module = module
        self.prepare = prepare or Normalise()
        self.name = name or type(module).__name__
        if weights is not None:
            load_weights(module, weights)
        self.eval().requires_grad_(False)

    def features(self, x: Tensor) -> Tensor:
        found: Tensor = self.module(x)
        return found.flatten(1)


def load_weights(module: nn.Module, path: str) -> None:
    """Load the weights of a network from a file.

    Raises:
        SGMError: If the file does not hold the network's weights.
    """
    path = locate(path)
    load_exactly(module, load_finite(path), path)
