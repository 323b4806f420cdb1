"""A run resumes with the model and the settings that it began with, and with its own chunks."""

import json
import shutil

import diffusers
import pytest
from support.networks import small_unet

from sgm_lightning.cli import main

NETWORK = {
    "sample_size": 8,
    "in_channels": 1,
    "out_channels": 1,
    "block_out_channels": (8, 16),
    "down_block_types": ("DownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "UpBlock2D"),
    "norm_num_groups": 4,
}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A model's folder, and half of a run of it."""
    folder = tmp_path_factory.mktemp("one")
    scheduler = diffusers.DDPMScheduler(prediction_type="epsilon")
    diffusers.DDPMPipeline(small_unet(**NETWORK), scheduler).save_pretrained(folder / "model")
    assert predict(folder, 2) == 0
    return folder


@pytest.fixture
def folder(drawn, tmp_path):
    return shutil.copytree(drawn, tmp_path / "copy")


def predict(folder, num_samples=4, seed=0, run="run", **changes):
    options = {
        "model.backbone": "DiffusersCheckpoint",
        "model.backbone.path": folder / "model",
        "model.spacing": 3,
        "model.score.num_draws": 1,
        "data": "SampleIndices",
        "data.num_samples": num_samples,
        "data.chunk_size": 2,
        "data.seed": seed,
        "trainer.enable_progress_bar": "false",
        "trainer.logger": "false",
        "run_dir": folder / run,
        **changes,
    }
    return main(["predict", *(str(word) for key, value in options.items() for word in (f"--{key}", value))])


def test_the_same_model_goes_on(folder):
    assert predict(folder) == 0


@pytest.mark.parametrize(
    ("file", "key", "value"),
    [
        ("scheduler/scheduler_config.json", "beta_end", 0.015),
        ("scheduler/scheduler_config.json", "beta_schedule", "scaled_linear"),
        ("scheduler/scheduler_config.json", "prediction_type", "v_prediction"),
        ("scheduler/scheduler_config.json", "variance_type", "fixed_large"),
        ("scheduler/scheduler_config.json", "num_train_timesteps", 500),
        ("unet/config.json", "norm_eps", 1e-3),
        ("unet/config.json", "freq_shift", 1),
        ("unet/config.json", "act_fn", "relu"),
        ("unet/config.json", "flip_sin_to_cos", False),
    ],
)
def test_another_model_with_the_same_weights_is_refused(folder, capsys, file, key, value):
    path = folder / "model" / file
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    assert predict(folder) == 1
    assert "holds a run with other settings (model." in capsys.readouterr().err


def test_notes_of_another_version_of_diffusers_change_nothing(folder):
    for file in ("unet/config.json", "scheduler/scheduler_config.json"):
        path = folder / "model" / file
        path.write_text(json.dumps({**json.loads(path.read_text()), "_diffusers_version": "9.9"}))
    assert predict(folder) == 0


def test_chunks_without_their_manifest_are_taken_by_their_own_run_alone(folder, capsys):
    (folder / "run/manifest.json").unlink()
    assert predict(folder, seed=1) == 1
    assert "chunk-000000.npz was drawn by a run with other settings" in capsys.readouterr().err
    (folder / "run/manifest.json").unlink()
    assert predict(folder) == 0


def test_a_chunk_of_another_run_is_refused(folder, capsys):
    assert predict(folder, seed=1, run="other") == 0
    shutil.copy(folder / "other/chunks/chunk-000000.npz", folder / "run/chunks/chunk-000000.npz")
    assert predict(folder) == 1
    assert "chunk-000000.npz was drawn by a run with other settings" in capsys.readouterr().err


def test_a_chunk_in_the_place_of_another_is_refused(folder, capsys):
    shutil.copy(folder / "run/chunks/chunk-000000.npz", folder / "run/chunks/chunk-000001.npz")
    assert predict(folder) == 1
    assert "or is another chunk" in capsys.readouterr().err
