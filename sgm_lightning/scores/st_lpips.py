"""A perceptual distance whose weights are installed as a package."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from sgm_lightning.scores.shift_tolerant import ShiftTolerantNetwork


class STLPIPS(nn.Module):
    """Shift-tolerant learned perceptual image patch similarity (Ghildyal & Liu, ECCV 2022), `stlpips-pytorch` 0.0.2.

    Σ_l mean over pixels of ‖√w_l ⊙ (u_l(a) − u_l(b))‖², where u_l are the activations of layer l, of unit length in every
    pixel, and w_l the learned weights of its channels. It is the choice in place of `LPIPS` where trunks cannot be
    downloaded: the package brings all weights. One channel is repeated to three; nothing is resized.

    Args:
        net: Name of the trunk. `alex` takes images from 21 × 21 pixels on, `vgg` from 18 × 18.

    Raises:
        SGMError: If the package is not installed.
    """

    def __init__(self, net: Literal["alex", "vgg"] = "alex") -> None:
        super().__init__()
        self.network = ShiftTolerantNetwork(net)
        self._net = net

    @property
    def name(self) -> str:
        return f"ST-LPIPS-{self._net}"

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        # Layer by layer, so that without gradients no more than one map of each image is kept.
        pairs = zip(self.network.maps(a), self.network.maps(b), strict=True)
        return torch.stack([(u - v).square().sum(1).mean((1, 2)) for u, v in pairs]).sum(0)
