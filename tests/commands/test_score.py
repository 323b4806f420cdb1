"""`sgm-lightning score`: a score and a level for every image of a data set."""

import os

import numpy as np
import pytest
import torch
from PIL import Image
from support.levels import COUNT, score
from support.networks import small_model

from sgm_lightning import Condition, DiffusersCheckpoint, MinorityScore, NoiseLevel, SampleNoise
from sgm_lightning.diffusion.noise import Purpose
from sgm_lightning.diffusion.pixels import from_uint8
from sgm_lightning.images import FashionMNIST, ImageFolder, MinorityLevels
from sgm_lightning.images.levels import read_levels

pytestmark = pytest.mark.usefixtures("own_cache")


def test_the_command_scores_every_image_with_its_own_noise(scored):
    found = read_levels(scored / "levels.safetensors")
    images = FashionMNIST(limit=COUNT).images
    denoiser = DiffusersCheckpoint(small_model()).load().denoiser(10)
    for i in (0, COUNT - 1):
        noise = SampleNoise(0, [i], (1, 28, 28))
        draws = [noise.draw(Purpose.SCORE, 0, number) for number in range(2)]
        x_0, expected = from_uint8(images[i : i + 1]), torch.zeros(1)
        for draw in draws:
            x0_hat = denoiser(denoiser.process.q_sample(x_0, 6, draw), 6).x0_hat.clamp(-1, 1)
            expected += (x_0 - x0_hat).square().sum((1, 2, 3)).sqrt() / 2
        torch.testing.assert_close(found.scores[i : i + 1], expected, rtol=1e-4, atol=1e-4)
    assert torch.bincount(found.levels).tolist() == [5, 5, 5]
    assert found.scores[found.levels == 2].min() > found.scores[found.levels == 1].max()


def test_a_conditional_model_scores_every_image_under_its_class(tmp_path):
    path = small_model(10)
    assert score(tmp_path, backbone={"class_path": "DiffusersCheckpoint", "init_args": {"path": path}}) == 0
    found = read_levels(tmp_path / "levels.safetensors")
    source, denoiser = FashionMNIST(limit=COUNT), DiffusersCheckpoint(path).load().denoiser(10)
    taken = MinorityScore(level=NoiseLevel(ratio=0.6), num_draws=2, clip=True)
    for labels, same in ((source.labels, True), ((source.labels + 1) % 10, False)):
        expected = taken.of_images(source.images, denoiser, 0, range(COUNT), Condition(labels))
        assert torch.allclose(found.scores, expected, rtol=1e-4, atol=1e-4) == same


def test_scoring_goes_on_where_it_stopped(scored, capsys):
    tmp_path = scored
    first = (tmp_path / "levels.safetensors").read_bytes()
    parts = tmp_path / "levels.safetensors.parts/chunks"
    kept = parts / "chunk-000000.npz"
    before = kept.stat().st_mtime_ns
    os.remove(parts / "chunk-000002.npz")
    os.remove(tmp_path / "levels.safetensors")
    assert score(tmp_path) == 0
    assert (tmp_path / "levels.safetensors").read_bytes() == first and kept.stat().st_mtime_ns == before
    assert score(tmp_path, num_levels=4) == 0  # other levels of the same scores
    assert read_levels(tmp_path / "levels.safetensors").num_levels == 4
    for wrong, word in (({"seed": 1}, "seed"), ({"score": {"level": {"ratio": 0.5}}}, "score")):
        assert score(tmp_path, **wrong) == 1
        assert word in capsys.readouterr().err


def test_broken_pictures_have_no_level(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    for i in range(6):
        Image.fromarray(rng.integers(0, 256, (28, 28), dtype=np.uint8)).save(tmp_path / f"images/{i}.png")
    (tmp_path / "images/2.png").write_bytes(b"no picture")
    source = {"class_path": "ImageFolder", "init_args": {"path": str(tmp_path / "images")}}
    assert score(tmp_path, source=source) == 1
    assert score(tmp_path, source=source, max_broken=1) == 0
    found = read_levels(tmp_path / "levels.safetensors")
    assert found.levels[2] == -1 and torch.isnan(found.scores[2]) and int((found.levels >= 0).sum()) == 5
    levels = MinorityLevels(ImageFolder(str(tmp_path / "images")), str(tmp_path / "levels.safetensors"))
    assert len(levels) == 5 and levels.labels.tolist() == found.levels[[0, 1, 3, 4, 5]].tolist()
    assert np.array_equal(levels.picture(2), levels.source.picture(3))


def test_broken_pictures_are_counted_over_all_parts_and_calls(tmp_path, capsys):
    """The same command again, or another process, is no way around the limit."""
    rng = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    for i in range(6):
        Image.fromarray(rng.integers(0, 256, (28, 28), dtype=np.uint8)).save(tmp_path / f"images/{i}.png")
    for i in (0, 3):
        (tmp_path / f"images/{i}.png").write_bytes(b"no picture")
    options = {"source": {"class_path": "ImageFolder", "init_args": {"path": str(tmp_path / "images")}}, "part_size": 2}
    for _ in range(2):
        assert score(tmp_path, **options, max_broken=1) == 1
        error = capsys.readouterr().err
        assert "got 2" in error and "raise `max_broken`" in error
        assert (tmp_path / "levels.safetensors.parts/chunks/chunk-000000.npz").is_file()
    assert score(tmp_path, **options, max_broken=2) == 0
    (tmp_path / "levels.safetensors").unlink()
    assert score(tmp_path, **options, max_broken=1) == 1  # all parts are there; the limit holds
    assert not (tmp_path / "levels.safetensors").exists()
