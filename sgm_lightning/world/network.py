"""The network of the reader: from a picture to the logits of every factor's values, and the pose."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

from sgm_lightning.world.tables import FACTORS

SIDE = 32  # pixels of a picture that the network sees
_WIDTHS = (32, 64, 128, 256)
_BLOCKS = (1, 2, 2, 2)
# Mean and scale of side, angle (degrees), x and y, so that the network's four numbers are about 1 in size.
_POSE = ((0.8, 0.0, 0.5, 0.5), (0.09, 8.0, 0.06, 0.06))


class Read(NamedTuple):
    """Output of the network for B pictures.

    Attributes:
        logits: Logits of the values of every factor, (B, K) float32 by the factor's name.
        pose: Side, angle in degrees, x and y of the emoji, (B, 4) float32, as in `Scenes`.
        features: Features before the last layer, (B, D) float32.
    """

    logits: dict[str, Tensor]
    pose: Tensor
    features: Tensor


class ReaderNetwork(nn.Module):
    """A residual network (He et al. 2016; group normalisation) with a head for every factor and one for the pose."""

    pose_mean: Tensor
    pose_scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        norm = partial(nn.GroupNorm, 8)
        layers: list[nn.Module] = [nn.Conv2d(3, _WIDTHS[0], 3, padding=1, bias=False), norm(_WIDTHS[0]), nn.ReLU()]
        width = _WIDTHS[0]
        for number, (wider, blocks) in enumerate(zip(_WIDTHS, _BLOCKS, strict=True)):
            for block in range(blocks):
                stride = 2 if number and not block else 1
                shortcut = None
                if stride > 1:
                    shortcut = nn.Sequential(nn.Conv2d(width, wider, 1, stride, bias=False), norm(wider))
                layers.append(BasicBlock(width, wider, stride, shortcut, norm_layer=norm))
                width = wider
        # Where things are must not be averaged away: the 4 × 4 places stay apart.
        layers += [nn.Conv2d(width, 64, 1), nn.ReLU(), nn.Flatten(), nn.Linear(64 * (SIDE // 8) ** 2, 256), nn.ReLU()]
        self.trunk = nn.Sequential(*layers)
        self.heads = nn.ModuleDict({factor: nn.Linear(256, len(values)) for factor, values in FACTORS.items()})
        self.pose = nn.Linear(256, 4)
        for name, values in zip(("pose_mean", "pose_scale"), _POSE, strict=True):
            self.register_buffer(name, torch.tensor(values), persistent=False)

    def forward(self, x: Tensor) -> Read:
        """Read (B, 3, 32, 32) float32 pictures in [−1, 1]."""
        features = self.trunk(x)
        logits = {factor: head(features).float() for factor, head in self.heads.items()}
        return Read(logits, self.pose_mean + self.pose_scale * self.pose(features).float(), features.float())
