"""Minority guidance from end to end: scores of a data set, levels, a classifier of them, guided samples."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from conftest import FASHION
from PIL import Image
from support.closed_forms import closed_form, mixture

from sgm_lightning import Condition, DiffusersCheckpoint, MinorityScore, NoiseLevel, SampleNoise, SGMError
from sgm_lightning.classifiers import ClassifierFlags, NewClassifier, StackedClassifier, TrainedClassifier
from sgm_lightning.cli import main
from sgm_lightning.diffusion.noise import Purpose
from sgm_lightning.diffusion.pixels import from_uint8
from sgm_lightning.images import FashionMNIST, ImageFolder, MinorityLevels, RealAndDrawn
from sgm_lightning.images.levels import level_of, read_levels, thresholds

ROOT = Path(__file__).parents[1]
CLASSIFIER = ROOT / "checkpoints/fashion_mnist_minority_classifier"
COUNT = 15
BACKBONE = {"class_path": "DiffusersCheckpoint", "init_args": {"path": str(FASHION)}}
SOURCE = {"class_path": "FashionMNIST", "init_args": {"limit": COUNT}}
FLAGS = {"image_size": 28, "in_channels": 1, "out_channels": 3, "classifier_width": 32, "classifier_depth": 1,
         "channel_mult": "1,1", "classifier_attention_resolutions": "", "classifier_resblock_updown": False,
         "classifier_pool": "adaptive", "num_head_channels": 32, "dropout": 0.1}  # fmt: skip


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SGM_CACHE", str(tmp_path / "cache"))


def score(folder, name="levels", **changes):
    config = {"backbone": BACKBONE, "source": SOURCE, "spacing": 10, "num_levels": 3,
              "score": {"level": {"ratio": 0.6}, "num_draws": 2, "clip": True},
              "part_size": 7, "batch_size": 4, **changes}  # fmt: skip
    (folder / "score.yaml").write_text(yaml.safe_dump(config))
    return main(["score", "--config", str(folder / "score.yaml"), "--output", str(folder / f"{name}.safetensors")])


@pytest.fixture(scope="module")
def scored_once(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scored")
    assert score(folder) == 0
    return folder


@pytest.fixture
def scored(scored_once, tmp_path):
    """A folder with levels and the parts that they were made of."""
    shutil.copytree(scored_once, tmp_path, dirs_exist_ok=True)
    return tmp_path


# Scores


class Third(torch.nn.Module):
    """Takes a third of x_t for noise."""

    def forward(self, x_t, step, class_labels=None):
        return x_t / 3


@pytest.mark.parametrize("clip", [True, False])
def test_the_score_is_its_definition(clip):
    """Mean over draws of ‖x_0 − clip(x0_hat(√ᾱ x_0 + √(1 − ᾱ) noise))‖, the network's call and all written out.

    By a network whose x0_hat leaves [−1, 1] where the noise is large.
    """
    denoiser, index = closed_form(Third(), 20, schedule="cosine"), 12
    x_0, draws = torch.rand(3, 1, 4, 4) * 2 - 1, torch.randn(5, 3, 1, 4, 4)
    found = MinorityScore(level=NoiseLevel(ratio=0.6), num_draws=5, clip=clip)(denoiser, x_0, Listed(draws))
    alpha = denoiser.process.alphas_cumprod[index]
    step = denoiser.process.train_steps[index].expand(3)
    expected, beyond = torch.zeros(3), 0.0
    for noise in draws:
        x_s = alpha.sqrt() * x_0 + (1 - alpha).sqrt() * noise
        x0_hat = (x_s - (1 - alpha).sqrt() * denoiser.network(x_s, step)) / alpha.sqrt()
        beyond = max(beyond, float(x0_hat.abs().max()))
        x0_hat = torch.where(x0_hat.abs() > 1, x0_hat.sign(), x0_hat) if clip else x0_hat
        expected += (x_0 - x0_hat).square().sum((1, 2, 3)).sqrt() / 5
    assert beyond > 1.5
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


class Listed:
    """Draws from a list."""

    def __init__(self, draws):
        self.draws = draws

    def draw(self, purpose, index, number):
        return self.draws[number]


def test_the_command_scores_every_image_with_its_own_noise(scored):
    found = read_levels(scored / "levels.safetensors")
    images = FashionMNIST(limit=COUNT).images
    denoiser = DiffusersCheckpoint(str(FASHION)).load().denoiser(10)
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
    path = str(ROOT / "checkpoints/fashion_mnist_28_classes")
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


def test_levels_are_the_released_ones():
    """The release: level j where q_j < score ≤ q_{j+1}, with the quantiles i / L, the last of them the maximum."""
    scores = torch.rand(1000, generator=torch.Generator().manual_seed(0)).round(decimals=2)
    at = thresholds(scores, 10)
    levels = level_of(scores, at)
    edges = torch.quantile(scores, torch.arange(1, 11) / 10)
    for value, level in zip(scores.tolist(), levels.tolist(), strict=True):
        below = -1.0 if level == 0 else float(edges[level - 1])
        assert below - 1e-6 < value <= float(edges[level]) + 1e-6
    unlike = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    assert torch.bincount(level_of(unlike, thresholds(unlike, 10))).tolist() == [100] * 10
    with pytest.raises(SGMError, match="num_levels"):
        thresholds(scores[:5], 10)


# The sources


def test_levels_belong_to_their_pictures(scored):
    file = str(scored / "levels.safetensors")
    assert len(MinorityLevels(FashionMNIST(limit=COUNT), file)) == COUNT
    with pytest.raises(SGMError, match="other pictures"):
        MinorityLevels(FashionMNIST("test", limit=COUNT), file)
    with pytest.raises(SGMError, match="got a source of 5"):
        MinorityLevels(FashionMNIST(limit=5), file)
    with pytest.raises(SGMError, match="sgm-lightning score"):
        MinorityLevels(FashionMNIST(limit=COUNT), str(scored / "none.safetensors"))


def test_real_and_drawn():
    drawn, real = FashionMNIST(limit=2), FashionMNIST("test", limit=3)
    both = RealAndDrawn(drawn, real)
    assert len(both) == 5 and both.labels.tolist() == [0, 0, 1, 1, 1]
    assert np.array_equal(both.picture(1), drawn.picture(1)) and np.array_equal(both.picture(2), real.picture(0))


# From scores to samples


NEW = {"class_path": "NewClassifier", "init_args": {"flags": FLAGS}}


def fit(folder, classifier=NEW, **trainer):
    config = {
        "model": {
            "classifier": classifier,
            "noise_schedule": "cosine",
            "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 1e-3}},
        },
        "data": {
            "class_path": "TrainingData",
            "init_args": {
                "batch_size": 8,
                "held_out_share": 0.25,
                "source": {
                    "class_path": "MinorityLevels",
                    "init_args": {"source": SOURCE, "file": str(folder / "levels.safetensors")},
                },
            },
        },
        "average": {"decay": 0.5},
        "writer": {"save_every": 3, "keep_every": 3},
        "trainer": {"accelerator": "cpu", "max_steps": 6, "val_check_interval": 3, "log_every_n_steps": 1,
                    "enable_progress_bar": False, **trainer},
    }  # fmt: skip
    (folder / "fit.yaml").write_text(yaml.safe_dump(config))
    return main(["fit_classifier", "--config", str(folder / "fit.yaml"), "--run_dir", str(folder / "fit")])


def predict(folder, name, path, **changes):
    config = {
        "model": {
            "backbone": BACKBONE,
            "guidance": {
                "class_path": "ClassifierGuidance",
                "init_args": {
                    "classifier": {"class_path": "TrainedClassifier", "init_args": {"path": str(path)}},
                    "label": 2,
                    **changes,
                },
            },
            "spacing": 4,
            "score": {"num_draws": 1},
            "threads": 1,
        },
        "data": {"class_path": "SampleIndices", "init_args": {"num_samples": 3, "chunk_size": 3}},
        "trainer": {"accelerator": "cpu"},
    }
    (folder / "predict.yaml").write_text(yaml.safe_dump(config))
    return main(["predict", "--config", str(folder / "predict.yaml"), "--run_dir", str(folder / name)])


def drawn(folder, name):
    with np.load(folder / name / "samples.npz") as file:
        return file["arr_0"]


def test_from_scores_to_samples(scored, capsys):
    tmp_path = scored
    assert fit(tmp_path) == 0
    assert list((tmp_path / "fit/tensorboard").glob("events*")) and (tmp_path / "fit/config.yaml").is_file()
    averaged, current = (
        TrainedClassifier(str(tmp_path / "fit"), weights).load().state_dict() for weights in ("auto", "current")
    )
    assert any(not torch.equal(averaged[name], current[name]) for name in current)

    assert predict(tmp_path, "guided", tmp_path / "fit", scale=50.0) == 0
    assert predict(tmp_path, "plain", tmp_path / "fit", scale=0.0) == 0
    assert not np.array_equal(drawn(tmp_path, "guided"), drawn(tmp_path, "plain"))
    assert len(json.loads((tmp_path / "guided/manifest.json").read_text())["classifiers"]) == 1
    # The same bytes in another place are the same run; other weights are another.
    (tmp_path / "moved").mkdir()
    os.rename(tmp_path / "fit/last.ckpt", tmp_path / "moved/last.ckpt")
    assert predict(tmp_path, "guided", tmp_path / "moved", scale=50.0) == 0
    content = torch.load(tmp_path / "moved/last.ckpt", weights_only=True)
    content["state_dict"]["classifier.head.3.bias"] += 1
    torch.save(content, tmp_path / "moved/last.ckpt")
    assert predict(tmp_path, "guided", tmp_path / "moved", scale=50.0) == 1
    assert "classifiers" in capsys.readouterr().err


def test_a_stopped_training_ends_as_an_undisturbed_one(scored):
    """With dropout and the linear schedule."""
    assert fit(scored) == 0
    whole = TrainedClassifier(str(scored / "fit")).load().state_dict()
    os.replace(scored / "fit/step-000003.ckpt", scored / "fit/last.ckpt")
    assert fit(scored) == 0
    resumed = TrainedClassifier(str(scored / "fit")).load().state_dict()
    for name, value in whole.items():
        torch.testing.assert_close(resumed[name], value, rtol=1e-5, atol=1e-6)


def test_a_stacked_classifier_trains_its_head_alone(scored):
    flags = {**FLAGS, "image_size": 14, "in_channels": 32, "channel_mult": "1"}
    head = {"class_path": "NewClassifier", "init_args": {"flags": flags, "seed": 1}}
    assert fit(scored, {"class_path": "StackedClassifier", "init_args": {"extractor": NEW, "head": head}}, max_steps=2) == 0
    found = TrainedClassifier(str(scored / "fit")).load().state_dict()
    before = StackedClassifier(
        NewClassifier(ClassifierFlags(**FLAGS)), NewClassifier(ClassifierFlags(**flags), seed=1)
    ).load()
    for name, value in before.state_dict().items():
        assert torch.equal(found[name], value) == name.startswith("extractor."), name


def test_another_classifier_is_not_resumed(scored, capsys):
    tmp_path = scored
    assert fit(tmp_path, max_steps=1) == 0
    other = yaml.safe_load((tmp_path / "fit.yaml").read_text())
    other["model"]["classifier"]["init_args"]["flags"]["channel_mult"] = "1,2"
    other["trainer"]["max_steps"] = 2
    (tmp_path / "fit.yaml").write_text(yaml.safe_dump(other))
    assert main(["fit_classifier", "--config", str(tmp_path / "fit.yaml"), "--run_dir", str(tmp_path / "fit")]) == 1
    assert "run_dir" in capsys.readouterr().err


def test_the_reported_score_is_of_the_finished_images():
    """`of_images` of finished images: uint8, unclipped, the samples' own random numbers."""
    denoiser, images = mixture(20), torch.randint(0, 256, (2, 1, 4, 4), dtype=torch.uint8)
    score = MinorityScore(level=NoiseLevel(ratio=0.8), num_draws=2)
    found = score.of_images(images, denoiser, 3, [5, 9])
    noise, total = SampleNoise(3, [5, 9], (1, 4, 4)), torch.zeros(2)
    for number in range(2):
        x_s = denoiser.process.q_sample(from_uint8(images), 16, noise.draw(Purpose.SCORE, 0, number))
        total += (from_uint8(images) - denoiser(x_s, 16).x0_hat).flatten(1).norm(dim=1) / 2
    torch.testing.assert_close(found, total)


def test_fit_names_the_command_for_classifiers(tmp_path, capsys):
    (tmp_path / "fit.yaml").write_text(yaml.safe_dump({"model": {"classifier": NEW, "noise_schedule": "cosine"}}))
    for given in (["--config", str(tmp_path / "fit.yaml")], ["--model.classifier", "NewClassifier"]):
        assert main(["fit", *given, "--run_dir", str(tmp_path / "run")]) == 1
        assert "sgm-lightning fit_classifier" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


# The committed classifier


def test_the_committed_classifier_knows_rare_images():
    """Of images that it was not trained on: the level that it expects follows the score."""
    classifier = TrainedClassifier(str(CLASSIFIER)).load().eval()
    x = from_uint8(FashionMNIST("test", limit=60).images)
    denoiser = DiffusersCheckpoint(str(FASHION)).load().denoiser(100)
    source = torch.Generator().manual_seed(0)
    with torch.no_grad():
        score = MinorityScore(level=NoiseLevel(ratio=0.6), clip=True)
        scores = score(denoiser, x, Listed([torch.randn(x.shape, generator=source)]))
    with torch.no_grad():
        logits = classifier(denoiser.process.q_sample(x, 10, torch.randn(x.shape, generator=source)), torch.full((60,), 100))
    expected = logits.softmax(1) @ torch.arange(10.0)
    assert float(torch.corrcoef(torch.stack([expected, scores]))[0, 1]) > 0.6


def test_minority_guidance_goes_over_the_default_config(tmp_path, monkeypatch):
    """Run for two samples of a short chain."""
    monkeypatch.chdir(ROOT)
    command = ["predict", "--config", "fashion_mnist", "--config", "configs/methods/minority_guidance.yaml"]
    command += ["--trainer.callbacks", "null", "--model.spacing", "4", "--data.num_samples", "2", "--data.chunk_size", "2"]
    assert main([*command, "--model.score.num_draws", "1", "--run_dir", str(tmp_path / "run")]) == 0
    with np.load(tmp_path / "run/baseline.npz") as file:
        assert not np.array_equal(file["arr_0"], drawn(tmp_path, "run"))
    guidance = json.loads((tmp_path / "run/manifest.json").read_text())["settings"]["guidance"]
    assert guidance["init_args"]["label"] == 9 and "path" not in guidance["init_args"]["classifier"]["init_args"]
