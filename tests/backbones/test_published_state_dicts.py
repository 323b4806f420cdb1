"""All published networks, without their weights."""

import json

import pytest
import torch
from support.paths import GOLDENS

from sgm_lightning import ADMFlags
from sgm_lightning.backbones.adm_flags import unet_from_flags
from sgm_lightning.backbones.adm_keys import from_adm, to_adm

PUBLISHED = json.loads((GOLDENS / "official_state_dicts.json").read_text())


@pytest.mark.parametrize("name", PUBLISHED)
def test_converts_both_ways(name):
    entry = PUBLISHED[name]
    flags = ADMFlags(**{k: v for k, v in entry["flags"].items() if k != "sr"})
    with torch.device("meta"):
        network = unet_from_flags(flags)
        weights = {key: torch.empty(shape) for key, shape in entry["state_dict"].items()}
    assert sum(p.numel() for p in network.parameters()) == entry["parameters"]
    order = flags.use_new_attention_order
    converted = from_adm(weights, network, order)
    assert {k: v.shape for k, v in converted.items()} == {k: v.shape for k, v in network.state_dict().items()}
    back = to_adm(network, order)
    assert {k: list(v.shape) for k, v in back.items()} == entry["state_dict"]
