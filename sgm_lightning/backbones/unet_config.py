"""Checks of a `UNet2DModel`'s configuration before a network is made of it: what it may say, and what can be drawn from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sgm_lightning.backbones.adm_flags import check_size
from sgm_lightning.backbones.values import is_number, is_whole
from sgm_lightning.diffusion import Variance
from sgm_lightning.errors import SGMError

_LARGEST = 16_384


def check_config(config: Mapping[str, Any], source: str) -> None:
    """Raise unless a network of a size that can be meant, with an image side and classes by number, can be made of it.

    Args:
        config: Content of the network's `config.json`.
        source: Name of the checkpoint, for errors.
    """
    name = config.get("_class_name", "UNet2DModel")
    if name not in ("UNet2DModel", "ADMUNet2DModel"):
        raise SGMError(f"The network of {source} must be a UNet2DModel, got {name}; use `NetworkFrom` for another class.")
    levels = config.get("block_out_channels", (224, 448, 672, 896))
    if not isinstance(levels, (list, tuple)) or not levels or not all(is_whole(width, _LARGEST) for width in levels):
        raise SGMError(
            f"block_out_channels of {source} must be a list of whole numbers from 1 to {_LARGEST}, got {str(levels)[:60]}."
        )
    for key, default in (("in_channels", 3), ("out_channels", 3), ("layers_per_block", 2), ("norm_num_groups", 32)):
        value = config.get(key, default)
        if not is_whole(value, _LARGEST):
            raise SGMError(f"{key} of {source} must be a whole number from 1 to {_LARGEST}, got {str(value)[:60]}.")
    for key in ("norm_eps", "freq_shift", "dropout", "mid_block_scale_factor", "timestep_scale"):
        value = config.get(key, 1)
        if not is_number(value):
            raise SGMError(f"{key} of {source} must be a number, got {str(value)[:60]}.")
    if config.get("class_embed_type") is not None:
        raise SGMError(
            f"class_embed_type of {source} must be null, with classes by number (num_class_embeds), got "
            f"{config['class_embed_type']!r}; use `NetworkFrom` for a network with other conditions."
        )
    classes = config.get("num_class_embeds")
    if classes is not None and not (isinstance(classes, int) and 1 <= classes <= 10_000_000):
        raise SGMError(f"num_class_embeds of {source} must be null or a whole number from 1 on, got {str(classes)[:60]}.")
    for side in _sides(config.get("sample_size"), source):
        check_size(side, len(levels))


def check_channels(config: Mapping[str, Any], variance: Variance, source: str) -> None:
    """Raise unless the network's channels are those of images under the reverse variance that the scheduler names."""
    channels, outputs = config["in_channels"], config["out_channels"]
    each = 2 if variance == "learned_range" else 1
    if outputs % each or channels not in (outputs // each, 2 * (outputs // each)):
        rule = "as many channels out as in" if each == 1 else "twice as many channels out as in, for the learned variance,"
        raise SGMError(
            f"With the scheduler's variance_type ({variance}) the network of {source} must have {rule} (or half of the "
            f"input is a low-resolution image), got {channels} in and {outputs} out; correct variance_type by "
            "`init_args.scheduler`."
        )


def _sides(size: Any, source: str) -> tuple[int, ...]:
    sides = (size,) if isinstance(size, int) else size
    valid = isinstance(sides, (list, tuple)) and len(sides) in (1, 2) and all(is_whole(side, _LARGEST) for side in sides)
    if not valid:
        raise SGMError(
            f"sample_size of {source} must be the side of its images, or height and width, got {str(size)[:60]}; set it in "
            "the network's config.json."
        )
    return tuple(sides)
