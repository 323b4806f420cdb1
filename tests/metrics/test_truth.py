"""The metrics of truth on readings that are known."""

import numpy as np
import pytest
import torch

from sgm_lightning.images import EmojiWorld
from sgm_lightning.metrics import FactorShares, HeldOutPairs, Rarest, TrueRarity, Unreadable, Unreality
from sgm_lightning.world import FACTORS, EmojiReader, Reading, World


def rows(images, probability=1.0, unreality=3.0):
    count = len(images)
    return Reading(
        torch.from_numpy(images.factors),
        torch.full((count, 4), probability),
        torch.full((count,), unreality, dtype=torch.float64),
    ).rows


@pytest.mark.parametrize("world", ["normal", "reversed"])
def test_real_pictures_have_the_rarity_and_the_shares_of_their_world(world):
    images = EmojiWorld("test", seed=3, world=world, count=4000)
    index = torch.arange(4000)
    rarity, rarest = TrueRarity(images.world), Rarest(images.world)
    for metric in (rarity, rarest):
        metric.update(rows(images), index)
    assert float(rarity.compute()) == pytest.approx(images.rarity.mean())
    np.testing.assert_allclose(rarity.per_sample().values.numpy(), images.rarity)
    entropy = sum(-(table * np.log(table)).sum() for table in images.world.probabilities.values())
    assert float(rarity.compute()) == pytest.approx(entropy, abs=0.1)
    assert float(rarest.compute()) == pytest.approx(0.1, abs=0.02)


def test_the_two_worlds_disagree():
    images = EmojiWorld("test", seed=3, count=2000)
    there = World("reversed").rarity(images.factors)
    assert np.corrcoef(images.rarity, there)[0, 1] < 0.2
    assert there.mean() > images.rarity.mean() + 2


def test_what_cannot_be_read_counts_only_as_unreadable():
    images = EmojiWorld("test", seed=4, count=100)
    table = torch.cat([rows(images)[:60], rows(images, probability=0.5)[60:]])
    found = {}
    for metric in (TrueRarity(images.world), Rarest(images.world), Unreadable(), Unreality(), HeldOutPairs()):
        metric.update(table, torch.arange(100))
        found[type(metric).__name__] = float(metric.compute())
    assert found["TrueRarity"] == pytest.approx(images.rarity[:60].mean())
    assert found["Rarest"] == pytest.approx((images.rarity[:60] >= images.world.rarity_quantile(0.1)).sum() / 100)
    assert found["Unreadable"] == pytest.approx(0.4)
    assert found["Unreality"] == 3.0
    assert found["HeldOutPairs"] == pytest.approx(images.in_held_out_pair[:60].sum() / 100)


def test_shares_are_compared_with_the_table_after_the_reader_has_confused_them():
    """A reader that takes a third of what is upside down for upright must not make the world look more upright."""
    reader = EmojiReader(world={"turn": {"upright": 1.0, "upside down": 1.0}}, unreality=False)
    reader.confusion_turn = torch.tensor([[900.0, 0.0], [300.0, 600.0]])
    for name in ("object", "background", "style"):
        setattr(reader, f"confusion_{name}", torch.eye(len(FACTORS[name])))
    images = EmojiWorld("test", seed=5, world={"turn": {"upright": 1.0, "upside down": 1.0}}, count=6000)
    seen = rows(images)
    flipped = (seen[:, 3] == 1) & (torch.arange(6000) % 3 == 0)
    seen[flipped, 3] = 0
    metric = FactorShares(reader)
    metric.update(seen, torch.arange(6000))
    found = metric.compute()
    assert list(found) == list(FACTORS)
    assert float(found["turn"]) < 0.03 and float(found["object"]) < 0.06
    raw = float((seen[:, 3] == 0).double().mean()) - 0.5
    assert raw > 0.15
    assert metric.shares()["turn"].sum() == pytest.approx(1)


def test_repeated_samples_count_once():
    images = EmojiWorld("test", seed=6, count=10)
    metric = TrueRarity(images.world)
    metric.update(rows(images), torch.arange(10))
    metric.update(rows(images)[:3], torch.arange(3))
    assert float(metric.compute()) == pytest.approx(images.rarity.mean())
