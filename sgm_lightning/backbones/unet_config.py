"""Checks of a `UNet2DModel`'s configuration before a network is made of it: what it may say, and what can be drawn from."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diffusers import UNet2DModel

from sgm_lightning.backbones.unet import OURS, ADMUNet2DModel
from sgm_lightning.diffusion import Variance
from sgm_lightning.errors import SGMError, reason_of
from sgm_lightning.files.values import is_number, is_whole, one_line, shown

LEVELS = 16  # at most
_LARGEST = 16_384
_CLASSES = 10_000_000
_DEFAULT_LEVELS = (224, 448, 672, 896)
# Defaults of keys that are whole numbers from 1 on, and their largest values; null where the default is.
_WHOLE: dict[str, tuple[int | None, int]] = {
    **{"in_channels": (3, _LARGEST), "out_channels": (3, _LARGEST), "norm_num_groups": (32, _LARGEST)},
    **{"layers_per_block": (2, 256), "num_class_embeds": (None, _CLASSES), "num_train_timesteps": (None, _CLASSES)},
    **{key: (None, _LARGEST) for key in ("attention_head_dim", "attn_norm_num_groups", "num_heads")},
    **{"time_embedding_dim": (None, 4 * _LARGEST), "time_width": (None, _LARGEST), "low_res_size": (None, _LARGEST)},
}
_POSITIVE = ("norm_eps", "mid_block_scale_factor", "timestep_scale")
_NUMBERS = ("freq_shift", "dropout")
_TRUTHS = ("center_input_sample", "flip_sin_to_cos", "add_attention", "null_class")


def check_config(config: Mapping[str, Any], source: str | Path) -> None:
    """Raise unless a network of a size that can be meant, with an image side and classes by number, can be made of it.

    Args:
        config: Arguments of the network, as in its `config.json`.
        source: Name of the checkpoint, for errors.
    """
    if not isinstance(config, Mapping) or not all(isinstance(key, str) for key in config):
        raise SGMError(
            f"The network's configuration of {source} must map names to values, got {shown(config)}; fetch or export the "
            "checkpoint again."
        )
    name = config.get("_class_name", "UNet2DModel")
    if name not in ("UNet2DModel", "ADMUNet2DModel"):
        raise SGMError(
            f"The network of {source} must be a UNet2DModel, got {shown(name)}; use `NetworkFrom` for another class."
        )
    levels = config.get("block_out_channels", _DEFAULT_LEVELS)
    several = isinstance(levels, (list, tuple)) and 1 <= len(levels) <= LEVELS
    if not several or not all(is_whole(width, _LARGEST) for width in levels):
        rule = f"a list of 1 to {LEVELS} whole numbers from 1 to {_LARGEST}"
        raise _must_be("block_out_channels", source, rule, levels)
    for key, (default, largest) in _WHOLE.items():
        value = config.get(key, default)
        if not is_whole(value, largest) and not (default is None and value is None):
            raise _must_be(key, source, f"{'null or ' * (default is None)}a whole number from 1 to {largest}", value)
    for key in (*_POSITIVE, *_NUMBERS):
        value = config.get(key, 1)
        smallest = 0 if key in _POSITIVE else -_CLASSES
        if not is_number(value) or not smallest <= value <= _CLASSES or (key in _POSITIVE and not value):
            raise _must_be(
                key, source, f"a number {'above' if key in _POSITIVE else 'from'} {smallest}, up to {_CLASSES}", value
            )
    for key in _TRUTHS:
        if not isinstance(config.get(key, False), bool):
            raise _must_be(key, source, "true or false", config[key])
    if not is_whole(config.get("downsample_padding", 1), 1, 0):  # others change the size of the image
        raise _must_be("downsample_padding", source, "0 or 1", config["downsample_padding"])
    if config.get("class_embed_type") is not None:
        raise SGMError(
            f"class_embed_type of {source} must be null, with classes by number (num_class_embeds), got "
            f"{shown(config['class_embed_type'])}; use `NetworkFrom` for a network with other conditions."
        )
    if config.get("null_class") and (config.get("num_class_embeds") or 0) < 2:
        raise _must_be("num_class_embeds", source, "at least 2 where null_class is true", config.get("num_class_embeds"))
    for side in _sides(config.get("sample_size"), source):
        if side % 2 ** (len(levels) - 1):
            raise SGMError(
                f"The image side of {source} must be divisible by {2 ** (len(levels) - 1)} for a network of {len(levels)} "
                f"levels, got {side}; correct it, or the number of levels."
            )


def check_count(config: Mapping[str, Any], tensors: int, source: str | Path) -> None:
    """Raise if a checked configuration describes more layers than a checkpoint has tensors for.

    Args:
        config: Arguments of the network.
        tensors: Number of tensors in the checkpoint.
        source: Name of the checkpoint, for errors.
    """
    levels, layers = len(config.get("block_out_channels", _DEFAULT_LEVELS)), config.get("layers_per_block", 2)
    blocks = levels * (2 * layers + 1)
    if 8 * blocks > tensors:  # each has two convolutions and two normalisations, with biases
        raise SGMError(
            f"{source} does not hold the weights of a network as it is described ({levels} levels of {layers} layers have "
            f"at least {8 * blocks} tensors, got {tensors}); fetch or export the checkpoint again, or correct that."
        )


def check_channels(config: Mapping[str, Any], variance: Variance, source: str | Path) -> None:
    """Raise unless the network's channels are those of images under the reverse variance that the scheduler names."""
    channels, outputs = config.get("in_channels", 3), config.get("out_channels", 3)
    each = 2 if variance == "learned_range" else 1
    if outputs % each or channels not in (outputs // each, 2 * (outputs // each)):
        rule = "as many channels out as in" if each == 1 else "twice as many channels out as in, for the learned variance,"
        raise SGMError(
            f"With the scheduler's variance_type ({variance}) the network of {source} must have {rule} (or half of the "
            f"input is a low-resolution image), got {channels} in and {outputs} out; correct variance_type by "
            "`init_args.scheduler`."
        )


def make_unet(config: Mapping[str, Any], source: str | Path, cls: type[UNet2DModel] | None = None) -> UNet2DModel:
    """Return a network with random weights.

    Args:
        config: Arguments of the network, which `check_config` accepts.
        source: Name of the checkpoint, for errors.
        cls: Class of the network; default: diffusers' own if it can represent the configuration, else `ADMUNet2DModel`.

    Raises:
        SGMError: If there are unknown arguments, or no network can be made of them.
    """
    arguments = {key: value for key, value in config.items() if not key.startswith("_")}
    ours = {key: arguments.get(key, default) for key, default in OURS.items()}
    if cls is None and ours == OURS:
        cls, arguments = UNet2DModel, {key: value for key, value in arguments.items() if key not in OURS}
    cls = cls or ADMUNet2DModel
    if unknown := sorted(set(arguments) - set(inspect.signature(cls.__init__).parameters)):
        raise SGMError(
            f"The network's configuration of {source} has keys that a {cls.__name__} does not know "
            f"({one_line(unknown[0])}); give a checkpoint of this class, or update diffusers."
        )
    try:
        return cls(**arguments)
    except Exception as error:  # whatever diffusers and torch raise for values that do not go together
        reason = reason_of(error)
        raise SGMError(f"No {cls.__name__} can be made of the configuration of {source} ({reason}); correct it.") from None


def _sides(size: Any, source: str | Path) -> tuple[int, ...]:
    sides = (size, size) if isinstance(size, int) else size
    valid = isinstance(sides, (list, tuple)) and len(sides) == 2 and all(is_whole(side, _LARGEST) for side in sides)
    if not valid:
        raise SGMError(
            f"sample_size of {source} must be the side of its images, or height and width, got {shown(size)}; set it in "
            "the network's configuration."
        )
    return tuple(sides)


def _must_be(key: str, source: str | Path, rule: str, value: Any) -> SGMError:
    return SGMError(f"{key} of {source} must be {rule}, got {shown(value)}; correct the network's configuration.")
