"""Low-density sampling from a data set to samples, by commands alone."""

import numpy as np
import pytest
import torch
import yaml
from conftest import FASHION
from safetensors.torch import load_file
from test_minority_guidance import FLAGS

from sgm_lightning import DiffusersCheckpoint, SGMError
from sgm_lightning.classifiers import ClassifierFlags, NewClassifier
from sgm_lightning.cli import main
from sgm_lightning.features import NoisyClassifierFeatures
from sgm_lightning.features.class_means import class_means
from sgm_lightning.guidance import LowDensityGuidance
from sgm_lightning.images import FashionMNIST
from sgm_lightning.images.base import ArrayImages

BACKBONE = {"class_path": "DiffusersCheckpoint", "init_args": {"path": f"{FASHION}_classes"}}
IMAGES = {"class_path": "FashionMNIST", "init_args": {"limit": 40}}


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SGM_CACHE", str(tmp_path / "cache"))


def run(folder, command, config, *args):
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return main([command, "--config", str(folder / "config.yaml"), *args])


def fit(folder, name, source, classes):
    flags = {**FLAGS, "out_channels": classes}
    config = {
        "model": {"classifier": {"class_path": "NewClassifier", "init_args": {"flags": flags}}, "noise_schedule": "cosine"},
        "data": {"class_path": "TrainingData", "init_args": {"batch_size": 4, "held_out_share": 0.0, "source": source}},
        "trainer": {"accelerator": "cpu", "max_steps": 1, "enable_progress_bar": False},
    }
    assert run(folder, "fit_classifier", config, "--run_dir", str(folder / name)) == 0
    return {"class_path": "TrainedClassifier", "init_args": {"path": str(folder / name)}}


def predict(folder, name, guidance):
    config = {
        "model": {"backbone": BACKBONE, "guidance": guidance, "spacing": 3, "score": {"num_draws": 1}, "threads": 1},
        "data": {"class_path": "SampleIndices", "init_args": {"num_samples": 4, "chunk_size": 4}},
        "trainer": {"accelerator": "cpu"},
    }
    return run(folder, "predict", config, "--run_dir", str(folder / name))


def test_from_a_data_set_to_samples(tmp_path):
    assert predict(tmp_path, "plain", None) == 0
    classifier = fit(tmp_path, "classes", IMAGES, 10)
    own = {"class_path": "RunImages", "init_args": {"path": str(tmp_path / "plain")}}
    both = {"class_path": "RealAndDrawn", "init_args": {"drawn": own, "real": IMAGES}}
    discriminator = fit(tmp_path, "discriminator", both, 2)
    means = tmp_path / "means.safetensors"
    extractor = {"class_path": "NoisyClassifierFeatures", "init_args": {"classifier": classifier}}
    config = {"extractor": extractor, "images": IMAGES, "class_means": True}
    assert run(tmp_path, "features", config, "--output", str(means)) == 0
    assert load_file(means)["means"].shape == (10, 32)
    guidance = {
        "class_path": "LowDensityGuidance",
        "init_args": {"classifier": classifier, "means": str(means), "discriminator": discriminator, "beta": 0.5},
    }
    assert predict(tmp_path, "guided", guidance) == 0
    drawn = [np.load(tmp_path / name / "samples.npz") for name in ("plain", "guided")]
    assert np.array_equal(drawn[0]["arr_1"], drawn[1]["arr_1"]) and not np.array_equal(drawn[0]["arr_0"], drawn[1]["arr_0"])


def test_class_means_are_means_by_class():
    extractor = NoisyClassifierFeatures(NewClassifier(ClassifierFlags(**FLAGS)))
    images = FashionMNIST(limit=40)
    found, features = class_means(extractor, images, batch_size=7), extractor.of(images)
    for label in range(10):
        torch.testing.assert_close(found[label], features[images.labels == label].mean(0), rtol=1e-4, atol=1e-5)


def test_what_has_no_mean_is_refused():
    extractor = NoisyClassifierFeatures(NewClassifier(ClassifierFlags(**FLAGS)))
    pictures = torch.zeros(2, 1, 28, 28, dtype=torch.uint8)
    with pytest.raises(SGMError, match=r"none of class 0.*\.$"):
        class_means(extractor, ArrayImages(pictures, torch.tensor([1, 2])))
    with pytest.raises(SGMError, match=r"need classes.*\.$"):
        class_means(extractor, ArrayImages(pictures))
    denoiser = DiffusersCheckpoint(f"{FASHION}_classes").load().denoiser(3)
    guidance = LowDensityGuidance(NewClassifier(ClassifierFlags(**FLAGS)), torch.ones(9, 32))
    with pytest.raises(SGMError, match=r"got 9 for 10 classes.*\.$"):
        guidance.check(denoiser)
