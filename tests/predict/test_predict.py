"""`sgm-lightning predict` in process, over tiny runs of the default network."""

import csv
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import yaml
from support.goldens import DIFFUSION
from support.networks import small_model
from support.paths import ROOT
from support.runs import images, predict, settings

from sgm_lightning import ADMFlags, save_diffusers
from sgm_lightning.backbones import NewNetwork


def test_a_run_and_its_files(tmp_path, capsys):
    assert predict(tmp_path, config=settings(model__baseline=True)) == 0
    run = tmp_path / "run"
    assert images(tmp_path).shape == (5, 28, 28, 1) and images(tmp_path).dtype == np.uint8
    rows = list(csv.DictReader((run / "scores.csv").read_text().splitlines()))
    assert [int(row["index"]) for row in rows] == list(range(5))
    assert all(float(row["score"]) > 0 and float(row["baseline_score"]) > 0 for row in rows)
    assert (run / ".figures/grid.png").stat().st_size > 1000 and (run / "config.yaml").is_file()
    assert list((run / "tensorboard").glob("events*"))
    assert json.loads((run / "manifest.json").read_text())["seed"] == 0
    out = capsys.readouterr().out
    assert "mean minority score" in out and str(run) in out
    assert not [p for p in run.rglob("*.tmp")]


def test_resume_extend_and_refuse(tmp_path, capsys):
    assert predict(tmp_path) == 0
    first = images(tmp_path)
    assert predict(tmp_path) == 0  # nothing left to draw
    assert np.array_equal(images(tmp_path), first)
    kept = (tmp_path / "run/chunks/chunk-000000.npz").stat().st_mtime_ns
    (tmp_path / "run/chunks/chunk-000001.npz").unlink()
    assert predict(tmp_path, "run", settings(data__init_args__num_samples=7)) == 0
    assert np.array_equal(images(tmp_path)[:5], first) and len(images(tmp_path)) == 7
    assert (tmp_path / "run/chunks/chunk-000000.npz").stat().st_mtime_ns == kept
    assert predict(tmp_path, "run", settings(model__guidance__init_args__scale=2.0)) == 1
    assert "other settings" in capsys.readouterr().err


@pytest.mark.xdist_group("processes")
@pytest.mark.slow
def test_two_processes_draw_the_same_bytes(tmp_path):
    assert predict(tmp_path, "one") == 0
    file = tmp_path / "two.yaml"
    file.write_text(yaml.safe_dump(settings()))
    command = [sys.executable, "-m", "sgm_lightning", "predict", "--config", str(file)]
    command += ["--run_dir", str(tmp_path / "two"), "--trainer.devices", "2", "--trainer.strategy", "ddp"]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, timeout=170)
    for name in ("samples.npz", "scores.csv"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_chunk_order_does_not_matter(tmp_path):
    assert predict(tmp_path, "forward") == 0
    run = tmp_path / "backward"
    for count in (2, 4, 5):  # other chunks first: draw a later one alone by hiding the earlier
        assert predict(tmp_path, "backward", settings(data__init_args__num_samples=count)) == 0
        if count == 2:
            (run / "chunks/chunk-000000.npz").unlink()
    assert np.array_equal(images(tmp_path, "forward"), images(tmp_path, "backward"))


def test_class_conditional_labels(tmp_path):
    config = settings(model__backbone__init_args__path=small_model(10))
    assert predict(tmp_path, "uniform", config) == 0
    with np.load(tmp_path / "uniform/samples.npz") as file:
        assert file["arr_1"].shape == (5,) and file["arr_1"].max() < 10
    config["data"]["init_args"]["labels"] = [3, 1]
    assert predict(tmp_path, "list", config) == 0
    with np.load(tmp_path / "list/samples.npz") as file:
        assert file["arr_1"].tolist() == [3, 1, 3, 1, 3]
    for wrong in (10, -1, "none", []):
        config["data"]["init_args"]["labels"] = wrong
        assert predict(tmp_path, "wrong", config) == 1
        assert not (tmp_path / "wrong").exists()


def test_cascade(tmp_path, golden_backbone):
    save_diffusers(golden_backbone("adm_upsampler", DIFFUSION), tmp_path / "model")
    source = np.random.default_rng(0)
    low = source.integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    np.savez(tmp_path / "low.npz", low, np.array([1, 2, 3]))
    config = settings(model__backbone__init_args__path=str(tmp_path / "model"), model__guidance=None)
    config["data"] = {
        "class_path": "sgm_lightning.predict.LowResolution",
        "init_args": {"base": str(tmp_path / "low.npz"), "chunk_size": 2},
    }
    assert predict(tmp_path, "run", config) == 0
    assert images(tmp_path).shape == (3, 16, 16, 3)
    with np.load(tmp_path / "run/samples.npz") as file:
        assert file["arr_1"].tolist() == [1, 2, 3]
    np.savez(tmp_path / "low.npz", low, np.array([1, 2, 4]))
    assert predict(tmp_path, "run", config) == 1  # other labels are another run
    np.savez(tmp_path / "low.npz", low, np.array([1, -2, 3]))
    assert predict(tmp_path, "negative", config) == 1


def test_cascade_of_a_run(tmp_path, golden_backbone):
    """A run's own images and labels are enlarged, and an interrupted run goes on to the same bytes."""
    flags = ADMFlags(image_size=8, num_channels=32, channel_mult="1", num_res_blocks=1, attention_resolutions="",
                     class_cond=True, num_classes=10, noise_schedule="cosine")  # fmt: skip
    save_diffusers(NewNetwork(flags).load(), tmp_path / "base_model")
    save_diffusers(golden_backbone("adm_upsampler", DIFFUSION), tmp_path / "model")
    base = settings(model__backbone__init_args__path=str(tmp_path / "base_model"), model__guidance=None)
    assert predict(tmp_path, "base", base) == 0
    config = settings(model__backbone__init_args__path=str(tmp_path / "model"), model__guidance=None)
    config["data"] = {"class_path": "LowResolution", "init_args": {"base": str(tmp_path / "base"), "chunk_size": 2}}
    assert predict(tmp_path, "run", config) == 0
    first = images(tmp_path)
    assert first.shape == (5, 16, 16, 3)
    labels = [np.load(tmp_path / name / "samples.npz")["arr_1"].tolist() for name in ("base", "run")]
    assert labels[0] == labels[1] and len(set(labels[0])) > 1
    (tmp_path / "run/chunks/chunk-000001.npz").unlink()
    (tmp_path / "run/samples.npz").unlink()
    assert predict(tmp_path, "run", config) == 0
    assert np.array_equal(images(tmp_path), first)


@pytest.mark.parametrize(("shape", "word"), [((4, 4, 3), "got 4 × 4 with 3"), ((8, 8, 1), "8 × 8 with 3 channel")])
def test_low_resolution_images_must_fit_the_upsampler(tmp_path, capsys, golden_backbone, shape, word):
    save_diffusers(golden_backbone("adm_upsampler", DIFFUSION), tmp_path / "model")
    np.savez(tmp_path / "low.npz", np.zeros((3, *shape), np.uint8), np.array([1, 2, 3]))
    config = settings(model__backbone__init_args__path=str(tmp_path / "model"), model__guidance=None)
    config["data"] = {"class_path": "LowResolution", "init_args": {"base": str(tmp_path / "low.npz"), "chunk_size": 2}}
    assert predict(tmp_path, "run", config) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ") and word in error and "data.base" in error
    assert not (tmp_path / "run").exists()


def test_particles_need_a_chunk_of_three(tmp_path, capsys):
    for guidance in (
        (particles := {"class_path": "ParticleGuidance"}),
        {"class_path": "Together", "init_args": {"guidances": [particles]}},
    ):
        assert predict(tmp_path, "run", settings(model__guidance=guidance)) == 1
        assert "needs at least 3, got 2; raise `data.chunk_size`." in capsys.readouterr().err
        assert not (tmp_path / "run").exists()


def test_a_run_of_before_an_option_existed_goes_on(tmp_path):
    assert predict(tmp_path) == 0
    file = tmp_path / "run/manifest.json"
    manifest = json.loads(file.read_text())
    del manifest["settings"]["execution"]
    del manifest["settings"]["guidance"]["init_args"]["rate"]
    file.write_text(json.dumps(manifest))
    assert predict(tmp_path) == 0


@pytest.mark.parametrize(
    "sampler",
    [
        {"class_path": "BestOf", "init_args": {"num_candidates": 3, "stages": [[0.5, 2]]}},
        pytest.param(
            {"class_path": "BestOf", "init_args": {"num_candidates": 2, "tilt": 1.0, "sampler": {"class_path": "DDIM"}}},
            marks=pytest.mark.slow,
        ),
        pytest.param({"class_path": "DPMSolverPlusPlus", "init_args": {"stochastic": True}}, marks=pytest.mark.slow),
    ],
    ids=["best", "tilted", "solver"],
)
def test_other_samplers_resume_and_keep_their_seeds(tmp_path, sampler):
    """A chunk that is drawn again, alone, is the same; the baseline is the sampler without the choice."""
    config = settings(model__sampler=sampler, model__baseline=True)
    if sampler["class_path"] == "BestOf":
        config["model"]["guidance"] = None
    assert predict(tmp_path, "run", config) == 0
    before = images(tmp_path)
    os.remove(tmp_path / "run/chunks/chunk-000001.npz")
    assert predict(tmp_path, "run", config) == 0
    assert np.array_equal(images(tmp_path), before)
    plain = settings(model__sampler=sampler.get("init_args", {}).get("sampler"), model__guidance=None)
    if sampler["class_path"] == "BestOf":
        assert predict(tmp_path, "plain", plain) == 0
        with np.load(tmp_path / "run/baseline.npz") as file:
            assert np.abs(file["arr_0"].astype(int) - images(tmp_path, "plain")).max() <= 1  # batches of other sizes


# Bad input: one sentence, a non-zero exit, nothing written.


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"model__backbone__init_args__path": "no/folder"}, "no folder no/folder"),
        ({"model__guidance__init_args__score": {"level": {"ratio": 1.5}}}, "ratio"),
        ({"model__guidance__init_args__window__interval": 0}, "interval"),
        ({"data__init_args__num_samples": 0}, "num_samples"),
        ({"data__init_args__labels": 3}, "unconditional"),
        ({"trainer__inference_mode": True}, "inference_mode"),
        ({"trainer__precision": "bf16-true"}, "precision"),
        ({"model__spacing": "2000"}, "spacing"),
    ],
)
def test_bad_settings(tmp_path, capsys, monkeypatch, changes, word):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert predict(tmp_path, config=settings(**changes)) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ") and word in error
    assert not (tmp_path / "run").exists()


def test_unknown_yaml_key(tmp_path, capsys):
    assert predict(tmp_path, config=settings(model__spacings=4)) == 2
    assert "takes no option `model.spacings`" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_unwritable_run_dir(tmp_path, capsys):
    (tmp_path / "run").write_text("a file where the folder should be")
    assert predict(tmp_path) == 1
    assert "cannot be written" in capsys.readouterr().err


def test_a_state_that_overflows_leaves_no_chunk(tmp_path, capsys):
    changes = {"model__guidance__init_args__scale": 1e38, "model__guidance__init_args__weighting": "constant"}
    assert predict(tmp_path, config=settings(**changes, model__sampler={"class_path": "sgm_lightning.samplers.DDIM"})) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "NaN or infinite at respaced index" in error and "samples [0, 1]" in error
    assert not list((tmp_path / "run/chunks").iterdir()) and not (tmp_path / "run/samples.npz").exists()


def test_without_a_progress_bar(tmp_path, capsys):
    for name, shown in (("bar", True), ("quiet", False)):
        assert predict(tmp_path, name, settings(trainer__enable_progress_bar=shown)) == 0
        assert ("Sampling" in capsys.readouterr().err) == shown


def test_bfloat16_network_and_no_logger(tmp_path):
    two = {"data__init_args__num_samples": 2}
    assert predict(tmp_path, "full", settings(**two)) == 0
    assert predict(tmp_path, "mixed", settings(**two, trainer__precision="bf16-mixed")) == 0
    first, second = images(tmp_path, "full").astype(int), images(tmp_path, "mixed").astype(int)
    assert 0 < np.abs(first - second).mean() < 30


def test_a_guidance_from_elsewhere(tmp_path, monkeypatch):
    """A new method is found by its class path, with no edit here."""
    (tmp_path / "elsewhere.py").write_text(
        "import torch\n"
        "from sgm_lightning.guidance import Guidance\n"
        "class Brighter(Guidance):\n"
        "    def __init__(self, scale: float = 0.1, path: str = 'a'):\n"
        "        super().__init__(weighting='constant')\n"
        "        self.scale = scale\n"
        "    def forward(self, step):\n"
        "        return self.scale * torch.ones_like(step.x_t)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    brighter = {"class_path": "elsewhere.Brighter", "init_args": {"scale": 0.3}}
    assert predict(tmp_path, "bright", settings(model__guidance=brighter)) == 0
    assert predict(tmp_path, "plain", settings(model__guidance=None)) == 0
    location = {"class_path": "elsewhere.Brighter", "init_args": {"scale": 0.3, "path": "b"}}
    assert predict(tmp_path, "bright", settings(model__guidance=location)) == 1  # only the backbone may move
    assert images(tmp_path, "bright").mean() > images(tmp_path, "plain").mean() + 5
