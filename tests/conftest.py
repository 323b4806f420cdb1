import json
import os
import subprocess
from pathlib import Path

import pytest
import torch

from sgm_lightning import ADMCheckpoint, ADMFlags

GOLDENS = Path(os.environ.get("SGM_GOLDENS", Path(__file__).parent / "goldens"))
FASHION = Path(__file__).parents[1] / "checkpoints" / "fashion_mnist_28"


def golden_flags(network: str, diffusion: dict) -> ADMFlags:
    """The released constructor arguments of a golden network as flags."""
    args = json.loads((GOLDENS / f"{network}.json").read_text())
    size = args["image_size"]
    channels = args["in_channels"]
    upsampler = torch.load(GOLDENS / f"{network}.pt", weights_only=True)["input_blocks.0.0.weight"].shape[1] > channels
    return ADMFlags(
        image_size=size,
        num_channels=args["model_channels"],
        num_res_blocks=args["num_res_blocks"],
        channel_mult=",".join(map(str, args["channel_mult"])),
        attention_resolutions=",".join(str(size // factor) for factor in args["attention_resolutions"]),
        num_heads=args["num_heads"],
        num_head_channels=args["num_head_channels"],
        use_scale_shift_norm=args["use_scale_shift_norm"],
        resblock_updown=args["resblock_updown"],
        use_new_attention_order=args["use_new_attention_order"],
        learn_sigma=args["out_channels"] == 2 * channels,
        class_cond=args["num_classes"] is not None,
        num_classes=args["num_classes"] or 1000,
        in_channels=channels,
        diffusion_steps=diffusion["steps"],
        noise_schedule=diffusion["noise_schedule"],
        large_size=size if upsampler else None,
        small_size=size // 2 if upsampler else None,
    )


def changed(config: dict, changes: dict) -> dict:
    """The settings with others in their places, named as in `model__guidance__init_args`."""
    for path, value in changes.items():
        node = config
        *parents, last = path.split("__")
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = value
    return config


@pytest.fixture(scope="session")
def golden_backbone():
    def load(network: str, diffusion: dict):
        return ADMCheckpoint(GOLDENS / f"{network}.pt", golden_flags(network, diffusion)).load()

    return load


@pytest.fixture(scope="session", autouse=True)
def _two_threads():
    torch.set_num_threads(2)


@pytest.fixture
def small_disk(tmp_path):
    """A real file system of 256 KiB."""
    if os.name != "posix" or os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs needs root")
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("a tmpfs cannot be mounted here")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)
