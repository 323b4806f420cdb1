"""Low-rank adapters (Hu et al. 2021): fine-tuning of few weights of a large network, through `peft`."""

from __future__ import annotations

import copy
from typing import Any

from torch import Tensor, nn

from sgm_lightning.errors import SGMError, reason_of
from sgm_lightning.files.values import shown

_LAYERS = ["to_q", "to_k", "to_v", "to_out.0", "conv1", "conv2", "time_emb_proj"]


class LoRA:
    """Trains W + (alpha / rank) · B A in the named layers, with W frozen.

    Args:
        rank: Rank of the update.
        alpha: Scale of the update, times the rank; default the rank.
        layers: Ends of the names of the layers; default: attention, convolutions and time projections of the blocks.

    Raises:
        SGMError: If `peft` is not installed, or no layer has such a name.
    """

    def __init__(self, rank: int = 16, alpha: int | None = None, layers: list[str] | None = None) -> None:
        if rank < 1:
            raise SGMError(f"lora.rank must be at least 1, got {rank}; 4 to 64 are usual.")
        self.rank, self.alpha, self.layers = rank, alpha or rank, layers or list(_LAYERS)

    @property
    def settings(self) -> dict[str, Any]:
        """Arguments as plain types, so that `LoRA(**settings)` is the same."""
        return {"rank": self.rank, "alpha": self.alpha, "layers": self.layers}

    def inject(self, network: nn.Module) -> None:
        """Add adapters, which start at zero, and freeze all other weights."""
        try:
            from peft import LoraConfig, inject_adapter_in_model
        except ImportError:
            raise SGMError("LoRA needs the package peft; install it with `pip install 'sgm-lightning[lora]'`.") from None
        try:
            inject_adapter_in_model(LoraConfig(r=self.rank, lora_alpha=self.alpha, target_modules=self.layers), network)
        except Exception as error:  # whatever peft raises for names that do not fit
            reason = reason_of(error, 100)
            raise SGMError(
                f"LoRA must fit a layer of the network, got the layers {shown(self.layers)} ({reason}); set `lora.layers`."
            ) from None
        for name, parameter in network.named_parameters():
            parameter.requires_grad_("lora_" in name)

    def merge(self, network: nn.Module, weights: dict[str, Tensor]) -> None:
        """Load the weights of an adapted network into a plain one."""
        adapted = copy.deepcopy(network)
        self.inject(adapted)
        adapted.load_state_dict(weights)
        for module in adapted.modules():
            if hasattr(module, "merge") and hasattr(module, "base_layer"):
                module.merge()  # type: ignore[operator]
        merged = {name: value for name, value in adapted.state_dict().items() if "lora_" not in name}
        network.load_state_dict({name.replace(".base_layer.", "."): value for name, value in merged.items()})
