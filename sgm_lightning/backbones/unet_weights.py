"""Makes a U-Net of a checkpoint's configuration and weights; no memory is taken that the weights do not account for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DModel
from torch import Tensor

from sgm_lightning.backbones.lora import LoRA
from sgm_lightning.backbones.unet_config import check_count, make_unet
from sgm_lightning.errors import SGMError
from sgm_lightning.files.weights import check_fit, check_weights, load_exactly


def load_unet(
    config: Mapping[str, Any],
    weights: dict[str, Tensor],
    source: str | Path,
    cls: type[UNet2DModel] | None = None,
    lora: LoRA | None = None,
) -> UNet2DModel:
    """Return a network with the weights of a checkpoint, as float32.

    Args:
        config: Arguments of the network, which `check_config` accepts.
        weights: State dict of the network, or of the adapted network.
        source: Name of the checkpoint, for errors.
        cls: Class of the network; default: the one that represents the configuration.
        lora: Adapters that the weights contain, and that are merged into the network.

    Raises:
        SGMError: If no network can be made of the arguments, or the weights are those of another one.
    """
    check_count(config, len(weights), source)
    with torch.device("meta"):  # shapes alone
        shapes = make_unet(config, source, cls)
        if lora is not None:
            _inject(lora, shapes, source)
    check_fit(shapes, weights, source)
    network = make_unet(config, source, cls)
    if lora is None:
        load_exactly(network, weights, source)
    else:
        lora.merge(network, weights)
        check_weights(network.state_dict(), source)  # the scale of the update may be absurd
    return network.float()


def _inject(lora: LoRA, network: UNet2DModel, source: str | Path) -> None:
    try:
        lora.inject(network)
    except SGMError as error:
        raise SGMError(f"The adapters that {source} describes cannot be added: {error}") from None
