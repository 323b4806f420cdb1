"""Export of a network in ADM's layout: the state dict and the flags that describe it, or a refusal."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import UNet2DModel
from torch import Tensor

from sgm_lightning.backbones.adm_flags import ADMFlags, unet_from_flags
from sgm_lightning.backbones.adm_keys import from_adm, to_adm
from sgm_lightning.backbones.unet_backbone import UNetBackbone
from sgm_lightning.diffusion import make_betas
from sgm_lightning.errors import SGMError, reason_of

_SCHEDULES = ("linear", "cosine")


def export_adm(backbone: UNetBackbone, new_order: bool) -> tuple[dict[str, Tensor], ADMFlags]:
    """Return a backbone's weights in ADM's layout, and the flags of the network and its process.

    The network that the flags describe is made, given the weights, and compared with the backbone's on one forward.

    Args:
        backbone: Backbone to export.
        new_order: Whether q, k and v have the order of the flag `use_new_attention_order`.

    Raises:
        SGMError: If no flags describe the network or its process.
    """
    flags = _flags(backbone, new_order)
    try:
        weights = to_adm(backbone.network, new_order)
        again = unet_from_flags(flags)
        again.load_state_dict(from_adm(weights, again, new_order))
    except (KeyError, SGMError) as error:
        raise _refusal(f"it has other layers ({reason_of(error, 100)})") from None
    if not _equal_outputs(backbone.network, again):
        ours, theirs = _facts(backbone.network), _facts(again)
        differing = [f"{key} {ours[key]}, where ADM has {theirs.get(key)}" for key in ours if ours[key] != theirs.get(key)]
        raise _refusal("; ".join(differing)[:300] or "its outputs differ")
    return weights, flags


def _flags(backbone: UNetBackbone, new_order: bool) -> ADMFlags:
    config, size = backbone.network.config, backbone.network.config.sample_size
    if not isinstance(size, int):
        raise _refusal(f"its images have {size} pixels, where ADM's are square")
    if backbone.prediction == "v_prediction":
        raise _refusal("it predicts v, where ADM predicts noise or x_0")
    steps = len(backbone.betas)
    if backbone.schedule not in _SCHEDULES or not torch.allclose(backbone.betas, make_betas(backbone.schedule, steps)):
        raise _refusal(f"its noise schedule ({backbone.schedule}) is not ADM's {' or '.join(_SCHEDULES)} one")
    widths = config.block_out_channels
    channels = (config.time_embedding_dim or 4 * widths[0]) // 4
    scale = config.get("timestep_scale", 1.0)
    return ADMFlags(
        image_size=size,
        num_channels=channels,
        num_res_blocks=config.layers_per_block,
        channel_mult=",".join(f"{width / channels:g}" for width in widths),
        attention_resolutions=",".join(str(size >> i) for i, name in enumerate(config.down_block_types) if "Attn" in name),
        num_heads=config.get("num_heads") or 1,
        num_head_channels=config.attention_head_dim or -1,
        use_scale_shift_norm=config.resnet_time_scale_shift == "scale_shift",
        resblock_updown=config.downsample_type == "resnet",
        use_new_attention_order=new_order,
        learn_sigma=backbone.variance == "learned_range",
        class_cond=config.num_class_embeds is not None,
        num_classes=config.num_class_embeds or 1000,
        in_channels=backbone.image_shape[0],
        dropout=config.dropout,
        diffusion_steps=steps,
        noise_schedule=backbone.schedule,
        predict_xstart=backbone.prediction == "sample",
        rescale_timesteps=scale != 1.0,
        sigma_small=backbone.variance == "fixed_small",
        large_size=size if backbone.upsampler else None,
        small_size=backbone.low_res_size if backbone.upsampler else None,
    )


@torch.no_grad()
def _equal_outputs(ours: UNet2DModel, theirs: UNet2DModel) -> bool:
    """Return whether two networks agree on random images, as small as their levels allow, at two time steps."""
    config = ours.config
    side = 2 ** len(config.block_out_channels)
    source = torch.Generator().manual_seed(0)
    x = torch.randn(2, config.in_channels, side, side, generator=source)
    classes = {} if config.num_class_embeds is None else {"class_labels": torch.tensor([0, config.num_class_embeds - 1])}
    states = [network.training for network in (ours, theirs)]
    outputs = [network.eval()(x, torch.tensor([3, 600]), **classes).sample for network in (ours, theirs)]
    for network, training in zip((ours, theirs), states, strict=True):
        network.train(training)
    return bool((outputs[0] - outputs[1]).abs().max() <= 1e-4 * outputs[0].abs().max().clamp(min=1e-6))


def _facts(network: UNet2DModel) -> dict[str, Any]:
    return {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in network.config.items()
        if not key.startswith("_") and key != "sample_size"
    }


def _refusal(reason: str) -> SGMError:
    return SGMError(f"The network cannot be written in ADM's layout: {reason}; use `--layout diffusers`.")
