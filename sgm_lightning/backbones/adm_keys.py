"""The map between ADM's state dict and `UNet2DModel`'s, in both directions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

import torch
from diffusers import UNet2DModel
from torch import Tensor

from sgm_lightning.errors import SGMError

Kind = Literal["plain", "resnet", "attention"]

_RESNET = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}


class Pair(NamedTuple):
    """Names of one module, in ADM and in `UNet2DModel`."""

    adm: str
    unet: str
    kind: Kind


def module_pairs(network: UNet2DModel) -> Iterator[Pair]:
    """Yield the names of every module with weights."""
    config = network.config
    levels, layers = len(config.block_out_channels), config.layers_per_block
    resnet_sampling = config.downsample_type == "resnet"
    yield Pair("time_embed.0", "time_embedding.linear_1", "plain")
    yield Pair("time_embed.2", "time_embedding.linear_2", "plain")
    if config.num_class_embeds is not None:
        yield Pair("label_emb", "class_embedding", "plain")
    yield Pair("input_blocks.0.0", "conv_in", "plain")
    yield Pair("out.0", "conv_norm_out", "plain")
    yield Pair("out.2", "conv_out", "plain")

    n = 0
    for level, block in enumerate(config.down_block_types):
        for layer in range(layers):
            n += 1
            yield Pair(f"input_blocks.{n}.0", f"down_blocks.{level}.resnets.{layer}", "resnet")
            if "Attn" in block:
                yield Pair(f"input_blocks.{n}.1", f"down_blocks.{level}.attentions.{layer}", "attention")
        if level < levels - 1:
            n += 1
            name = f"down_blocks.{level}.downsamplers.0"
            if resnet_sampling:
                yield Pair(f"input_blocks.{n}.0", name, "resnet")
            else:
                yield Pair(f"input_blocks.{n}.0.op", f"{name}.conv", "plain")
    yield Pair("middle_block.0", "mid_block.resnets.0", "resnet")
    yield Pair("middle_block.1", "mid_block.attentions.0", "attention")
    yield Pair("middle_block.2", "mid_block.resnets.1", "resnet")
    n = -1
    for level, block in enumerate(config.up_block_types):
        for layer in range(layers + 1):
            n += 1
            yield Pair(f"output_blocks.{n}.0", f"up_blocks.{level}.resnets.{layer}", "resnet")
            if "Attn" in block:
                yield Pair(f"output_blocks.{n}.1", f"up_blocks.{level}.attentions.{layer}", "attention")
        if level < levels - 1:
            position, name = 2 if "Attn" in block else 1, f"up_blocks.{level}.upsamplers.0"
            if resnet_sampling:
                yield Pair(f"output_blocks.{n}.{position}", name, "resnet")
            else:
                yield Pair(f"output_blocks.{n}.{position}.conv", f"{name}.conv", "plain")


def parameter_pairs(network: UNet2DModel) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield an ADM key and the network's keys, which are several where ADM stacks q, k and v."""
    own = set(network.state_dict())
    for adm, unet, kind in module_pairs(network):
        for leaf in ("weight", "bias"):
            if kind == "attention":
                yield f"{adm}.norm.{leaf}", (f"{unet}.group_norm.{leaf}",)
                yield f"{adm}.qkv.{leaf}", tuple(f"{unet}.to_{name}.{leaf}" for name in "qkv")
                yield f"{adm}.proj_out.{leaf}", (f"{unet}.to_out.0.{leaf}",)
            else:
                parts = _RESNET.items() if kind == "resnet" else [("", "")]
                for source, target in parts:
                    key = ".".join(part for part in (unet, target, leaf) if part)
                    if key in own:
                        yield ".".join(part for part in (adm, source, leaf) if part), (key,)


def _heads(network: UNet2DModel, key: str) -> int:
    return network.get_submodule(key.rpartition(".to_")[0]).heads


def from_adm(weights: dict[str, Tensor], network: UNet2DModel, new_order: bool) -> dict[str, Tensor]:
    """Convert ADM's state dict to the network's.

    Args:
        weights: ADM's state dict, of any floating dtype.
        network: Network that the flags describe; its weights are not read.
        new_order: Value of the flag `use_new_attention_order`.

    Raises:
        SGMError: If a key is missing or left over or a shape differs: then the flags do not fit the checkpoint.
    """
    expected = network.state_dict()
    result: dict[str, Tensor] = {}
    left_over = set(weights)
    for source, targets in parameter_pairs(network):
        if source not in weights:
            raise SGMError(f"The checkpoint lacks {source}, which the flags call for; give the flags of its release.")
        left_over.discard(source)
        value = weights[source].float()
        if len(targets) == 3:
            channels = value.shape[0] // 3
            if new_order:
                values = value.chunk(3, 0)
            else:
                stacked = value.reshape(_heads(network, targets[0]), 3, -1, *value.shape[1:])
                values = tuple(stacked[:, i].reshape(channels, *value.shape[1:]) for i in range(3))
        else:
            values = (value,)
        for target, part in zip(targets, values, strict=True):
            shape = expected[target].shape
            if part.ndim == len(shape) + 1 and part.shape[-1] == 1:
                part = part.squeeze(-1)
            if part.shape != shape:
                raise SGMError(
                    f"{source} has shape {tuple(weights[source].shape)}, which does not fit the flags (they make "
                    f"{tuple(shape)} of it); give the flags of the checkpoint's release."
                )
            result[target] = part.contiguous()
    if left_over:
        raise SGMError(
            f"The checkpoint has {len(left_over)} tensors that the flags do not call for, e.g. {min(left_over)}; give "
            "the flags of its release."
        )
    return result


def to_adm(network: UNet2DModel, new_order: bool) -> dict[str, Tensor]:
    """Convert the network's state dict to ADM's, the inverse of `from_adm`."""
    own = network.state_dict()
    result: dict[str, Tensor] = {}
    for source, targets in parameter_pairs(network):
        values = [own[target] for target in targets]
        if len(values) == 3:
            if new_order:
                value = torch.cat(values)
            else:
                heads = _heads(network, targets[0])
                value = torch.stack([v.reshape(heads, -1, *v.shape[1:]) for v in values], 1)
                value = value.reshape(-1, *values[0].shape[1:])
        else:
            value = values[0]
        # ADM's attention is a 1-d convolution: its weights have a last axis of length 1.
        one_by_one = source.endswith((".qkv.weight", ".proj_out.weight"))
        result[source] = value.unsqueeze(-1) if one_by_one else value
    return result
