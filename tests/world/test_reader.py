"""The reader on the world's own pictures, on damaged ones, and on what is none of them; and the way back to the world."""

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from support.cases import some
from torch.nn import functional

from sgm_lightning.errors import SGMError
from sgm_lightning.images import EmojiWorld, FashionMNIST
from sgm_lightning.world import FACTORS, EmojiReader, draw
from sgm_lightning.world.confusion import without_confusion
from sgm_lightning.world.degrade import degrade
from sgm_lightning.world.nearest import nearest

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def reader():
    return EmojiReader()


@pytest.mark.parametrize("world", some(["uniform", "reversed", "normal"], every=3))
def test_it_reads_what_the_program_drew(reader, world):
    images = EmojiWorld("test", seed=11, world=world, count=200)
    with torch.no_grad():
        seen = reader.look(images.read(range(200)))
    for column, (name, logits) in enumerate(seen.logits.items()):
        assert (logits.argmax(1).numpy() == images.factors[:, column]).mean() >= 0.98, name
    assert np.abs(seen.pose.numpy() - images.pose)[:, [0, 2, 3]].mean() < 0.03


@pytest.mark.slow
def test_its_accuracy_is_that_of_its_card(reader):
    images = EmojiWorld("test", seed=12, world="uniform", count=5000)
    for rows, batch in images.batches(500):
        for column, logits in enumerate(reader.look(batch).logits.values()):
            assert (logits.argmax(1).numpy() == images.factors[rows, column]).mean() >= 0.97


def test_pictures_of_other_sizes_are_read_too(reader):
    images = EmojiWorld("test", seed=13, world="uniform", size=64, count=48)
    reading = EmojiReader(unreality=False).read(images.read(range(48)))
    assert (reading.factors.numpy() == images.factors).mean() > 0.95


def test_it_doubts_what_is_no_picture_of_the_world():
    """Half of one object and half of another, mixtures, warped pictures, noise and garments are not readable."""
    reader = EmojiReader(unreality=False)
    images = EmojiWorld("test", seed=14, world="uniform", count=200)
    damaged = degrade(images.read(range(200)).float() / 127.5 - 1, torch.from_numpy(images.factors), RNG)
    reading = reader.read(((damaged.images + 1) * 127.5).round().byte())
    spoilt = ~damaged.has_pose
    assert reading.readable[spoilt].float().mean() < 0.2
    assert reading.readable[~spoilt].float().mean() > 0.85
    assert reader.read(torch.randint(0, 256, (32, 3, 32, 32), dtype=torch.uint8)).readable.float().mean() < 0.1
    garments = FashionMNIST("test", limit=64) if _has_garments() else None
    if garments is not None:
        assert reader.read(garments.read(range(64))).readable.float().mean() < 0.5


def _has_garments():
    from pathlib import Path

    return Path("/usr/share/datasets/fashion-mnist").is_dir()


@pytest.mark.slow
def test_its_probabilities_are_calibrated():
    reader = EmojiReader(unreality=False)
    images = EmojiWorld("test", seed=15, world="uniform", count=600)
    damaged = degrade(images.read(range(600)).float() / 127.5 - 1, torch.from_numpy(images.factors), RNG)
    with torch.no_grad():
        logits = reader.network(damaged.images).logits
    for scale, (name, values) in zip(reader.temperature, logits.items(), strict=True):
        sure, value = functional.softmax(values / scale, 1).max(1)
        right = damaged.targets[name].gather(1, value[:, None])[:, 0]
        assert abs(float((sure - right).mean())) < 0.05, name


@pytest.mark.parametrize("size", [32, pytest.param(64, marks=pytest.mark.slow)])
def test_the_nearest_picture_of_a_real_one_is_itself(size):
    images = EmojiWorld("test", seed=16, world="uniform", size=size, count=12)
    for index in range(12):
        start = images.pose[index] + RNG.standard_normal(4) * [0.015, 2, 0.01, 0.01]
        found = nearest(images.picture(index), images.factors[index], start)
        assert found.distance < 0.5
        np.testing.assert_allclose(found.pose, images.pose[index], atol=1.0)
        distance = np.sqrt(((found.picture.astype(float) - images.picture(index)) ** 2).mean())
        assert found.distance == pytest.approx(distance)


@pytest.mark.slow
def test_unreality_grows_with_damage(reader):
    """Of white noise added to a picture, what no pose can explain is the noise itself: its root mean square remains."""
    images = EmojiWorld("test", seed=17, world={"background": {"sky": 1.0, "grass": 1.0}}, count=6).read(range(6))
    noise = torch.from_numpy(RNG.standard_normal(images.shape, dtype=np.float32))
    found = []
    for level in (0.0, 8.0, 24.0):
        damaged = (images + level * noise).round().clamp(0, 255)
        found.append(reader.read(damaged.byte()).unreality.mean())
        rest = (damaged - images).square().mean().sqrt()
        assert found[-1] == pytest.approx(float(rest), rel=0.05, abs=0.5)
    assert spearmanr([0, 1, 2], found).statistic == 1


def test_reading_is_by_the_picture_alone(reader):
    images = EmojiWorld("test", seed=18, count=2).read(range(2))
    together, apart = reader(images), torch.cat([reader(image[None]) for image in images])
    torch.testing.assert_close(together, apart, atol=1e-4, rtol=0)


def test_shares_are_corrected_for_confusion():
    confusion = np.array([[0.9, 0.1, 0.0], [0.2, 0.8, 0.0], [0.0, 0.05, 0.95]])
    truth = np.array([0.7, 0.1, 0.2])
    np.testing.assert_allclose(without_confusion(10_000 * truth @ confusion, confusion), truth, atol=1e-3)
    assert np.isnan(without_confusion(np.zeros(3), confusion)).all()


def test_what_is_no_reader_is_refused(tmp_path):
    with pytest.raises(SGMError, match="fit_reader"):
        EmojiReader(str(tmp_path / "none"))
    torch.save({"state_dict": {"network.x": torch.zeros(1)}}, tmp_path / "last.ckpt")
    with pytest.raises(SGMError, match="lacks"):
        EmojiReader(str(tmp_path))
    with pytest.raises(SGMError, match="1 or 3 channels"):
        EmojiReader().look(torch.zeros(1, 4, 32, 32, dtype=torch.uint8))


def test_the_fingerprint_knows_weights_and_search_not_the_world():
    same = EmojiReader(world="reversed").fingerprint()
    assert same == EmojiReader().fingerprint() != EmojiReader(unreality=False).fingerprint()


def test_damage_says_what_can_still_be_read():
    images = EmojiWorld("test", seed=19, world="uniform", count=64)
    x, factors = images.read(range(64)).float() / 127.5 - 1, torch.from_numpy(images.factors)
    damaged = degrade(x, factors, np.random.default_rng(1))
    assert damaged.images.min() >= -1 and damaged.images.max() <= 1
    for column, (name, target) in enumerate(damaged.targets.items()):
        torch.testing.assert_close(target.sum(1), torch.ones(64))
        own = target.gather(1, factors[:, column, None])[:, 0]
        assert (own[damaged.has_pose] == 1).all()
        assert name == "background" or (own[~damaged.has_pose] < 1).any()
    untouched = (damaged.images == x).flatten(1).all(1)
    assert 0.25 < untouched.float().mean() < 0.45 and damaged.has_pose[untouched].all()
    again = degrade(x, factors, np.random.default_rng(1))
    assert again.images.equal(damaged.images)


def test_drawing_from_a_reading_closes_the_circle(reader):
    images = EmojiWorld("test", seed=20, world="uniform", count=2)
    reading = reader.read(images.read(range(2)))
    for index in range(2):
        if (reading.factors[index].numpy() == images.factors[index]).all():
            assert float(reading.unreality[index]) < 1
    assert len(FACTORS) == reading.factors.shape[1] == 4
    assert draw(reading.factors[0].numpy(), images.pose[0], 32).shape == (32, 32, 3)
