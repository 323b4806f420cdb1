"""Low-density guidance: its two terms, a class's mean, and from a data set to samples by commands alone."""

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file
from support.classifiers import NONE, exact
from support.closed_forms import mixture, step_of
from support.levels import FLAGS
from support.networks import small_model

from sgm_lightning import DDPM, Condition, SGMError
from sgm_lightning.cli import main
from sgm_lightning.diffusion.noise import SampleNoise
from sgm_lightning.features import NoisyClassifierFeatures
from sgm_lightning.features.class_means import class_means, save_class_means
from sgm_lightning.guidance import LowDensityGuidance
from sgm_lightning.images.base import ArrayImages

pytestmark = pytest.mark.usefixtures("own_cache")

# Low-density sampling


def test_low_density_guidance_follows_its_two_terms():
    """Against the definition in float64, differentiated by finite differences."""
    denoiser, index = mixture(20), 6
    means = torch.randn(3, 16, generator=torch.Generator().manual_seed(0))
    x_t, labels = SampleNoise(0, range(2), (1, 4, 4)).start(), torch.tensor([2, 0])
    guidance = LowDensityGuidance(exact(denoiser), means, 0.7, exact(denoiser), 0.3, tau=4.0, normalize=False)
    found = guidance(step_of(denoiser, index, x_t, condition=Condition(labels), denoised=NONE))
    alpha = denoiser.process.alphas_cumprod[index].double()
    c = alpha.sqrt() * 0.4 / (alpha * 0.1 + 1 - alpha)

    def value(x):
        cosines = (x @ means.double().T) / (x.norm() * means.double().norm(dim=1))
        hard = -(4.0 * cosines).log_softmax(0)
        return 0.7 * hard, 0.3 * torch.nn.functional.logsigmoid(2 * c * x.sum())

    for row in range(2):
        x, gradient = x_t[row].double().flatten(), torch.zeros(16).double()
        for i in range(16):
            delta = torch.zeros(16).double()
            delta[i] = 1e-6
            up, down = value(x + delta), value(x - delta)
            gradient[i] = (up[0][labels[row]] + up[1] - down[0][labels[row]] - down[1]) / 2e-6
        torch.testing.assert_close(found[row].flatten(), gradient.float(), rtol=1e-3, atol=1e-5)
    unit = LowDensityGuidance(exact(denoiser), means, 0.7)(
        step_of(denoiser, index, x_t, condition=Condition(labels), denoised=NONE)
    )
    torch.testing.assert_close(unit.abs().amax((1, 2, 3)), torch.full((2,), 0.7))


def test_low_density_sampling_leaves_the_class_mean(tmp_path):
    """Two modes as two classes: ascent on the hardness of class 1 lowers the cosine with its mean."""
    denoiser = mixture(20)
    images = torch.cat([torch.full((4, 1, 4, 4), 76), torch.full((4, 1, 4, 4), 178)]).to(torch.uint8)
    labelled = ArrayImages(images, torch.arange(8) // 4)
    extractor = NoisyClassifierFeatures(exact(denoiser))
    means = class_means(extractor, labelled, batch_size=3)
    torch.testing.assert_close(means[1], torch.full((16,), 178 / 127.5 - 1))
    save_class_means(tmp_path / "means.safetensors", labelled, extractor)

    def cosine(alpha):
        guidance = LowDensityGuidance(exact(denoiser), str(tmp_path / "means.safetensors"), alpha, label=1)
        x = DDPM()(denoiser, SampleNoise(0, range(32), (1, 4, 4)), guidance).flatten(1)
        return float((x.sum(1) / x.norm(dim=1)).mean())

    assert cosine(4.0) < cosine(0.0) - 0.1


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"beta": 1.0}, "discriminator"),
        ({"tau": 0.0}, "tau"),
        ({"label": 3}, r"\[0, 3\)"),
        ({"means": torch.zeros(3)}, r"got \(3,\)"),
        ({"means": torch.ones(3, 15)}, "16 features, got 15"),
        ({"means": "nowhere.safetensors"}, "class_means"),
    ],
)
def test_what_low_density_guidance_refuses(arguments, word):
    with pytest.raises(SGMError, match=word) as error:
        LowDensityGuidance(exact(mixture(4)), **{"means": torch.ones(3, 16), **arguments})
    assert str(error.value).endswith(".")


BACKBONE = {"class_path": "DiffusersCheckpoint", "init_args": {"path": small_model(10)}}
IMAGES = {"class_path": "FashionMNIST", "init_args": {"limit": 40}}


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


@pytest.mark.slow
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
