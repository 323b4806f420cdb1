"""The command-line flags that describe an ADM classifier."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sgm_lightning.backbones import ADMFlags
from sgm_lightning.errors import SGMError

Pool = Literal["adaptive", "attention", "spatial", "spatial_v2"]


@dataclass
class ClassifierFlags:
    """Flags as on the command line of guided-diffusion; names and defaults are that release's.

    A state dict contains neither the channels of a head nor the order of q, k and v, and a wrong value loads without an
    error: take both from the release.

    Args:
        image_size: Side of the image (or of the features that a stacked classifier's head takes) in pixels.
        classifier_width: Base width in channels, a multiple of 32.
        classifier_depth: Number of residual blocks per level.
        classifier_attention_resolutions: Sides of the feature maps with attention, comma-separated.
        classifier_use_scale_shift_norm: Whether the time embedding scales and shifts the normalised features.
        classifier_resblock_updown: Whether residual blocks do the resampling.
        classifier_pool: Pooling of the last feature map to one vector; the `spatial` ones take the means of all maps.
        in_channels: Number of channels of the image.
        out_channels: Number of classes.
        channel_mult: Width of each level as multiples of the base, comma-separated; empty for the size's default.
        num_head_channels: Number of channels per attention head.
        use_new_attention_order: Whether q, k and v are split before the heads (attention pooling always does this).
        dropout: Dropout rate (training only).
        classifier_use_fp16: Accepted and ignored: weights load as float32.
    """

    image_size: int = 64
    classifier_width: int = 128
    classifier_depth: int = 2
    classifier_attention_resolutions: str = "32,16,8"
    classifier_use_scale_shift_norm: bool = True
    classifier_resblock_updown: bool = True
    classifier_pool: Pool = "attention"
    in_channels: int = 3
    out_channels: int = 1000
    channel_mult: str = ""
    num_head_channels: int = 64
    use_new_attention_order: bool = False
    dropout: float = 0.0
    classifier_use_fp16: bool = False

    def of_unet(self) -> ADMFlags:
        """Return the flags of the U-Net whose encoder is the classifier's body."""
        if self.classifier_width % 32 or self.classifier_width < 32:
            raise SGMError(
                f"classifier_width must be a multiple of 32, the groups of its normalisation, got {self.classifier_width}."
            )
        return ADMFlags(
            image_size=self.image_size,
            num_channels=self.classifier_width,
            num_res_blocks=self.classifier_depth,
            channel_mult=self.channel_mult or ("1" if self.image_size == 8 else ""),
            attention_resolutions=self.classifier_attention_resolutions,
            num_head_channels=self.num_head_channels,
            use_scale_shift_norm=self.classifier_use_scale_shift_norm,
            resblock_updown=self.classifier_resblock_updown,
            use_new_attention_order=self.use_new_attention_order,
            in_channels=self.in_channels,
            dropout=self.dropout,
        )
