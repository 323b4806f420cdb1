"""Checkpoints of `sgm-lightning fit`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from sgm_lightning.backbones.base import Checkpoint
from sgm_lightning.backbones.lora import LoRA
from sgm_lightning.backbones.rebuild import describe, from_description
from sgm_lightning.backbones.unet_backbone import UNetBackbone
from sgm_lightning.errors import SGMError
from sgm_lightning.files.averaged import Which, chosen_weights
from sgm_lightning.files.locate import locate
from sgm_lightning.files.weights import check_weights, load_content

_KEY = "sgm_lightning"  # key of this package's part of a Lightning checkpoint
_PREFIX = "denoiser.network."  # prefix of the network's weights in the training module


class TrainedCheckpoint(Checkpoint):
    """A Lightning `.ckpt` of `sgm-lightning fit`; by default its averaged weights (EMA).

    Args:
        path: Path of the file, or of the run folder that holds it.
        weights: Weights to load. `auto`: averaged if the training averaged, else the current ones; `ema`; `current`.
    """

    def __init__(self, path: str, weights: Which = "auto") -> None:
        self.path, self.weights = Path(locate(path)), weights

    def load(self) -> UNetBackbone:
        file = self.path / "last.ckpt" if self.path.is_dir() else self.path
        content = load_content(file, "check the path, or train one with `sgm-lightning fit`")
        text = content.get(_KEY)
        if not isinstance(text, dict) or "state_dict" not in content:
            raise SGMError(f"{file} is no checkpoint of `sgm-lightning fit`; use ADMCheckpoint or DiffusersCheckpoint.")
        weights, updates = chosen_weights(content, self.weights, _PREFIX, file)
        check_weights(weights, file)
        backbone = from_description(text["backbone"])
        _load(backbone, weights, text, file)
        which = f"averaged weights (EMA of {updates} steps)" if updates else "current weights, not averaged"
        print(f"Loaded {file}, step {content['global_step']}: {which}.")
        return backbone


def training_state(backbone: UNetBackbone, lora: dict[str, Any] | None, step_sampler: object) -> dict[str, Any]:
    """Return the entries that a training checkpoint must hold besides the weights, in plain types."""
    return {_KEY: {"backbone": describe(backbone), "lora": lora, "step_sampler": type(step_sampler).__name__}}


def check_same(content: dict[str, Any], ours: dict[str, Any]) -> None:
    """Raise unless a checkpoint has the network, adapters and step sampler of `ours`, a `training_state`."""
    theirs, here = content.get(_KEY, {}), ours[_KEY]  # checkpoints of other programs have no such entry
    differing = [key for key in here["backbone"] if theirs.get("backbone", {}).get(key) != here["backbone"][key]]
    differing += [key for key in ("lora", "step_sampler") if theirs.get(key) != here[key]]
    if differing:
        raise SGMError(
            f"The run folder holds a training of another model (its {', '.join(differing)} differ), which cannot be "
            "resumed; choose another run_dir."
        )


def _load(backbone: UNetBackbone, weights: dict[str, Tensor], text: dict[str, Any], file: Path) -> None:
    if text.get("lora"):
        LoRA(**text["lora"]).merge(backbone.network, weights)
        return
    try:
        backbone.network.load_state_dict(weights)
    except RuntimeError as error:
        raise SGMError(f"{file} does not fit its own description ({str(error)[:120]}); it is damaged.") from None
