"""The description of a backbone as plain data, which a training writes into its checkpoints, and its reading."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from diffusers import UNet2DModel
from torch import Tensor

from sgm_lightning.backbones.lora import LoRA
from sgm_lightning.backbones.unet_backbone import UNetBackbone
from sgm_lightning.backbones.unet_config import check_channels, check_config
from sgm_lightning.diffusion import Prediction, Variance, make_betas
from sgm_lightning.diffusion.schedule import LONGEST, SCHEDULES, ends_of, is_list_of_betas
from sgm_lightning.errors import SGMError
from sgm_lightning.files.values import is_number, is_whole, shown

KEY = "sgm_lightning"  # key of this package's part of a Lightning checkpoint
_LARGEST_RANK = 16_384
_EXPLICIT = "explicit"


@dataclass(frozen=True)
class Description:
    """All but the weights of a backbone that was trained.

    Attributes:
        network: Arguments of the network.
        betas: Betas of the training chain, (T,) float64.
        prediction: Quantity that the network predicts.
        variance: Reverse variance, as the network (or its training) sets it.
        schedule: Name of the noise schedule.
        lora: Adapters that were trained in place of the weights, or None.
    """

    network: dict[str, Any]
    betas: Tensor
    prediction: Prediction
    variance: Variance
    schedule: str
    lora: LoRA | None


def describe(backbone: UNetBackbone) -> dict[str, Any]:
    """Return all but the weights of a backbone, as JSON types."""
    return {
        "network": json.loads(json.dumps(network_arguments(backbone.network))),
        "betas": backbone.betas.tolist(),
        "prediction": backbone.prediction,
        "variance": backbone.variance,
        "schedule": backbone.schedule,
    }


def network_arguments(network: UNet2DModel) -> dict[str, Any]:
    """Return the arguments of a network; diffusers adds the names with an underscore."""
    return {key: value for key, value in network.config.items() if not key.startswith("_")}


def read_description(content: dict[str, Any], file: Path) -> Description:
    """Return the description in a checkpoint of `fit`.

    Args:
        content: Content of the checkpoint.
        file: File of the checkpoint, for errors.

    Raises:
        SGMError: If the checkpoint is none of `fit`, or its description has a value that cannot be meant.
    """
    text = content.get(KEY)
    if not isinstance(text, dict) or "state_dict" not in content:
        raise SGMError(f"{file} is no checkpoint of `sgm-lightning fit`; use ADMCheckpoint or DiffusersCheckpoint.")
    backbone = text.get("backbone")
    keys = {"network", "betas", "prediction", "variance", "schedule"}
    if not isinstance(backbone, dict) or set(backbone) != keys:
        given = f"the keys {shown(sorted(map(str, backbone)))}" if isinstance(backbone, dict) else shown(backbone)
        raise _must_be("The backbone", file, f"a mapping with the keys {', '.join(sorted(keys))}", given)
    for key, known in (
        ("prediction", get_args(Prediction)),
        ("variance", get_args(Variance)),
        ("schedule", (*SCHEDULES, _EXPLICIT)),
    ):
        if not isinstance(backbone[key], str) or backbone[key] not in known:
            raise _must_be(f"{key} of the backbone", file, f"one of {', '.join(known)}", shown(backbone[key]))
    check_config(backbone["network"], file)
    check_channels(backbone["network"], backbone["variance"], file)
    return Description(
        backbone["network"],
        _betas(backbone["betas"], backbone["schedule"], file),
        backbone["prediction"],
        backbone["variance"],
        backbone["schedule"],
        _lora(text.get("lora"), file),
    )


def _betas(given: Any, schedule: str, file: Path) -> Tensor:
    """Return the betas, which are those of the schedule that is named, since an export writes the name alone."""
    if not is_list_of_betas(given):
        raise _must_be("betas of the backbone", file, f"a list of 1 to {LONGEST} numbers in (0, 1]", shown(given))
    betas = make_betas(given)
    if schedule != _EXPLICIT and ends_of(schedule, betas) is None:
        raise _must_be("betas of the backbone", file, f"those of its schedule, {schedule}", shown(given))
    return betas


def _lora(given: Any, file: Path) -> LoRA | None:
    """Return the adapters that a checkpoint describes, if there are any."""
    if given is None:
        return None
    if not isinstance(given, dict) or set(given) != {"rank", "alpha", "layers"}:
        raise _must_be("lora", file, "null, or a mapping of rank, alpha and layers", shown(given))
    if not is_whole(given["rank"], _LARGEST_RANK):
        raise _must_be("rank of lora", file, f"a whole number from 1 to {_LARGEST_RANK}", shown(given["rank"]))
    if not is_number(given["alpha"]) or given["alpha"] <= 0:
        raise _must_be("alpha of lora", file, "a positive number", shown(given["alpha"]))
    layers = given["layers"]
    if not isinstance(layers, list) or not layers or not all(isinstance(layer, str) for layer in layers):
        raise _must_be("layers of lora", file, "a list of ends of names", shown(layers))
    return LoRA(**given)


def _must_be(what: str, file: Path, rule: str, given: str) -> SGMError:
    return SGMError(f"{what} in {file} must be {rule}, got {given}; copy or fetch the checkpoint again.")
