"""Description of a network as plain data, and copies of a network with another configuration."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import torch
from diffusers import UNet2DModel

from sgm_lightning.backbones.unet import OURS, ADMUNet2DModel
from sgm_lightning.backbones.unet_backbone import UNetBackbone
from sgm_lightning.errors import SGMError


def describe(backbone: UNetBackbone) -> dict[str, Any]:
    """Return all but the weights, as JSON types."""
    return {
        "network": json.loads(json.dumps(_config(backbone.network))),
        "betas": backbone.betas.tolist(),
        "prediction": backbone.prediction,
        "variance": backbone.variance,
        "schedule": backbone.schedule,
    }


def from_description(text: dict[str, Any]) -> UNetBackbone:
    """Return the backbone of a description, with random weights. The inverse of `describe`."""
    return UNetBackbone(
        network=_unet(text["network"]),
        betas=torch.tensor(text["betas"], dtype=torch.float64),
        prediction=text["prediction"],
        variance=text["variance"],
        schedule=text["schedule"],
    )


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
    network = _unet({**_config(backbone.network), "num_class_embeds": num_classes + null_class, "null_class": null_class})
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
    network = _unet({**_config(backbone.network), "num_class_embeds": None, "null_class": False})
    network.load_state_dict(weights)
    return replace(backbone, network=network)


def _config(network: UNet2DModel) -> dict[str, Any]:
    """Return the network's arguments; diffusers adds the names with an underscore."""
    return {key: value for key, value in network.config.items() if not key.startswith("_")}


def _unet(config: dict[str, Any]) -> UNet2DModel:
    """Return diffusers' class if it can represent the configuration, else `ADMUNet2DModel`."""
    ours = {key: config.get(key, default) for key, default in OURS.items()}
    rest = {key: value for key, value in config.items() if key not in OURS}
    return UNet2DModel(**rest) if ours == OURS else ADMUNet2DModel(**ours, **rest)
