"""Checkpoints of `sgm-lightning fit`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sgm_lightning.backbones.base import Checkpoint
from sgm_lightning.backbones.description import KEY, describe, read_description
from sgm_lightning.backbones.unet_backbone import UNetBackbone
from sgm_lightning.backbones.unet_weights import load_unet
from sgm_lightning.errors import SGMError
from sgm_lightning.files.averaged import Which, chosen_weights
from sgm_lightning.files.locate import locate
from sgm_lightning.files.values import is_whole, shown
from sgm_lightning.files.weights import check_weights, load_content

_PREFIX = "denoiser.network."  # prefix of the network's weights in the training module
_MOST_STEPS = 10**12


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
        text = read_description(content, file)
        step = content.get("global_step")
        if not is_whole(step, _MOST_STEPS, 0):
            raise SGMError(
                f"global_step of {file} must be a whole number from 0 on, got {shown(step)}; copy or fetch the checkpoint "
                "again."
            )
        weights, updates = chosen_weights(content, self.weights, _PREFIX, file)
        check_weights(weights, file)
        network = load_unet(text.network, weights, file, lora=text.lora)
        which = f"averaged weights (EMA of {updates} steps)" if updates else "current weights, not averaged"
        print(f"Loaded {file}, step {step}: {which}.")
        return UNetBackbone(network, text.betas, text.prediction, text.variance, text.schedule)


def training_state(backbone: UNetBackbone, lora: dict[str, Any] | None, step_sampler: object) -> dict[str, Any]:
    """Return the entries that a training checkpoint must hold besides the weights, in plain types."""
    return {KEY: {"backbone": describe(backbone), "lora": lora, "step_sampler": type(step_sampler).__name__}}


def check_same(content: dict[str, Any], ours: dict[str, Any]) -> None:
    """Raise unless a checkpoint has the network, adapters and step sampler of `ours`, a `training_state`."""
    theirs, here = _mapping(content.get(KEY)), ours[KEY]  # checkpoints of other programs have no such entry
    backbone = _mapping(theirs.get("backbone"))
    differing = [key for key in here["backbone"] if backbone.get(key) != here["backbone"][key]]
    differing += [key for key in ("lora", "step_sampler") if theirs.get(key) != here[key]]
    if differing:
        raise SGMError(
            f"The run folder holds a training of another model (its {', '.join(differing)} differ), which cannot be "
            "resumed; choose another run_dir."
        )


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
