"""Pretrained networks and their checkpoints. All checkpoints but `NetworkFrom` load a `diffusers.UNet2DModel`."""

from sgm_lightning.backbones.adm import ADMCheckpoint
from sgm_lightning.backbones.adm_flags import ADMFlags
from sgm_lightning.backbones.base import Backbone, Checkpoint
from sgm_lightning.backbones.hub import DiffusersCheckpoint, save_diffusers
from sgm_lightning.backbones.network import NetworkBackbone, NetworkFrom
from sgm_lightning.backbones.new import NewNetwork
from sgm_lightning.backbones.trained import TrainedCheckpoint
from sgm_lightning.backbones.unet_backbone import UNetBackbone

__all__ = [
    "ADMCheckpoint",
    "ADMFlags",
    "Backbone",
    "Checkpoint",
    "DiffusersCheckpoint",
    "NetworkBackbone",
    "NetworkFrom",
    "NewNetwork",
    "TrainedCheckpoint",
    "UNetBackbone",
    "save_diffusers",
]
