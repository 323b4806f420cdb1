"""Tiny trainings by `sgm-lightning fit`, and what they leave."""

import sys
import time
import warnings

import numpy as np
import torch
import yaml
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from sgm_lightning.cli import main
from support.configs import changed
from support.runs import environment

FLAGS = {
    "image_size": 8, "in_channels": 1, "num_channels": 32, "num_res_blocks": 1, "channel_mult": "1,1",
    "attention_resolutions": "4", "num_head_channels": 32, "learn_sigma": True, "noise_schedule": "cosine",
}  # fmt: skip


def grays(folder, count=16, step=16):
    """Write pictures of 8 x 8 pixels, each of one gray level."""
    for i in range(count):
        Image.fromarray(np.full((8, 8), step * i, np.uint8)).save(folder / f"{i:02d}.png")
    return folder


# Changes of the settings for tests of something else than validation.
QUICK = {
    **{"model__nelbo_images": 0, "model__warmup_steps": 0, "grid__images": 0},
    **{"trainer__val_check_interval": 100, "writer__save_every": 100},
}


def settings(folder, **changes):
    config = {
        "model": {
            "backbone": {"class_path": "sgm_lightning.backbones.NewNetwork", "init_args": {"flags": dict(FLAGS)}},
            "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 1e-3}},
            "dropout": 0.1,
            "warmup_steps": 2,
            "lr_schedule": "cosine",
            "nelbo_images": 4,
            "nelbo_spacing": 12,
        },
        "data": {
            "class_path": "sgm_lightning.fit.FolderData",
            "init_args": {"root": str(folder), "batch_size": 4, "held_out_share": 0.25},
        },
        "average": {"decay": 0.9},
        "writer": {"save_every": 3},
        "grid": {"images": 2, "spacing": 3},
        "trainer": {"accelerator": "cpu", "max_steps": 8, "val_check_interval": 4, "log_every_n_steps": 1,
                    "enable_progress_bar": False},
    }  # fmt: skip
    return changed(config, changes)


def fit(tmp_path, config, name="run"):
    file = tmp_path / f"{name}.yaml"
    file.write_text(yaml.safe_dump(config))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return main(["fit", "--config", str(file), "--run_dir", str(tmp_path / name)])


def command(tmp_path, config, name="run", *args):
    file = tmp_path / f"{name}.yaml"
    file.write_text(yaml.safe_dump(config))
    line = [sys.executable, "-m", "sgm_lightning", "fit", "--config", str(file), "--run_dir", str(tmp_path / name), *args]
    return line, environment(OMP_NUM_THREADS="1")


def state(tmp_path, name="run"):
    return torch.load(tmp_path / name / "last.ckpt", weights_only=True)


def scalars(tmp_path, name="run"):
    """Tag → {step: value}, over all starts."""
    found = {}
    for file in sorted((tmp_path / name / "tensorboard").glob("events*")):
        events = EventAccumulator(str(file)).Reload()
        for tag in events.Tags()["scalars"]:
            found.setdefault(tag, {}).update({event.step: event.value for event in events.Scalars(tag)})
    return found


def same(a, b, tolerance=1e-5):
    """Current weights, averages and the optimiser's moments."""
    moments = [state["optimizer_states"][0]["state"] for state in (a, b)]
    pairs = [(a[key][name], b[key][name]) for key in ("state_dict", "current_model_state") for name in a["state_dict"]]
    pairs += [(moments[0][i]["exp_avg"], moments[1][i]["exp_avg"]) for i in moments[0]]
    assert len(pairs) > 50 and a["averaging_state"] == b["averaging_state"] and a["global_step"] == b["global_step"]
    for left, right in pairs:
        assert torch.allclose(left, right, rtol=tolerance, atol=tolerance)


def wait(condition, process, seconds=90):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.05)
