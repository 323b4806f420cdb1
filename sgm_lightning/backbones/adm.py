"""ADM, improved-diffusion and sg-minority checkpoints."""

from __future__ import annotations

from pathlib import Path

import torch

from sgm_lightning.backbones.adm_flags import ADMFlags, unet_from_flags
from sgm_lightning.backbones.adm_keys import from_adm
from sgm_lightning.backbones.base import Checkpoint
from sgm_lightning.backbones.unet_backbone import UNetBackbone
from sgm_lightning.diffusion import make_betas
from sgm_lightning.files.locate import locate
from sgm_lightning.files.weights import load_finite, require_release


class ADMCheckpoint(Checkpoint):
    """A `.pt` state dict in ADM's layout with the flags of its release.

    Args:
        path: Path of the `.pt` file.
        flags: Flags of the release, for the network and its process.
        url: Address of the file; the error gives it when the file is missing.

    Raises:
        SGMError: If there is no such file.
    """

    def __init__(self, path: str, flags: ADMFlags, url: str | None = None) -> None:
        self.path, self.flags = Path(locate(path)), flags
        # Checked at once, before a distance downloads its weights.
        require_release(self.path, url, "`model.backbone.init_args.path`")

    def load(self) -> UNetBackbone:
        weights = load_finite(self.path)
        with torch.device("meta"):
            network = unet_from_flags(self.flags)
        converted = from_adm(weights, network, self.flags.use_new_attention_order)
        network = unet_from_flags(self.flags)
        network.load_state_dict(converted)
        return backbone_from_flags(network, self.flags)


def backbone_from_flags(network: torch.nn.Module, flags: ADMFlags) -> UNetBackbone:
    """Return the backbone of the network with the process that the flags describe."""
    return UNetBackbone(
        network=network,
        betas=make_betas(flags.noise_schedule, flags.diffusion_steps),
        prediction="sample" if flags.predict_xstart else "epsilon",
        variance="learned_range" if flags.learn_sigma else "fixed_small" if flags.sigma_small else "fixed_large",
        schedule=flags.noise_schedule,
    )
