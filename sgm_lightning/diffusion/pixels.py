"""Conversion between the model's range [−1, 1] and 8-bit pixels."""

import torch
from torch import Tensor


def to_uint8(x: Tensor) -> Tensor:
    """Convert (B, C, H, W) in [−1, 1] to uint8 as released: clamp((x + 1) · 127.5, 0, 255), truncated."""
    return ((x + 1) * 127.5).clamp(0, 255).to(torch.uint8)


def from_uint8(images: Tensor) -> Tensor:
    """Convert uint8 to float32 in [−1, 1]."""
    return images.float() / 127.5 - 1
