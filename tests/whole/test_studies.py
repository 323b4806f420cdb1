"""The rule by which methods are judged in the emoji world, and its comparisons in both worlds."""

import copy

import pytest
import yaml
from support.paths import ROOT

from benchmarks.studies.known_frequencies import CONFIGS, NETWORKS, RARITY, UNREADABLE, UNREALITY, in_world, verdict
from sgm_lightning.files.locate import find_config


def paired(rarity=1.0, error=0.1, unreadable=0.0, unreality=0.0):
    return {
        RARITY: {"value": rarity, "standard_error": error},
        UNREADABLE: {"value": unreadable - 0.02, "high": unreadable},
        UNREALITY: {"value": unreality - 1, "high": unreality},
    }


@pytest.mark.parametrize(
    ("differences", "expected"),
    [
        (paired(), "yes"),
        (paired(unreadable=0.03, unreality=2.0), "yes"),
        (paired(error=0.25), "no"),
        (paired(rarity=-1.0), "no"),
        (paired(rarity=0.0, error=0.0), "no"),
        (paired(unreadable=0.031), "no"),
        (paired(unreality=2.1), "no"),
        ({}, "–"),
    ],
)
def test_the_verdict_asks_for_rarity_and_both_realisms(differences, expected):
    assert verdict(differences).split()[0] == expected


@pytest.mark.parametrize("comparison", CONFIGS)
def test_a_world_has_its_network_truth_and_real_pictures(comparison):
    text = (ROOT / (find_config(CONFIGS[comparison]) or CONFIGS[comparison])).read_text()
    normal = yaml.safe_load(text)
    for world, network in NETWORKS.items():
        content = in_world(copy.deepcopy(normal), world)
        assert content["base"]["model"]["backbone"]["init_args"]["path"] == network and (ROOT / network).is_dir()
        assert content["evaluation"]["reader"]["init_args"]["world"] == world
        assert content["anchors"]["real pictures"]["init_args"]["world"] == world
        assert content["settings"] == normal["settings"]
