"""ADM, improved-diffusion and sg-minority checkpoints."""

from __future__ import annotations

from pathlib import Path

import torch

from sgm_lightning.backbones.adm_flags import ADMFlags, unet_from_flags
from sgm_lightning.backbones.adm_keys import from_adm
from sgm_lightning.backbones.base import Backbone, Checkpoint
from sgm_lightning.diffusion import make_betas
from sgm_lightning.files.locate import locate
from sgm_lightning.files.weights import check_weights, load_tensors, require_file


class ADMCheckpoint(Checkpoint):
    """A `.pt` state dict in ADM's layout with the flags of its release.

    Args:
        path: The file.
        flags: Its flags.
        url: Where it can be had; named when the file is missing.

    Raises:
        SGMError: If there is no such file.
    """

    def __init__(self, path: str, flags: ADMFlags, url: str | None = None) -> None:
        self.path, self.flags = Path(locate(path)), flags
        source = f"fetch it from {url} and" if url else "check the path or"
        # Looked for at once: before a distance downloads its own weights.
        require_file(self.path, f"{source} set `model.backbone.init_args.path`")

    def load(self) -> Backbone:
        weights = load_tensors(self.path)
        check_weights(weights, self.path)
        with torch.device("meta"):
            network = unet_from_flags(self.flags)
        converted = from_adm(weights, network, self.flags.use_new_attention_order)
        network = unet_from_flags(self.flags)
        network.load_state_dict(converted)
        return backbone_from_flags(network, self.flags)


def backbone_from_flags(network: torch.nn.Module, flags: ADMFlags) -> Backbone:
    """The network with the process that the flags describe."""
    return Backbone(
        network=network,
        betas=make_betas(flags.noise_schedule, flags.diffusion_steps),
        prediction="sample" if flags.predict_xstart else "epsilon",
        variance="learned_range" if flags.learn_sigma else "fixed_small" if flags.sigma_small else "fixed_large",
        schedule=flags.noise_schedule,
    )
