"""`sgm-lightning fit` in process, over tiny networks, and what becomes of its checkpoints."""

import copy
import shutil
import signal
import subprocess
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from support.cases import some
from support.trainings import FLAGS, QUICK, command, fit, same, scalars, settings, state, wait
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from sgm_lightning import ADMFlags, Condition, DiffusersCheckpoint, SGMError, save_diffusers
from sgm_lightning.backbones import NewNetwork, TrainedCheckpoint
from sgm_lightning.backbones.lora import LoRA
from sgm_lightning.cli import main
from sgm_lightning.fit import TrainingData, TrainingModule
from sgm_lightning.fit.skill import LOG_SNRS
from sgm_lightning.images import ImageFolder

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """24 pictures of two classes."""
    root = tmp_path_factory.mktemp("data") / "images"
    source = np.random.default_rng(0)
    for kind, mean in (("dark", 60), ("light", 190)):
        (root / kind).mkdir(parents=True)
        for i in range(12):
            Image.fromarray(source.normal(mean, 20, (8, 8)).clip(0, 255).astype(np.uint8)).save(root / kind / f"{i:02d}.png")
    return root


@pytest.mark.slow
def test_fit_then_predict_test_and_convert(tmp_path, folder, capsys):
    config = settings(folder, model__num_classes=2, model__label_dropout=0.3, trainer__max_steps=40)
    assert fit(tmp_path, config) == 0
    curves = scalars(tmp_path)
    names = ["held_out/loss", "held_out/nelbo", *(f"held_out/loss_quarter_{q}" for q in (1, 2, 3, 4))]
    assert all(len(curves[name]) == 10 for name in names) and len(curves["train/loss"]) == 40
    assert curves["held_out/nelbo"][39] < curves["held_out/nelbo"][3] - 0.3  # it learns
    file = next((tmp_path / "run/tensorboard").glob("events*"))
    events = EventAccumulator(str(file), size_guidance={"images": 0}).Reload()
    assert len(events.Images("samples")) == 10
    assert (tmp_path / "run/config.yaml").is_file() and not list((tmp_path / "run").glob(".*"))

    model = {"class_path": "sgm_lightning.backbones.TrainedCheckpoint", "init_args": {"path": str(tmp_path / "run")}}
    draw = {
        "model": {
            "backbone": model,
            "spacing": 4,
            "score": {"num_draws": 1},
            "guidance": "sgm_lightning.guidance.SelfGuidance",
        },
        "data": {"class_path": "sgm_lightning.predict.SampleIndices", "init_args": {"num_samples": 4, "chunk_size": 2}},
        "trainer": {"accelerator": "cpu"},
    }
    (tmp_path / "draw.yaml").write_text(yaml.safe_dump(draw))
    assert main(["predict", "--config", str(tmp_path / "draw.yaml"), "--run_dir", str(tmp_path / "drawn")]) == 0
    assert "averaged weights (EMA of 40 steps)" in capsys.readouterr().out
    with np.load(tmp_path / "drawn/samples.npz") as file:
        assert file["arr_0"].shape == (4, 8, 8, 1) and file["arr_1"].max() < 2
    measure = {"model": {"backbone": model, "spacing": 4, "nelbo_strata": 2}, "trainer": {"accelerator": "cpu"}}
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(measure))
    arguments = ["test", "--config", str(tmp_path / "test.yaml"), "--data.images", str(tmp_path / "drawn")]
    assert main([*arguments, "--output", str(tmp_path / "report")]) == 0
    source = ["--backbone", "TrainedCheckpoint", "--backbone.path", str(tmp_path / "run/last.ckpt")]
    assert main(["convert", *source, "--output", str(tmp_path / "folder")]) == 0
    assert main(["convert", *source, "--output", str(tmp_path / "plain"), "--unconditional", "true"]) == 0

    trained, back = TrainedCheckpoint(str(tmp_path / "run")).load(), DiffusersCheckpoint(str(tmp_path / "folder")).load()
    plain = DiffusersCheckpoint(str(tmp_path / "plain")).load()
    assert (back.num_classes, back.null_class, plain.num_classes) == (2, 2, None)
    x = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    for label in (0, 2):
        condition = Condition(torch.full((2,), label))
        expected = trained.denoiser()(x, 300, condition).x0_hat
        assert torch.allclose(back.denoiser()(x, 300, condition).x0_hat, expected, atol=1e-6)
    assert torch.allclose(plain.denoiser()(x, 300).x0_hat, expected, atol=1e-5)


@pytest.mark.slow
def test_ema_or_current_weights(tmp_path, folder):
    assert fit(tmp_path, settings(folder)) == 0
    saved = state(tmp_path)
    path = str(tmp_path / "run/last.ckpt")
    prefix = "denoiser.network."
    for which, key in (("auto", "state_dict"), ("ema", "state_dict"), ("current", "current_model_state")):
        weights = TrainedCheckpoint(path, which).load().network.state_dict()
        assert all(torch.equal(value, saved[key][prefix + name]) for name, value in weights.items())
    assert not torch.equal(
        saved["state_dict"][prefix + "conv_in.weight"], saved["current_model_state"][prefix + "conv_in.weight"]
    )
    # The average by hand, from the formula: with a decay of 0 it is the current weights.
    assert fit(tmp_path, settings(folder, average__decay=0.0), "zero") == 0
    zero = state(tmp_path, "zero")
    assert all(torch.equal(value, zero["current_model_state"][name]) for name, value in zero["state_dict"].items())
    saved["averaging_state"]["n_averaged"] = torch.tensor(0)
    torch.save(saved, tmp_path / "never.ckpt")
    with pytest.raises(SGMError, match="never updated"):
        TrainedCheckpoint(str(tmp_path / "never.ckpt"), "ema").load()
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    with pytest.raises(SGMError, match="no checkpoint of"):
        TrainedCheckpoint(str(tmp_path / "other.ckpt")).load()


@pytest.mark.xdist_group("processes")
@pytest.mark.slow
def test_killed_in_the_middle_and_resumed(tmp_path, folder):
    """Dropout on, gradients gathered, steps drawn by their losses; the pass over the data ends in the middle, too."""
    config = settings(folder, trainer__max_steps=14, trainer__accumulate_grad_batches=2, model__nelbo_spacing=4)
    config["model"]["backbone"]["init_args"]["flags"]["diffusion_steps"] = 4  # all soon have a loss
    sampler = {"class_path": "sgm_lightning.fit.LossSecondMoment", "init_args": {"history": 1, "num_steps": 4}}
    config["model"]["step_sampler"] = sampler
    line, environment = command(tmp_path, config, "killed")
    process = subprocess.Popen(line, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait(lambda: (tmp_path / "killed/last.ckpt").is_file() and state(tmp_path, "killed")["global_step"] >= 6, process)
    process.kill()
    process.wait()
    reached = state(tmp_path, "killed")["global_step"]
    assert reached % 3 == 0 and reached < 14
    subprocess.run(line, env=environment, check=True, capture_output=True, timeout=120)
    line, environment = command(tmp_path, config, "whole")
    subprocess.run(line, env=environment, check=True, capture_output=True, timeout=120)
    found = state(tmp_path, "whole")
    assert bool((found["current_model_state"]["step_sampler._extra_state"] > 0).all())
    same(state(tmp_path, "killed"), found)
    curves = [scalars(tmp_path, name) for name in ("killed", "whole")]
    skills = sorted(name for name in curves[1] if "skill_at" in name)
    assert len(skills) > 1
    for name in ("train/loss", "held_out/nelbo", "held_out/loss_quarter_2", *skills):
        assert curves[0][name].keys() == curves[1][name].keys()
        assert np.allclose(list(curves[0][name].values()), list(curves[1][name].values()), rtol=1e-4)


@pytest.mark.xdist_group("processes")
@pytest.mark.slow
def test_a_signal_saves_and_a_longer_training_goes_on(tmp_path, folder):
    config = settings(folder, trainer__max_steps=100_000, writer__save_every=100_000, trainer__val_check_interval=100_000)
    config["model"]["lr_schedule"] = "constant"
    line, environment = command(tmp_path, config)
    process = subprocess.Popen(line, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    wait(lambda: (tmp_path / "run/tensorboard").is_dir() and "train/loss" in scalars(tmp_path), process)
    process.send_signal(signal.SIGUSR1)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 75 and "same command resumes" in told
    step = state(tmp_path)["global_step"]
    config["trainer"]["max_steps"] = step + 2
    assert fit(tmp_path, config) == 0 and state(tmp_path)["global_step"] == step + 2
    config["trainer"]["max_steps"] = step + 5  # a finished training, extended, at another rate
    config["model"]["optimizer"]["init_args"]["lr"] = 5e-4
    assert fit(tmp_path, config) == 0
    again = state(tmp_path)
    assert again["global_step"] == step + 5 and again["averaging_state"]["n_averaged"] == step + 5
    assert again["optimizer_states"][0]["param_groups"][0]["lr"] == 5e-4


@pytest.mark.xdist_group("processes")
@pytest.mark.slow
def test_two_processes_take_the_same_step_as_one(tmp_path, folder):
    changes = {"model__dropout": 0.0, "model__warmup_steps": 0, "trainer__max_steps": 1, "trainer__val_check_interval": 1}
    one = settings(folder, **changes)
    assert fit(tmp_path, one, "one") == 0
    two = settings(folder, data__init_args__batch_size=2, **changes)
    line, environment = command(tmp_path, two, "two", "--trainer.devices", "2", "--trainer.strategy", "ddp")
    subprocess.run(line, env=environment, check=True, capture_output=True, timeout=170)
    # Not the weights: Adam's first step is the gradient's sign, which rounding turns where it is zero.
    moments = [state(tmp_path, name)["optimizer_states"][0]["state"] for name in ("one", "two")]
    for i in moments[0]:
        gradient = moments[0][i]["exp_avg"]
        assert torch.allclose(moments[1][i]["exp_avg"], gradient, rtol=1e-5, atol=1e-5 * float(gradient.abs().max()))
    curves = [scalars(tmp_path, name) for name in ("one", "two")]
    for name in ("held_out/loss", "held_out/nelbo", *(f"held_out/skill_at_{level:g}" for level in LOG_SNRS)):
        assert curves[0][name][0] == pytest.approx(curves[1][name][0], rel=1e-4)


@pytest.mark.slow
def test_gathered_gradients_checkpointing_and_plain_steps_agree(tmp_path, folder):
    plain = settings(folder, model__dropout=0.0, model__optimizer="torch.optim.SGD", trainer__max_steps=3)
    plain["model"]["optimizer"] = {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1, "momentum": 0.9}}
    assert fit(tmp_path, plain, "plain") == 0
    gathered = copy.deepcopy(plain)
    gathered["data"]["init_args"]["batch_size"] = 2
    gathered["trainer"]["accumulate_grad_batches"] = 2
    gathered["model"]["gradient_checkpointing"] = True
    assert fit(tmp_path, gathered, "gathered") == 0
    a, b = (state(tmp_path, name)["current_model_state"] for name in ("plain", "gathered"))
    assert all(torch.allclose(a[name], b[name], atol=1e-5) for name in a)


@pytest.mark.slow
def test_lora_trains_adapters_alone(tmp_path, folder):
    pytest.importorskip("peft")
    assert fit(tmp_path, settings(folder), "start") == 0  # a new network's last layer is zero, and adapters learn nothing
    start = TrainedCheckpoint(str(tmp_path / "start")).load()
    config = settings(folder, model__lora={"rank": 2})
    origin = {"class_path": "sgm_lightning.backbones.TrainedCheckpoint", "init_args": {"path": str(tmp_path / "start")}}
    config["model"]["backbone"] = origin
    assert fit(tmp_path, config) == 0
    merged = TrainedCheckpoint(str(tmp_path / "run")).load().network
    differ = {
        name for name, value in merged.state_dict().items() if not torch.equal(value, start.network.state_dict()[name])
    }
    assert differ and all(any(layer in name for layer in LoRA().layers) and "weight" in name for name in differ)
    # Merged and adapted networks are one function.
    adapted = NewNetwork(ADMFlags(**FLAGS)).load().network
    LoRA(2).inject(adapted)
    weights = {k.removeprefix("denoiser.network."): v for k, v in state(tmp_path)["state_dict"].items()}
    adapted.load_state_dict(weights)
    x, t = torch.randn(2, 1, 8, 8), torch.tensor([5, 700])
    assert torch.allclose(adapted.eval()(x, t).sample, merged.eval()(x, t).sample, atol=1e-5)
    with pytest.raises(SGMError, match="must fit a layer of the network, got the layers \\['nothing'\\]"):
        LoRA(2, layers=["nothing"]).inject(NewNetwork(ADMFlags(**FLAGS)).load().network)


@pytest.mark.slow
def test_adapters_beside_new_classes(tmp_path, folder, capsys):
    pytest.importorskip("peft")
    assert fit(tmp_path, settings(folder, model__lora={"rank": 2})) == 1
    assert "LoRA needs a trained network" in capsys.readouterr().err
    start = NewNetwork(ADMFlags(**FLAGS)).load()
    torch.nn.init.normal_(start.network.conv_out.weight, std=0.1)
    save_diffusers(start, tmp_path / "start")
    config = settings(folder, **QUICK, model__lora={"rank": 2}, model__num_classes=2, trainer__max_steps=3)
    config["model"]["backbone"] = {
        "class_path": "sgm_lightning.DiffusersCheckpoint",
        "init_args": {"path": str(tmp_path / "start")},
    }
    assert fit(tmp_path, config) == 0
    embeddings = TrainedCheckpoint(str(tmp_path / "run")).load().network.class_embedding.weight
    assert float(embeddings.detach().abs().min(1).values.min()) > 0  # those of both classes have been learned
    config["model"]["lora"]["rank"] = 4
    assert fit(tmp_path, config) == 1
    assert "its lora differ" in capsys.readouterr().err


def test_held_out_classes_go_by_name(tmp_path, folder, capsys):
    source = {"class_path": "sgm_lightning.images.ImageFolder", "init_args": {"path": str(folder)}}
    (tmp_path / "held_out").mkdir()
    for name in ("light", "medium"):
        shutil.copytree(folder / "light", tmp_path / "held_out" / name)
    other = {"class_path": source["class_path"], "init_args": {"path": str(tmp_path / "held_out"), "classes": "subfolder"}}
    config = settings(folder, model__num_classes=2, trainer__max_steps=1)
    config["data"] = {"class_path": "sgm_lightning.fit.TrainingData",
                      "init_args": {"source": source, "held_out": other, "batch_size": 4}}  # fmt: skip
    assert fit(tmp_path, config) == 1
    assert "must be among those trained on, got medium" in capsys.readouterr().err
    shutil.rmtree(tmp_path / "held_out" / "medium")

    def data(world_size, **options):
        found = TrainingData(ImageFolder(str(folder)), ImageFolder(str(tmp_path / "held_out"), "subfolder"), **options)
        model = SimpleNamespace(image_shape=(1, 8, 8), num_classes=2)
        found.trainer = SimpleNamespace(lightning_module=model, world_size=world_size, global_rank=0, max_epochs=-1)
        return found

    alone = data(1, batch_size=4)
    alone.setup("fit")
    batch = next(iter(alone.val_dataloader()))
    assert batch.labels.tolist() == [1] * 4 and float(batch.images.mean()) > 0  # light, which is 0 in its own folder
    with pytest.raises(SGMError, match="got 12 for 16 processes"):
        data(16, batch_size=1, held_out_limit=12).setup("fit")


def test_a_run_goes_on_from_its_own_state(tmp_path, folder, capsys):
    """A checkpoint to start from counts once; other classes are refused."""
    assert fit(tmp_path, settings(folder, **QUICK, trainer__max_steps=6), "other") == 0
    config = settings(folder, **QUICK, trainer__max_steps=9, ckpt_path=str(tmp_path / "other/last.ckpt"))
    assert fit(tmp_path, config) == 0
    capsys.readouterr()
    config["trainer"]["max_steps"] = 12
    assert fit(tmp_path, config) == 0
    assert sorted(scalars(tmp_path)["train/loss"]) == list(range(6, 12))  # from 6 the first time, from 9 the second
    config["data"]["init_args"]["classes"] = "none"
    assert fit(tmp_path, config) == 1
    assert "a training of other classes" in capsys.readouterr().err


@pytest.mark.slow
def test_a_validation_that_was_cut_short_is_made_up_for(tmp_path, folder):
    """It is due at the end of a training, which goes on as if it had never ended."""
    constant = {"model__lr_schedule": "constant"}
    assert fit(tmp_path, settings(folder, **constant, trainer__max_steps=4)) == 0
    for file in (tmp_path / "run/tensorboard").glob("*"):
        file.unlink()
    longer = settings(folder, **constant, trainer__max_steps=6)
    assert fit(tmp_path, longer) == 0  # the state was saved before it
    assert fit(tmp_path, longer, "whole") == 0
    same(state(tmp_path), state(tmp_path, "whole"))
    again, whole = scalars(tmp_path), scalars(tmp_path, "whole")
    assert list(again["train/loss"]) == [4, 5] and list(again["held_out/nelbo"]) == [3, 5]
    for name, values in again.items():
        if name.startswith(("held_out", "train/loss")):
            assert list(values.values()) == pytest.approx([whole[name][step] for step in values], rel=1e-5)


BAD = [
    ({"data__init_args__root": "EMPTY"}, "holds no images"),
    ({"data__init_args__root": "NOWHERE"}, "There is no folder"),
    ({"data__init_args__batch_size": 19}, "must not be larger than the data, got 19 images a step and 18"),
    ({"data__init_args__channels": 3}, "The model has 1 channels, got data.channels: 3"),
    ({"model__backbone__init_args__flags__in_channels": 3}, "The model has 3 channels, got pictures of 1"),
    ({"model__num_classes": 2, "data__init_args__classes": "none"}, "but the pictures have none"),
    ({"model__num_classes": 2, "data__init_args__classes": "prefix"}, "Labels must lie in [0, 2)"),
    ({"model__label_dropout": 0.1}, "model is unconditional"),
    ({"model__dropout": 1.5}, "must lie in [0, 1)"),
    ({"model__warmup_steps": 8}, "warmup_steps must lie between"),
    ({"trainer__max_steps": -1}, "max_steps must be at least 1"),
    ({"trainer__precision": "64-true"}, "trainer.precision must be one of"),
    (
        {"model__backbone__init_args__flags__learn_sigma": False, "model__objective": {"kind": "hybrid"}},
        "learned variance",
    ),
    ({"average__decay": 1.0}, "decay must lie in"),
    ({"writer__save_every": 0}, "must be at least 1"),
    ({"model__nelbo_spacing": 2000}, "1000"),
    ({"grid__spacing": 2000}, "1000"),
]


@pytest.mark.parametrize(("changes", "says"), some(BAD, every=2))
def test_bad_input(tmp_path, folder, capsys, changes, says):
    (tmp_path / "EMPTY").mkdir()
    changes = {key: str(tmp_path / value) if value in ("EMPTY", "NOWHERE") else value for key, value in changes.items()}
    assert fit(tmp_path, settings(folder, **changes)) == 1
    error = capsys.readouterr().err
    assert says in error and "Traceback" not in error and error.count("error:") == 1
    assert not (tmp_path / "run/last.ckpt").exists()


def test_mixed_sizes_train_and_broken_ones_stop(tmp_path, capsys):
    root = tmp_path / "images"
    root.mkdir()
    source = np.random.default_rng(0)
    for i in range(12):  # of any size: squares of the model's size come out
        pixels = source.integers(0, 256, (9 + i, 30 - i, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / f"{i:02d}.jpg")
    config = settings(root, **QUICK, data__init_args__channels=1, data__init_args__held_out_share=0.0, trainer__max_steps=3)
    assert fit(tmp_path, config) == 0
    for i in range(3):
        (root / f"{i:02d}.jpg").write_bytes(b"no picture")
    config["data"]["init_args"]["max_broken"] = 2
    for cache in (True, False):
        config["data"]["init_args"]["cache"] = cache
        assert fit(tmp_path, config, f"broken-{cache}") == 1
        error = capsys.readouterr().err
        assert "At most 2 pictures may be broken, got 3" in error and "00.jpg" in error and "Traceback" not in error


def test_broken_pictures_in_worker_processes(tmp_path, folder, capsys):
    root = tmp_path / "images"
    root.mkdir()
    for i in range(12):
        (root / f"{i:02d}.png").write_bytes(b"no picture" if i % 2 else next(folder.rglob("*.png")).read_bytes())
    init = {"max_broken": 1, "cache": False, "num_workers": 1, "held_out_share": 0.0}
    config = settings(root)
    config["data"]["init_args"].update(init)
    assert fit(tmp_path, config) == 1
    error = capsys.readouterr().err.split("error:")[1]
    assert error.startswith(" At most 1 pictures may be broken, got 2") and "Traceback" not in error


@pytest.mark.slow
def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_state(tmp_path, folder, capsys):
    config = settings(folder, model__warmup_steps=0, trainer__gradient_clip_val=0.0, writer__save_every=1)
    config["trainer"]["val_check_interval"] = 100
    assert fit(tmp_path, settings(folder, trainer__max_steps=3, writer__save_every=1)) == 0
    good = state(tmp_path)
    config["trainer"]["max_steps"] = 8
    config["model"]["optimizer"] = {"class_path": "torch.optim.AdamW", "init_args": {"lr": 1e30}}
    assert fit(tmp_path, config) == 1
    error = capsys.readouterr().err
    assert "must stay finite, got" in error and "last checkpoint is kept" in error
    kept = state(tmp_path)
    assert kept["global_step"] >= good["global_step"]
    assert all(bool(torch.isfinite(value).all()) for value in kept["current_model_state"].values())


def test_dropout_is_on_whatever_the_loader(tmp_path, folder):
    """A loaded network is in evaluation mode; training must not stay there."""
    save_diffusers(NewNetwork(ADMFlags(**FLAGS)).load(), tmp_path / "model")
    module = TrainingModule(DiffusersCheckpoint(str(tmp_path / "model")), dropout=0.5)
    x, t = torch.randn(2, 1, 8, 8), torch.tensor([5, 700])
    torch.nn.init.normal_(module.denoiser.network.conv_out.weight)
    first, second = (module.denoiser.network(x, t).sample for _ in range(2))
    assert not torch.equal(first, second)


def test_a_full_disk_is_told_in_a_sentence(small_disk, tmp_path, folder, capsys):
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump(settings(folder, **QUICK)))
    assert main(["fit", "--config", str(file), "--run_dir", str(small_disk / "run")]) == 1
    error = capsys.readouterr().err
    assert "error:" in error and "No space left" in error and "Traceback" not in error


def test_another_model_is_not_resumed(tmp_path, folder, capsys):
    assert fit(tmp_path, settings(folder, **QUICK, trainer__max_steps=1)) == 0
    other = settings(folder, **QUICK, model__backbone__init_args__flags__num_res_blocks=2)
    assert fit(tmp_path, other) == 1
    assert "a training of another model (its network differ)" in capsys.readouterr().err
