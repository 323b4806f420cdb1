"""Pretrained networks and where they come from. The network is always `diffusers.UNet2DModel`."""

from sgm_lightning.backbones.adm import ADMCheckpoint
from sgm_lightning.backbones.adm_flags import ADMFlags
from sgm_lightning.backbones.base import Backbone, Checkpoint
from sgm_lightning.backbones.hub import DiffusersCheckpoint, save_diffusers

__all__ = ["ADMCheckpoint", "ADMFlags", "Backbone", "Checkpoint", "DiffusersCheckpoint", "save_diffusers"]
