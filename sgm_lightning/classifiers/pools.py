"""Heads of ADM's classifiers, from feature maps to logits. Modules are numbered as in ADM's state dicts."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from sgm_lightning.classifiers.flags import Pool
from sgm_lightning.errors import SGMError

_GROUPS, _EPS, _HIDDEN = 32, 1e-5, 2048


class AttentionPool(nn.Module):
    """Attention pooling as in CLIP: the mean of all positions attends to all positions and itself.

    Args:
        side: Side of the feature map.
        width: Number of channels of the feature map.
        head_channels: Number of channels per attention head.
        out: Width of the result.
    """

    def __init__(self, side: int, width: int, head_channels: int, out: int) -> None:
        super().__init__()
        if head_channels < 1 or width % head_channels:
            raise SGMError(
                f"num_head_channels must divide the {width} channels that attention pools, got {head_channels}; ADM has 64."
            )
        self.side, self.heads = side, width // head_channels
        self.positional_embedding = nn.Parameter(torch.randn(width, side**2 + 1) / width**0.5)
        self.qkv_proj = nn.Linear(width, 3 * width)
        self.c_proj = nn.Linear(width, out)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, out) for (B, width, side, side)."""
        if x.shape[-2:] != (self.side, self.side):
            raise SGMError(
                f"Attention pooling takes feature maps of {self.side} × {self.side}, got {x.shape[-2]} × {x.shape[-1]}; "
                "check image_size."
            )
        x = x.flatten(2)
        x = torch.cat([x.mean(2, keepdim=True), x], 2) + self.positional_embedding
        # Only the output at the mean's position is needed, so it is the only query.
        weights, biases = self.qkv_proj.weight.chunk(3), self.qkv_proj.bias.chunk(3)
        tokens = x.transpose(1, 2)
        q, k, v = (
            functional.linear(part, w, b).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for part, w, b in zip((tokens[:, :1], tokens, tokens), weights, biases, strict=True)
        )
        found: Tensor = self.c_proj(functional.scaled_dot_product_attention(q, k, v).flatten(1))
        return found


def make_head(pool: Pool, width: int, all_widths: int, side: int, head_channels: int, num_classes: int) -> nn.Sequential:
    """Return the head of a classifier.

    Args:
        pool: Name of the pooling.
        width: Number of channels of the last feature map.
        all_widths: Number of channels of all feature maps together, whose means the `spatial` heads take.
        side: Side of the last feature map.
        head_channels: Number of channels per attention head.
        num_classes: Number K of classes.
    """
    if pool == "attention":
        pooled = AttentionPool(side, width, head_channels, num_classes)
        return nn.Sequential(nn.GroupNorm(_GROUPS, width, _EPS), nn.SiLU(), pooled)
    if pool == "adaptive":
        last = nn.Conv2d(width, num_classes, 1)
        return nn.Sequential(nn.GroupNorm(_GROUPS, width, _EPS), nn.SiLU(), nn.AdaptiveAvgPool2d(1), last, nn.Flatten())
    first, last_linear = nn.Linear(all_widths, _HIDDEN), nn.Linear(_HIDDEN, num_classes)
    if pool == "spatial":
        return nn.Sequential(first, nn.ReLU(), last_linear)
    if pool == "spatial_v2":
        return nn.Sequential(first, nn.GroupNorm(_GROUPS, _HIDDEN, _EPS), nn.SiLU(), last_linear)
    raise SGMError(f"classifier_pool must be adaptive, attention, spatial or spatial_v2, got {pool}.")
