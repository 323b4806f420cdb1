"""Heads of ADM's classifiers: from feature maps to logits. Modules are numbered as in its state dicts."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from sgm_lightning.classifiers.flags import Pool
from sgm_lightning.errors import SGMError

_GROUPS, _EPS, _HIDDEN = 32, 1e-5, 2048


class AttentionPool(nn.Module):
    """The mean of all positions attends to all positions and itself (CLIP's pooling).

    Args:
        side: Side of the feature map.
        width: Its channels.
        head_channels: Channels of an attention head.
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
        """(B, out) of (B, width, side, side)."""
        if x.shape[-2:] != (self.side, self.side):
            raise SGMError(
                f"Attention pooling takes feature maps of {self.side} × {self.side}, got {x.shape[-2]} × {x.shape[-1]}; "
                "check image_size."
            )
        x = x.flatten(2)
        x = torch.cat([x.mean(2, keepdim=True), x], 2) + self.positional_embedding
        # Only the mean's own position is wanted: no other asks.
        weights, biases = self.qkv_proj.weight.chunk(3), self.qkv_proj.bias.chunk(3)
        tokens = x.transpose(1, 2)
        q, k, v = (
            functional.linear(part, w, b).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for part, w, b in zip((tokens[:, :1], tokens, tokens), weights, biases, strict=True)
        )
        found: Tensor = self.c_proj(functional.scaled_dot_product_attention(q, k, v).flatten(1))
        return found


def make_head(pool: Pool, width: int, all_widths: int, side: int, head_channels: int, num_classes: int) -> nn.Sequential:
    """The head of a classifier.

    Args:
        pool: Which.
        width: Channels of the last feature map.
        all_widths: Channels of all feature maps together, which the `spatial` heads take the means of.
        side: Side of the last feature map.
        head_channels: Channels of an attention head.
        num_classes: K.
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
