"""The command line in process, over tiny runs of the default network."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from conftest import FASHION, GOLDENS, changed, golden_flags

from sgm_lightning import ADMCheckpoint, ADMFlags, Backbone, DiffusersCheckpoint, SGMError, save_diffusers
from sgm_lightning.backbones import NewNetwork
from sgm_lightning.backbones.adm_flags import unet_from_flags
from sgm_lightning.cli import main
from sgm_lightning.commands.predict import SamplingCLI
from sgm_lightning.diffusion import make_betas

ROOT = Path(__file__).parents[1]
DIFFUSION = {"steps": 1000, "noise_schedule": "cosine"}


def settings(**changes):
    config = {
        "model": {
            "backbone": {
                "class_path": "sgm_lightning.backbones.DiffusersCheckpoint",
                "init_args": {"path": str(FASHION)},
            },
            "guidance": {
                "class_path": "sgm_lightning.guidance.SelfGuidance",
                "init_args": {"scale": 1.0, "window": {"interval": 2}},
            },
            "spacing": 4,
            "score": {"num_draws": 1},
            "threads": 1,
        },
        "data": {
            "class_path": "sgm_lightning.predict.SampleIndices",
            "init_args": {"num_samples": 5, "chunk_size": 2},
        },
        "trainer": {"accelerator": "cpu"},
    }
    return changed(config, changes)


def predict(tmp_path, name="run", config=None, *args, config_folder=None):
    file = (config_folder or tmp_path) / f"{name}.yaml"
    file.write_text(yaml.safe_dump(config or settings()))
    return main(["predict", "--config", str(file), "--run_dir", str(tmp_path / name), *args])


def images(tmp_path, name="run"):
    with np.load(tmp_path / name / "samples.npz") as file:
        return file["arr_0"]


def test_a_run_and_its_files(tmp_path, capsys):
    assert predict(tmp_path, config=settings(model__baseline=True)) == 0
    run = tmp_path / "run"
    assert images(tmp_path).shape == (5, 28, 28, 1) and images(tmp_path).dtype == np.uint8
    rows = list(csv.DictReader((run / "scores.csv").read_text().splitlines()))
    assert [int(row["index"]) for row in rows] == list(range(5))
    assert all(float(row["score"]) > 0 and float(row["baseline_score"]) > 0 for row in rows)
    assert (run / "grid.png").stat().st_size > 1000 and (run / "config.yaml").is_file()
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


def test_class_conditional_labels(tmp_path, golden_backbone):
    backbone = golden_backbone("adm_classcond", DIFFUSION)
    save_diffusers(backbone, tmp_path / "model")
    config = settings(model__backbone__init_args__path=str(tmp_path / "model"))
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
        {"class_path": "BestOf", "init_args": {"num_candidates": 2, "tilt": 1.0, "sampler": {"class_path": "DDIM"}}},
        {"class_path": "DPMSolverPlusPlus", "init_args": {"stochastic": True}},
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


# The folder of a configuration is its command; those of these go over, or into, others.
FOR_OTHERS = {"evaluation", "methods", "presets"}
CONFIGS = [path for path in sorted((ROOT / "configs").glob("*/*.yaml")) if path.parent.name not in FOR_OTHERS]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_every_config_parses(config):
    command = config.parent.name
    if command == "fit" and "classifier:" in config.read_text():
        command = "fit_classifier"
    output = ["--output", "x"] if command in ("convert", "features", "score") else []
    with pytest.raises(SystemExit) as end:
        main([command, "--config", str(config), *output, "--print_config"])
    assert end.value.code == 0


# Over which config a method goes, if not the demo's; the weights of the second group are not here.
BASES = dict.fromkeys(("cads", "classifier_free_guidance", "low_density"), "fashion_mnist_classes")
ABSENT = {"lsun_minority_guidance": "lsun_bedroom256"}
ADDED = {path.stem: path for folder in ("presets", "methods") for path in sorted((ROOT / "configs" / folder).glob("*.yaml"))}


@pytest.mark.parametrize("name", ABSENT)
def test_methods_whose_weights_are_not_here_parse(name):
    base = str(ROOT / f"configs/predict/{ABSENT[name]}.yaml")
    with pytest.raises(SystemExit) as end:
        main(["predict", "--config", base, "--config", str(ADDED[name]), "--print_config"])
    assert end.value.code == 0


@pytest.mark.parametrize("name", sorted(set(ADDED) - set(ABSENT)))
def test_presets_and_methods_go_over_a_config(tmp_path, name):
    """Run for two samples of a short chain, uncompiled."""
    base = ROOT / f"configs/predict/{BASES.get(name, 'fashion_mnist')}.yaml"
    command = ["predict", "--config", str(base), "--config", str(ADDED[name])]
    command += ["--trainer.callbacks", "null", "--model.baseline", "false", "--model.execution.compile", "false"]
    command += ["--model.spacing", "5", "--data.num_samples", "2", "--data.chunk_size", "3", "--model.score.num_draws", "1"]
    assert main([*command, "--run_dir", str(tmp_path / "run")]) == 0
    assert images(tmp_path).shape == (2, 28, 28, 1)


@pytest.mark.parametrize("name", ["celeba64", "lsun_bedroom256", "imagenet64"])
def test_missing_weights_name_their_source(tmp_path, capsys, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["predict", "--config", str(ROOT / f"configs/predict/{name}.yaml"), "--run_dir", "run"]) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "https://" in error and "model.backbone.init_args.path" in error
    assert not (tmp_path / "run").exists()


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
    with pytest.raises(SystemExit) as end:
        predict(tmp_path, config=settings(model__spacings=4))
    assert end.value.code == 2 and "spacings" in capsys.readouterr().err
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


def write_weights(path, change=None, pickled=None):
    weights = torch.load(GOLDENS / "adm_uncond.pt", weights_only=True)
    if change is not None:
        change(weights)
    torch.save(weights if pickled is None else pickled, path)


class Code:
    def __reduce__(self):
        return (os.mkdir, ("pwned",))


def nan(weights):
    weights["out.2.bias"] = torch.full_like(weights["out.2.bias"], float("nan"))


@pytest.mark.parametrize("damage", ["missing", "truncated", "code", "shape", "nan", "keys", "extra", "list"])
def test_bad_adm_checkpoint(tmp_path, damage, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "model.pt"
    changes = {
        "shape": lambda w: w.update({"out.2.weight": w["out.2.weight"][:, :3]}),
        "nan": nan,
        "keys": lambda w: w.pop("time_embed.0.bias"),
        "extra": lambda w: w.update(more=torch.zeros(1)),
    }
    if damage != "missing":
        pickled = {"code": {"a": Code()}, "list": [torch.zeros(1)]}.get(damage)
        write_weights(path, changes.get(damage), pickled)
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(SGMError) as error:
        ADMCheckpoint(str(path), golden_flags("adm_uncond", DIFFUSION), url="https://example.org/model.pt").load()
    assert not (tmp_path / "pwned").exists()
    if damage == "missing":
        assert "https://example.org/model.pt" in str(error.value) and "init_args.path" in str(error.value)


def test_flags_that_do_not_fit(tmp_path):
    flags = golden_flags("adm_uncond", DIFFUSION)
    flags.num_res_blocks = 2
    with pytest.raises(SGMError, match="flags"):
        ADMCheckpoint(GOLDENS / "adm_uncond.pt", flags).load()


def test_odd_image_size():
    with pytest.raises(SGMError, match="divisible by 4"):
        unet_from_flags(ADMFlags(image_size=30, num_channels=32, channel_mult="1,2,3", attention_resolutions="15"))


def test_damaged_diffusers_folder(tmp_path):
    shutil.copytree(FASHION, tmp_path / "model")
    file = tmp_path / "model/unet/diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:5000])
    with pytest.raises(SGMError, match="cannot be loaded"):
        DiffusersCheckpoint(str(tmp_path / "model")).load()


# Conversion.


@pytest.mark.parametrize("name", ["adm_uncond", "adm_classcond", "adm_upsampler"])
def test_export_restores_the_network(tmp_path, golden_backbone, name):
    """Head count included: outputs equal, and back in ADM's layout every tensor equals the original."""
    backbone: Backbone = golden_backbone(name, DIFFUSION)
    plain = save_diffusers(backbone, tmp_path / "model")
    assert plain == (name == "adm_uncond")
    again = DiffusersCheckpoint(str(tmp_path / "model")).load()
    assert (again.prediction, again.variance, again.image_shape) == ("epsilon", backbone.variance, backbone.image_shape)
    assert torch.equal(again.betas, backbone.betas)
    config = backbone.network.config
    x = torch.randn(2, config.in_channels, 16, 16)
    labels = None if config.num_class_embeds is None else torch.tensor([1, 2])
    step = torch.tensor([5, 900])
    assert torch.equal(again.network(x, step, labels).sample, backbone.network(x, step, labels).sample)


def test_convert_both_ways(tmp_path):
    init = {"path": str(FASHION)}
    to_pt = {"backbone": {"class_path": "sgm_lightning.backbones.DiffusersCheckpoint", "init_args": init}}
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(to_pt))
    pt = tmp_path / "model.pt"
    assert main(["convert", "--config", str(tmp_path / "a.yaml"), "--output", str(pt), "--layout", "adm"]) == 0
    back = ["convert", "--config", str(ROOT / "configs/convert/fashion_mnist.yaml"), "--output", str(tmp_path / "back")]
    assert main([*back, "--backbone.init_args.path", str(pt)]) == 0
    first, second = DiffusersCheckpoint(str(FASHION)).load(), DiffusersCheckpoint(str(tmp_path / "back")).load()
    assert all(torch.equal(a, b) for a, b in zip(first.network.parameters(), second.network.parameters(), strict=True))
    assert main([*back, "--backbone.init_args.path", str(pt)]) == 1  # exists already


def test_plain_diffusers_opens_the_default_model():
    from diffusers import DDPMPipeline

    pipeline = DDPMPipeline.from_pretrained(FASHION)
    pipeline.set_progress_bar_config(disable=True)
    result = pipeline(batch_size=1, num_inference_steps=2, generator=torch.Generator().manual_seed(0), output_type="np")
    assert result.images.shape[:3] == (1, 28, 28)
    betas = make_betas("cosine")
    assert torch.allclose(pipeline.scheduler.betas.double(), betas, rtol=1e-5)


def test_subcommands():
    assert set(SamplingCLI.subcommands()) == {"predict"}
    assert main(["--help"]) == 0


def test_without_a_progress_bar(tmp_path, capsys):
    for name, shown in (("bar", True), ("quiet", False)):
        assert predict(tmp_path, name, settings(trainer__enable_progress_bar=shown)) == 0
        assert ("Sampling" in capsys.readouterr().err) == shown


def test_bfloat16_network_and_no_logger(tmp_path):
    assert predict(tmp_path, "full") == 0
    assert predict(tmp_path, "mixed", settings(trainer__precision="bf16-mixed")) == 0
    first, second = images(tmp_path, "full").astype(int), images(tmp_path, "mixed").astype(int)
    assert 0 < np.abs(first - second).mean() < 30


def test_a_bare_unet_folder_needs_its_scheduler(tmp_path):
    """`UNet2DModel`'s own layout; prediction type, variance type and betas are taken from the configuration."""
    DiffusersCheckpoint(str(FASHION)).load().network.save_pretrained(tmp_path / "bare")
    with pytest.raises(SGMError, match="scheduler"):
        DiffusersCheckpoint(str(tmp_path / "bare")).load()
    scheduler = {"prediction_type": "v_prediction", "variance_type": "learned_range", "trained_betas": [0.1, 0.2, 0.3]}
    backbone = DiffusersCheckpoint(str(tmp_path / "bare"), scheduler=scheduler).load()
    assert (backbone.prediction, backbone.variance, backbone.betas.tolist()) == (
        "v_prediction",
        "learned_range",
        [0.1, 0.2, 0.3],
    )


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
