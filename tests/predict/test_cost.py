"""What a run will cost, counted beforehand; and what follows the model to its device."""

import pytest
import torch
from support.networks import TINY, tiny

from sgm_lightning import DDPM, BestOf, FeatureDistance, MinorityScore, SelfGuidance, Window
from sgm_lightning.backbones import NewNetwork
from sgm_lightning.predict import SamplingModule
from sgm_lightning.predict.cost import sampling_cost
from sgm_lightning.scores import PerComplexity


def test_what_scores_candidates_follows_the_model_to_its_device():
    score = MinorityScore(FeatureDistance(torch.nn.Linear(2, 2)))
    module = SamplingModule(NewNetwork(TINY), BestOf(2, score=score)).to("meta")
    assert {p.device.type for p in module.sampler.score.parameters()} == {"meta"}


@pytest.mark.parametrize(
    ("sampler", "guidance", "calls"),
    [
        (DDPM(), None, (250, 0)),
        (DDPM(), SelfGuidance(window=Window(interval=5)), (300, 50)),
        (DDPM(), SelfGuidance(MinorityScore(PerComplexity()), window=Window(interval=5)), (300, 100)),
        (DDPM(), SelfGuidance(window=Window(interval=5), gradient="jacobian_free"), (300, 0)),
        (DDPM(), SelfGuidance(window=Window(interval=5), gradient="finite_difference"), (350, 0)),
        (BestOf(4, [(0.5, 1)]), None, (4 * 124 + 4 + 126, 0)),
    ],
)
def test_calls_are_counted_on_the_chain(sampler, guidance, calls):
    cost = sampling_cost(tiny(), 250, sampler, guidance)
    assert (cost.forwards, cost.backwards) == calls
    assert cost.flops == cost.forwards * cost.forward_flops + cost.backwards * cost.backward_flops + cost.other_flops


def test_operations_of_a_network_that_is_one_convolution():
    """A 3 × 3 convolution of C to D channels on n pixels: 2 · 9 · C · D · n, and as much backward."""
    backbone = tiny()

    class One(torch.nn.Module):
        config = backbone.network.config

        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Conv2d(3, 6, 3, padding=1)

        def forward(self, x, step, class_labels=None):
            return type("Output", (), {"sample": self.layer(x)})

    backbone.network = One()
    cost = sampling_cost(backbone, 10, DDPM(), None)
    assert cost.forward_flops == cost.backward_flops == 2 * 9 * 3 * 6 * 64
