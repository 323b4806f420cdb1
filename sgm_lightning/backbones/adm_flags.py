"""The command-line flags that describe an ADM or improved-diffusion checkpoint, and its network."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from diffusers import UNet2DModel

from sgm_lightning.backbones.unet_config import LEVELS, check_config, make_unet
from sgm_lightning.errors import SGMError
from sgm_lightning.files.values import shown

_CHANNEL_MULT = {
    512: (0.5, 1, 1, 2, 2, 4, 4),
    256: (1, 1, 2, 2, 4, 4),
    128: (1, 1, 2, 3, 4),
    64: (1, 2, 3, 4),
    32: (1, 2, 2, 2),
}
_UPSAMPLER_MULT = {512: (1, 1, 2, 2, 4, 4), 256: (1, 1, 2, 2, 4, 4), 64: (1, 2, 3, 4)}


@dataclass
class ADMFlags:
    """Flags as on the command line of guided-diffusion; names and defaults are that release's.

    A state dict contains neither the head count nor the order of q, k and v, and a wrong value loads without an error:
    take both from the release.

    Args:
        image_size: Side of the image in pixels.
        num_channels: Base width in channels.
        num_res_blocks: Number of residual blocks per level.
        channel_mult: Width of each level as multiples of the base, comma-separated; empty for the size's default.
        attention_resolutions: Sides of the feature maps with attention, comma-separated.
        num_heads: Number of attention heads, where num_head_channels is −1.
        num_head_channels: Number of channels per attention head; −1 for a fixed number of heads.
        num_heads_upsample: Number of attention heads in the up blocks; only −1 (the same) is supported.
        use_scale_shift_norm: Whether the time embedding scales and shifts the normalised features.
        resblock_updown: Whether residual blocks do the resampling.
        use_new_attention_order: Whether q, k and v are split before the heads.
        learn_sigma: Whether the network also predicts the variance (learned range).
        class_cond: Whether the network is class-conditional.
        num_classes: Number of classes, where class_cond is true.
        in_channels: Number of colour channels of the image.
        dropout: Dropout rate (training only).
        diffusion_steps: Length of the training chain.
        noise_schedule: Noise schedule of the training chain, `linear` or `cosine`.
        predict_xstart: Whether the network predicts x_0 instead of the noise.
        rescale_timesteps: Whether train steps are scaled to 0 … 1000 before the embedding.
        sigma_small: Whether the variance is fixed-small where learn_sigma is false; ADM's default is fixed-large.
        large_size: Side of the output of an upsampler.
        small_size: Side of the input of an upsampler.
        use_fp16: Accepted and ignored: weights load as float32.
        use_checkpoint: Accepted and ignored.
    """

    image_size: int = 64
    num_channels: int = 128
    num_res_blocks: int = 2
    channel_mult: str = ""
    attention_resolutions: str = "16,8"
    num_heads: int = 4
    num_head_channels: int = -1
    num_heads_upsample: int = -1
    use_scale_shift_norm: bool = True
    resblock_updown: bool = False
    use_new_attention_order: bool = False
    learn_sigma: bool = False
    class_cond: bool = False
    num_classes: int = 1000
    in_channels: int = 3
    dropout: float = 0.0
    diffusion_steps: int = 1000
    noise_schedule: str = "linear"
    predict_xstart: bool = False
    rescale_timesteps: bool = False
    sigma_small: bool = False
    large_size: int | None = None
    small_size: int | None = None
    use_fp16: bool = False
    use_checkpoint: bool = False

    @property
    def upsampler(self) -> bool:
        """True if this is a super-resolution network."""
        return self.large_size is not None

    @property
    def size(self) -> int:
        """Side of the network's output."""
        return self.large_size or self.image_size

    @property
    def multipliers(self) -> tuple[float, ...]:
        """Width of each level as multiples of the base."""
        if self.channel_mult:
            try:
                parts = tuple(float(part) for part in str(self.channel_mult).split(","))
            except ValueError:
                parts = ()
            if not 1 <= len(parts) <= LEVELS or not all(0 < part < math.inf for part in parts):
                raise SGMError(f"channel_mult must look like '1,2,3', got {shown(self.channel_mult)}; correct it.")
            return parts
        defaults = _UPSAMPLER_MULT if self.upsampler else _CHANNEL_MULT
        if self.size not in defaults:
            raise SGMError(
                f"There is no default channel_mult for image size {self.size} (only for {sorted(defaults)}); set it."
            )
        return defaults[self.size]


def unet_from_flags(flags: ADMFlags) -> UNet2DModel:
    """Return the network that the flags describe, with random weights."""
    mult = flags.multipliers
    if flags.num_heads_upsample not in (-1, flags.num_heads):
        raise SGMError(
            f"num_heads_upsample must be -1 or equal to num_heads ({flags.num_heads}), got {flags.num_heads_upsample}; "
            "no released checkpoint differs."
        )
    try:
        factors = {flags.size // int(part) for part in str(flags.attention_resolutions).split(",") if part}
    except (ValueError, ZeroDivisionError):
        raise SGMError(
            f"attention_resolutions must look like '32,16,8', got {shown(flags.attention_resolutions)}; correct it."
        ) from None
    attention = [2**level in factors for level in range(len(mult))]
    plain = "Resnet{}sampleBlock2D" if flags.resblock_updown else "{}Block2D"
    widths = [int(m * flags.num_channels) for m in mult]
    config: dict[str, Any] = {
        "sample_size": flags.size,
        "in_channels": flags.in_channels * (2 if flags.upsampler else 1),
        "out_channels": flags.in_channels * (2 if flags.learn_sigma else 1),
        "block_out_channels": widths,
        "layers_per_block": flags.num_res_blocks,
        "time_embedding_dim": 4 * flags.num_channels,
        "flip_sin_to_cos": True,
        "freq_shift": 0,
        "norm_eps": 1e-5,
        "norm_num_groups": 32,
        "attn_norm_num_groups": 32,
        "resnet_time_scale_shift": "scale_shift" if flags.use_scale_shift_norm else "default",
        "num_class_embeds": flags.num_classes if flags.class_cond else None,
        "downsample_type": "resnet" if flags.resblock_updown else "conv",
        "upsample_type": "resnet" if flags.resblock_updown else "conv",
        "down_block_types": ["AttnDownBlock2D" if a else plain.format("Down") for a in attention],
        "up_block_types": ["AttnUpBlock2D" if a else plain.format("Up") for a in reversed(attention)],
        "attention_head_dim": flags.num_head_channels if flags.num_head_channels > 0 else None,
        "dropout": flags.dropout,
    }
    extras: dict[str, Any] = {}
    if flags.num_head_channels <= 0 and flags.num_heads > 1:
        extras["num_heads"] = flags.num_heads
    if widths[0] != flags.num_channels:
        extras["time_width"] = flags.num_channels
    if flags.rescale_timesteps and flags.diffusion_steps != 1000:
        extras["timestep_scale"] = 1000.0 / flags.diffusion_steps
    if flags.upsampler and flags.small_size is not None:
        extras["low_res_size"] = flags.small_size
    config |= extras
    check_config(config, "the flags")
    return make_unet(config, "the flags")
