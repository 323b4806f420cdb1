"""Copies of a network with another configuration."""

from __future__ import annotations

from dataclasses import replace

import torch

from sgm_lightning.backbones.description import network_arguments
from sgm_lightning.backbones.unet_backbone import UNetBackbone
from sgm_lightning.backbones.unet_config import make_unet
from sgm_lightning.errors import SGMError


def with_classes(backbone: UNetBackbone, num_classes: int, null_class: bool) -> UNetBackbone:
    """Return a class-conditional network that computes the same function.

    Class embeddings are added to an unconditional network and start at zero. A null class added to a conditional network
    starts at the mean of its classes.

    Args:
        backbone: Unconditional network, or one with the same number of classes.
        num_classes: Number of classes, at least 2.
        null_class: Whether one more class is added that stands for "any".

    Raises:
        SGMError: If the network has another number of classes.
    """
    if num_classes < 2:
        raise SGMError(f"num_classes must be at least 2, got {num_classes}; null leaves the model as it is.")
    if backbone.num_classes not in (None, num_classes):
        raise SGMError(
            f"The model is conditional on {backbone.num_classes} classes, got num_classes {num_classes}; leave it out."
        )
    if backbone.num_classes is not None and (backbone.null_class is not None) >= null_class:
        return backbone
    weights = backbone.network.state_dict()
    name = "class_embedding.weight"
    classes = {"num_class_embeds": num_classes + null_class, "null_class": null_class}
    network = make_unet({**network_arguments(backbone.network), **classes}, "the model")
    old, new = weights.get(name), torch.zeros_like(network.state_dict()[name])
    if old is not None:
        new[: len(old)] = old
        new[len(old) :] = old.mean(0)
    network.load_state_dict({**weights, name: new})
    return replace(backbone, network=network)


def without_classes(backbone: UNetBackbone) -> UNetBackbone:
    """Return the unconditional network inside one that was trained with label dropout.

    The network adds the null class's embedding to the time embedding, so it becomes part of the latter's bias.

    Raises:
        SGMError: If there is no null class.
    """
    if backbone.null_class is None:
        raise SGMError("Only a model trained with label dropout holds an unconditional one; set `model.label_dropout`.")
    weights = dict(backbone.network.state_dict())
    embedding = weights.pop("class_embedding.weight")
    name = "time_embedding.linear_2.bias"
    weights[name] = weights[name] + embedding[backbone.null_class]
    classes = {"num_class_embeds": None, "null_class": False}
    network = make_unet({**network_arguments(backbone.network), **classes}, "the model")
    network.load_state_dict(weights)
    return replace(backbone, network=network)
