"""An untrained feature extractor: random convolutions and a random projection."""

from __future__ import annotations

import itertools
import math

import numpy as np
import torch
from torch import Tensor, nn

from sgm_lightning.features.extractor import FeatureExtractor
from sgm_lightning.features.normalise import Normalise


class RandomConvolutions(FeatureExtractor):
    """Three convolutions of orthogonal random weights, and a random orthonormal projection of their output.

    Without training it contains no class knowledge: distances follow shape and texture, which makes it a second
    opinion besides a classifier's features. Untrained networks separate real from generated images where trained ones do
    not fit the data (Naeem et al. 2020).

    Args:
        channels: Number of channels of the images.
        dim: Number D of features.
        seed: Seed of the weights, which come from NumPy's Philox and are the same everywhere.
        size: Side in pixels to which images are resized.
    """

    def __init__(self, channels: int = 1, dim: int = 32, seed: int = 0, size: int = 28) -> None:
        super().__init__()
        self.name = f"random convolutions ({dim})"
        self.prepare = Normalise(size=size, channels=channels)
        source = np.random.Generator(np.random.Philox(seed))
        widths = (channels, 32, 64, 128)
        layers: list[nn.Module] = []
        for given, width in itertools.pairwise(widths):
            convolution = nn.Conv2d(given, width, 3, stride=2, padding=1, bias=False)
            # √2: ReLU halves the energy.
            weight = 2**0.5 * _orthonormal_rows(source, width, given * 9).view(width, given, 3, 3)
            convolution.weight = nn.Parameter(weight)
            layers += [convolution, nn.ReLU()]
        self.network = nn.Sequential(*layers, nn.Flatten())
        left = 128 * math.ceil(size / 8) ** 2
        self.register_buffer("projection", _orthonormal_rows(source, dim, left).T.contiguous())
        self.eval().requires_grad_(False)

    def features(self, x: Tensor) -> Tensor:
        found: Tensor = self.network(x) @ self.projection
        return found


def _orthonormal_rows(source: np.random.Generator, rows: int, columns: int) -> Tensor:
    """Return a random matrix with orthonormal rows, or columns if it is tall."""
    tall = rows > columns
    q, r = np.linalg.qr(source.standard_normal((max(rows, columns), min(rows, columns))))
    q = q * np.sign(np.diag(r))
    return torch.from_numpy(q if tall else q.T).float().contiguous()
