"""Chooses the averaged (EMA) or the current weights in a checkpoint of `fit`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from sgm_lightning.errors import SGMError
from sgm_lightning.files.values import is_whole, one_line, shown

Which = Literal["auto", "ema", "current"]
_MOST = 10**12  # updates, which nobody makes


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
        SGMError: If averaged weights are asked for and there are none, or the content is not that of a checkpoint.
    """
    updates = _updates(content.get("averaging_state"), file)
    if which == "ema" and not updates:
        raise SGMError(
            f"{file} holds no averaged weights, the average was never updated; train on, or set `weights: current`."
        )
    averaged = which != "current" and updates > 0
    # While it averages, Lightning keeps the average as the state, and the current weights beside it.
    key = "state_dict" if averaged or "current_model_state" not in content else "current_model_state"
    state = content.get(key)
    if not isinstance(state, dict):
        raise SGMError(f"{key} of {file} must map names to tensors, got {shown(state)}; copy or fetch the checkpoint again.")
    weights = {}
    for name, value in state.items():
        if not isinstance(name, str) or not name.startswith(prefix):
            continue
        if not isinstance(value, Tensor):
            raise SGMError(
                f"{one_line(name)} of {file} must be a tensor, got {shown(value)}; copy or fetch the checkpoint again."
            )
        weights[name.removeprefix(prefix)] = value
    return weights, updates if averaged else 0


def _updates(averaging: Any, file: Path) -> int:
    """Return the number of updates of the average, 0 without one; Lightning keeps it as a tensor of one number."""
    if averaging is None:
        return 0
    found = averaging.get("n_averaged") if isinstance(averaging, dict) else averaging
    if isinstance(found, Tensor) and found.numel() == 1 and found.device.type == "cpu":
        found = found.item()
    if not isinstance(averaging, dict) or not isinstance(found, int) or not is_whole(found, _MOST, 0):
        raise SGMError(
            f"averaging_state of {file} must hold n_averaged, a whole number from 0 on, got {shown(found)}; copy or fetch "
            "the checkpoint again."
        )
    return found
