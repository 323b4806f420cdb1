"""Which of Lightning's precisions leave state, schedule and loss in float32."""

from __future__ import annotations

import torch

# What the network alone is autocast to.
AUTOCAST: dict[str, torch.dtype | None] = {"32-true": None, "16-mixed": torch.float16, "bf16-mixed": torch.bfloat16}
