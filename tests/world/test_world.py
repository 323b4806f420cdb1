"""The emoji world against its own tables: shares, rarity, determinism, captions, and what a person would object to."""

import itertools
import subprocess
import sys

import numpy as np
import pytest
import torch
from scipy.stats import chisquare, kstest, norm

from sgm_lightning.errors import SGMError
from sgm_lightning.images import EmojiWorld
from sgm_lightning.world import FACTORS, World, caption, draw, is_held_out, scenes
from sgm_lightning.world.tables import COLOURS

OWN = {"turn": {"upright": 1.0, "upside down": 3.0}, "object": {"fox": 2.0, "wolf": 1.0}}
LEAST = 1e-4  # p-values below this are no chance


@pytest.mark.parametrize("world", ["normal", "reversed", "uniform", OWN], ids=["normal", "reversed", "uniform", "own"])
def test_shares_are_those_of_the_tables(world):
    images = EmojiWorld("test", seed=3, world=world, count=20_000)
    for column, (factor, table) in enumerate(images.world.probabilities.items()):
        counts = np.bincount(images.factors[:, column], minlength=len(FACTORS[factor]))
        assert not counts[table == 0].any()
        assert chisquare(counts[table > 0], table[table > 0] * len(images)).pvalue > LEAST
    for a, b in itertools.combinations(range(4), 2):  # factors are independent
        tables = list(images.world.probabilities.values())
        common = np.outer(tables[a], tables[b]).ravel() * len(images)
        counts = np.bincount(images.factors[:, a] * len(tables[b]) + images.factors[:, b], minlength=len(common))
        often = common >= 5
        merged = [np.append(x[often], x[~often].sum()) for x in (counts, common)]
        keep = merged[1] > 0
        assert chisquare(merged[0][keep], merged[1][keep]).pvalue > LEAST


def test_the_tables_are_zipf_laws_and_the_reverse_turns_them_round():
    normal, reverse = World(), World("reversed")
    for factor, exponent in (("object", 1.0), ("background", 1.5)):
        falling = np.sort(normal.probabilities[factor])[::-1]
        np.testing.assert_allclose(falling / falling[0], np.arange(1, len(falling) + 1) ** -exponent)
        rank = np.argsort(np.argsort(normal.probabilities[factor]))
        assert (np.argsort(np.argsort(reverse.probabilities[factor])) == len(falling) - 1 - rank).all()
    order = np.random.default_rng(0).permutation(48)
    assert FACTORS["object"][order[0]] == FACTORS["object"][int(normal.probabilities["object"].argmax())] == "bee"
    assert normal.probabilities["background"].argmax() == 0
    assert FACTORS["object"] == tuple(sorted(FACTORS["object"]))
    for factor, table in normal.probabilities.items():
        assert table.sum() == pytest.approx(1)
        if factor in ("style", "turn"):
            np.testing.assert_array_equal(table, reverse.probabilities[factor])


def test_rarity_is_the_sum_of_the_logarithms():
    images = EmojiWorld(count=50)
    for index, row in enumerate(images.factors):
        product = np.prod([table[value] for table, value in zip(images.world.probabilities.values(), row, strict=True)])
        assert images.rarity[index] == pytest.approx(-np.log(product))
    never = World({"turn": {"upright": 1.0}})
    assert never.rarity(np.array([[0, 0, 0, 0], [0, 0, 0, 1]])).tolist() == [
        pytest.approx(World().rarity(np.array([[0, 0, 0, 0]]))[0] + np.log(0.95)),
        np.inf,
    ]


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_a_quantile_of_rarity_holds_its_share(share):
    images = EmojiWorld("test", seed=1, count=20_000)
    assert (images.rarity >= images.world.rarity_quantile(share)).mean() == pytest.approx(share, abs=0.012)


def test_a_picture_is_a_function_of_seed_split_and_index():
    few, many = EmojiWorld(seed=5, count=3), EmojiWorld(seed=5, count=40)
    assert few.read(range(3)).equal(many.read(range(3)))
    later = scenes(World(), 5, "train", 10, first=30)
    np.testing.assert_array_equal(later.pose, many.pose[30:])
    np.testing.assert_array_equal(later.factors, many.factors[30:])
    for other in (EmojiWorld(seed=6, count=40), EmojiWorld("validation", 5, count=40), EmojiWorld("test", 5, count=40)):
        assert not np.intersect1d(other.pose[:, 0], many.pose[:, 0]).size
    assert many.cache_key() == EmojiWorld(seed=5, count=40).cache_key()
    keys = {images.cache_key() for images in (many, few, EmojiWorld(seed=5, count=40, size=64), EmojiWorld(count=40))}
    assert len(keys) == 4


@pytest.mark.slow
def test_pictures_are_the_same_bytes_in_another_process():
    code = (
        "from sgm_lightning.images import EmojiWorld; "
        "print(EmojiWorld(seed=5, count=40).read([7, 2]).numpy().tobytes().hex())"
    )
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert bytes.fromhex(there) == EmojiWorld(seed=5, count=40).read([7, 2]).numpy().tobytes()


def test_the_pose_is_as_defined():
    pose = EmojiWorld("test", count=20_000).pose
    assert kstest(pose[:, 0], "uniform", args=(0.65, 0.3)).pvalue > LEAST
    assert kstest(pose[:, 1], norm(0, 8).cdf).pvalue > LEAST
    for centre in pose.T[2:]:
        assert kstest((centre - pose[:, 0] / 2) / (1 - pose[:, 0]), "uniform").pvalue > LEAST


@pytest.mark.parametrize("size", [32, 64])
def test_the_drawing_shows_what_the_factors_say(size):
    straight = (0.75, 0.0, 0.5, 0.5)
    for number, colour in enumerate(COLOURS.values()):
        picture = draw((19, number, 0, 0), straight, size)
        assert picture.shape == (size, size, 3) and (picture[0, 0] == colour).all()
    upright, turned = draw((19, 1, 1, 0), straight, size), draw((19, 1, 1, 1), straight, size)
    np.testing.assert_array_equal(turned, upright[::-1, ::-1])  # a half-turn about the centre
    moved = draw((19, 1, 1, 0), (0.75, 0.0, 0.5 + 2 / size, 0.5), size)
    np.testing.assert_array_equal(moved[:, 2:], upright[:, :-2])
    assert np.abs(draw((19, 1, 0, 0), straight, size).astype(int) - upright).max() > 50
    objects = {draw((thing, 0, style, 0), straight, size).tobytes() for thing in range(48) for style in range(2)}
    assert len(objects) == 96


def test_pairs_can_be_left_out():
    left_out = EmojiWorld(count=5000, held_out="left_out")
    only = EmojiWorld(count=500, held_out="only")
    assert not left_out.in_held_out_pair.any() and only.in_held_out_pair.all()
    assert 0 < EmojiWorld(count=5000).in_held_out_pair.mean() < 0.2
    every = np.array(list(itertools.product(range(48), range(8), [0], [0])))
    assert is_held_out(every).sum() == 24
    with pytest.raises(SGMError, match="none only"):
        EmojiWorld(world={"object": {"airplane": 1.0}, "background": {"white": 1.0}}, held_out="only")


def test_captions():
    assert EmojiWorld(count=4).captions([0, 3]) == [
        "grapes, upright, on white, flat style",
        "a unicorn, upright, on white, shaded style",
    ]
    every = {caption(row) for row in itertools.product(range(48), range(8), range(2), range(2))}
    assert len(every) == 48 * 8 * 4
    assert {text.split(",")[0] for text in every} >= {"an apple", "an owl", "a tropical fish", "cherries"}


def test_labels_are_objects():
    images = EmojiWorld(count=30)
    assert images.labels.dtype == torch.int64 and images.labels.tolist() == images.factors[:, 0].tolist()
    assert images.class_names == list(FACTORS["object"]) and images.shape == (3, 32, 32)


WRONG = {
    "world": ({"world": "upside"}, "`normal`, `reversed`, `uniform` or a table"),
    "factor": ({"world": {"colour": {"red": 1}}}, "object, background, style, turn"),
    "value": ({"world": {"turn": {"sideways": 1}}}, "upright, upside down, got 'sideways'"),
    "negative": ({"world": {"turn": {"upright": -1}}}, "must not be negative nor all 0"),
    "zero": ({"world": {"turn": {"upright": 0}}}, "must not be negative nor all 0"),
    "nan": ({"world": {"turn": {"upright": float("nan")}}}, "must not be negative"),
    "count": ({"count": 0}, "10\\^8"),
    "seed": ({"seed": -1}, "at least 0"),
    "size": ({"size": 4}, "8 to 1024"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_meant_is_refused(name):
    arguments, match = WRONG[name]
    with pytest.raises(SGMError, match=match):
        EmojiWorld(**arguments)


def test_the_material_has_its_licences():
    from importlib.resources import files

    material = files("sgm_lightning.world") / "material"
    for style in FACTORS["style"]:
        assert len((material / style / "LICENSE").read_text()) > 5000
        assert style.capitalize() in (material / "README.md").read_text() or style == "noto"
        assert sum(file.name.endswith(".png") for file in (material / style).iterdir()) == 48
