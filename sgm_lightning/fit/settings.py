"""The part of a training's configuration that must stay as it is when the training is resumed."""

from __future__ import annotations

from typing import Any

from sgm_lightning.run.settings import by_bytes, plain, without

# These may change: rates and what only costs or measures, where the pictures are, and how a step's pictures are shared out.
# The trainer's settings may change, too.
_FREE_OF_MODEL = {
    *("optimizer", "warmup_steps", "lr_schedule"),
    *("compile", "gradient_checkpointing", "nelbo_images", "nelbo_spacing"),
}
_FREE_OF_DATA = {*("batch_size", "num_workers", "cache", "max_broken", "held_out_limit"), *("path", "root")}


def training_settings(config: Any) -> dict[str, Any]:
    """Return the settings that a resumed training must repeat, as JSON types; files count by their bytes.

    Args:
        config: Whole configuration of `fit` or `fit_classifier`, as its parser resolves it.

    Raises:
        SGMError: If a number among the settings is NaN.
    """
    given = {key: plain(config[key], key) for key in ("model", "data", "average")}
    return {
        "model": by_bytes({key: value for key, value in given["model"].items() if key not in _FREE_OF_MODEL}),
        "data": by_bytes(without(given["data"], _FREE_OF_DATA)),
        "average": given["average"],
    }
