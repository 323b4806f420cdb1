"""Untrained networks."""

from __future__ import annotations

import torch

from sgm_lightning.backbones.adm import backbone_from_flags
from sgm_lightning.backbones.adm_flags import ADMFlags, unet_from_flags
from sgm_lightning.backbones.base import Checkpoint
from sgm_lightning.backbones.unet_backbone import UNetBackbone
from sgm_lightning.diffusion import Prediction


class NewNetwork(Checkpoint):
    """A network with random weights, for training from scratch. The last layer starts at zero, as in ADM.

    Args:
        flags: Flags of the architecture and the process.
        prediction: Quantity that the network is to predict; default the noise, or x_0 with `flags.predict_xstart`.
        seed: Seed of the random weights.
    """

    def __init__(self, flags: ADMFlags, prediction: Prediction | None = None, seed: int = 0) -> None:
        self.flags, self.prediction, self.seed = flags, prediction, seed

    def load(self) -> UNetBackbone:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            network = unet_from_flags(self.flags)
        torch.nn.init.zeros_(network.conv_out.weight)
        torch.nn.init.zeros_(network.conv_out.bias)
        backbone = backbone_from_flags(network, self.flags)
        backbone.prediction = self.prediction or backbone.prediction
        return backbone
