"""Mutations of checkpoints of every kind: each loads and answers, or is refused in one sentence, soon and cheaply."""

import io
import json
import random

import pytest
import torch
from support.mutations import STRANGE, TENSORS, damaged, mutated, refusal
from support.networks import TINY, small_unet, tiny

from sgm_lightning import ADMCheckpoint, Condition, DiffusersCheckpoint
from sgm_lightning.backbones import TrainedCheckpoint
from sgm_lightning.backbones.adm_keys import to_adm
from sgm_lightning.backbones.lora import LoRA
from sgm_lightning.backbones.trained import training_state

SCHEDULER = {"_class_name": "DDPMScheduler", "beta_schedule": "linear", "prediction_type": "epsilon"}


def answers(checkpoint):
    """Load a checkpoint, and ask its network at both ends of its chain."""
    backbone = checkpoint.load()
    denoiser = backbone.denoiser()
    x = torch.zeros(1, *backbone.image_shape)
    labels = None if backbone.num_classes is None else torch.tensor([backbone.num_classes - 1])
    low_res = x[..., ::2, ::2] if backbone.upsampler else None
    for index in (0, denoiser.process.num_steps - 1):
        with torch.no_grad():
            assert denoiser(x, index, Condition(labels, low_res)).x0_hat.shape == x.shape


def training(lora=None):
    backbone = tiny(null_class=True)
    adapted = backbone.network
    if lora is not None:
        lora.inject(adapted)
    weights = {f"denoiser.network.{name}": value for name, value in adapted.state_dict().items()}
    state = training_state(tiny(null_class=True), None if lora is None else lora.settings, None)
    average = {"averaging_state": {"n_averaged": torch.tensor(3)}, "current_model_state": weights}
    return {"state_dict": weights, "global_step": 3, **average, **state}


def saved(content, new=True):
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=new)
    return file.getvalue()


def tried(mutations, load, least):
    """Most mutations of a kind are refused, but not all: the unchanged file loads."""
    load()
    refused = sum(refusal(load, given) is not None for given in mutations)
    assert refused >= least


@pytest.mark.slow
@pytest.mark.parametrize("adapted", [False, True])
def test_values_of_a_training(tmp_path, adapted):
    file, content = tmp_path / "last.ckpt", training(LoRA(rank=2) if adapted else None)
    rest = {key: value for key, value in content.items() if "state" not in key}
    torch.save(content, file)

    def mutations():
        source = random.Random(int(adapted))
        for _ in range(200):
            # Mostly of what describes the weights, of which there are many.
            of_weights = source.random() < 0.3
            new = mutated(content, source, STRANGE + TENSORS) if of_weights else {**content, **mutated(rest, source)}
            torch.save(new, file)
            yield {key: value for key, value in new.items() if "state" not in key}

    tried(mutations(), lambda: answers(TrainedCheckpoint(str(file))), 100)


@pytest.mark.slow
@pytest.mark.parametrize("new", [False, True])
@pytest.mark.parametrize("kind", ["fit", "adm"])
def test_bytes_of_a_torch_file(tmp_path, kind, new):
    """Of both formats that torch has written."""
    file = tmp_path / "last.ckpt"
    content = training() if kind == "fit" else to_adm(tiny().network, False)
    data = saved(content, new)

    def mutations():
        source = random.Random(f"{kind} {new}")
        for _ in range(150):
            bad = damaged(data, source)
            file.write_bytes(bad)
            yield bad[:300]

    file.write_bytes(data)
    checkpoint = TrainedCheckpoint(str(file)) if kind == "fit" else ADMCheckpoint(str(file), TINY)
    tried(mutations(), lambda: answers(checkpoint), 50)


@pytest.mark.slow
def test_tensors_of_an_adm_file(tmp_path):
    file, weights = tmp_path / "model.pt", to_adm(tiny().network, False)
    torch.save(weights, file)

    def mutations():
        source = random.Random(0)
        for number in range(100):
            new = mutated({"state_dict": weights} if number % 3 else weights, source, STRANGE + TENSORS)
            torch.save(new, file)
            yield list(new)

    tried(mutations(), lambda: answers(ADMCheckpoint(str(file), TINY)), 50)


@pytest.fixture
def folder(tmp_path):
    """A folder in `DDPMPipeline`'s layout, its weights in two shards."""
    small_unet().save_pretrained(tmp_path / "model/unet", max_shard_size="200KB")
    (tmp_path / "model/scheduler").mkdir()
    (tmp_path / "model/scheduler/scheduler_config.json").write_text(json.dumps(SCHEDULER))
    index = {
        "_class_name": "DDPMPipeline",
        "unet": ["diffusers", "UNet2DModel"],
        "scheduler": ["diffusers", "DDPMScheduler"],
    }
    (tmp_path / "model/model_index.json").write_text(json.dumps(index))
    return tmp_path / "model"


@pytest.mark.slow
def test_files_of_a_diffusers_folder(tmp_path, folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    assert len(files) == 8
    before = {path: path.read_bytes() for path in files}

    def mutations():
        source = random.Random(0)
        for number in range(400):
            path = source.choice([path for path in files if number % 4 == 0 or path.suffix == ".json"])
            if path.suffix == ".json" and number % 3:
                tree = json.loads(before[path])
                new = mutated({**SAID, **tree} if path.name == "config.json" else tree, source)
                path.write_text(json.dumps(new))
            else:
                new = damaged(before[path], source)
                path.write_bytes(new)
            yield path.name, new if isinstance(new, dict) else new[:300]
            path.write_bytes(before[path])

    tried(mutations(), lambda: answers(DiffusersCheckpoint(str(folder))), 150)


SAID = {"num_train_timesteps": None, "class_embed_type": None}


@pytest.mark.slow
def test_headers_of_safetensors(folder):
    """The names, types, shapes and places that a file's header gives to its bytes."""
    file = next((folder / "unet").glob("*-of-*.safetensors"))
    data = file.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header, body = json.loads(data[8 : 8 + length]), data[8 + length :]

    def mutations():
        source = random.Random(0)
        strange = [*STRANGE, "F8_E4M3", "I64", "BOOL", "F64", [0, 0], [2**62, 4], [16, 3, 3, 3]]
        for _ in range(200):
            new = mutated(header, source, strange)
            text = json.dumps(new).encode()
            file.write_bytes(len(text).to_bytes(8, "little") + text + body)
            yield new

    tried(mutations(), lambda: answers(DiffusersCheckpoint(str(folder))), 100)


def test_a_few_of_each_kind(tmp_path, folder):
    """What the default suite tries of all of this."""
    source, refused = random.Random(1), 0
    trained, content = tmp_path / "last.ckpt", training()
    rest = {key: value for key, value in content.items() if "state" not in key}
    config = folder / "unet/config.json"
    text = json.loads(config.read_text())
    for _ in range(3):
        new = mutated(rest, source)
        torch.save({**content, **new}, trained)
        refused += refusal(lambda: answers(TrainedCheckpoint(str(trained))), new) is not None
        changed = mutated(text, source)
        config.write_text(json.dumps(changed))
        refused += refusal(lambda: answers(DiffusersCheckpoint(str(folder))), changed) is not None
    assert refused > 1
