"""Weights in a checkpoint of our training: the average (EMA) or the current ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from sgm_lightning.errors import SGMError

Which = Literal["auto", "ema", "current"]


def chosen_weights(content: dict[str, Any], which: Which, prefix: str, file: Path) -> tuple[dict[str, Tensor], int]:
    """The weights to go on with.

    Args:
        content: A Lightning checkpoint, whose training may have averaged its weights.
        which: `auto`: the averaged weights if the average was updated, else the current ones; `ema`; `current`.
        prefix: Start of the names of the weights that are wanted; it is cut off.
        file: Where the checkpoint is from, for the error.

    Returns:
        The weights by name, and the number of updates of their average: 0 for current ones.

    Raises:
        SGMError: If averaged weights are asked for and there are none.
    """
    averaging = content.get("averaging_state")
    updates = 0 if averaging is None else int(averaging["n_averaged"])
    if which == "ema" and not updates:
        raise SGMError(
            f"{file} holds no averaged weights, the average was never updated; train on, or set `weights: current`."
        )
    averaged = which != "current" and updates > 0
    # While it averages, Lightning keeps the average as the state, and the current weights beside it.
    state = content["state_dict"] if averaged else content.get("current_model_state", content["state_dict"])
    weights = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    return weights, updates if averaged else 0
