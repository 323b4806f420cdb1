"""Chooses the averaged (EMA) or the current weights in a checkpoint of `fit`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from sgm_lightning.errors import SGMError

Which = Literal["auto", "ema", "current"]


def chosen_weights(content: dict[str, Any], which: Which, prefix: str, file: Path) -> tuple[dict[str, Tensor], int]:
    """Return the weights to continue with.

    Args:
        content: Content of a Lightning checkpoint, whose training may have averaged its weights.
        which: `auto` takes the averaged weights if the average was updated, else the current ones; `ema` and `current` take
            only those.
        prefix: Prefix of the names of the wanted weights; it is removed from the names.
        file: File of the checkpoint, named in the error.

    Returns:
        The weights by name, and the number of updates of their average, which is 0 for current weights.

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
