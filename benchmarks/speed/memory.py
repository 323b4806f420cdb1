"""Resident memory of a long run with a tiny network: flat from the 10th to the last chunk, and through the merge.

python -m benchmarks.speed.memory                    1000 chunks of 64 images of 3 × 32 × 32
"""

from __future__ import annotations

import os
import resource
import tempfile
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from jsonargparse import auto_cli

from sgm_lightning import save_diffusers
from sgm_lightning.backbones.unet import ADMUNet2DModel
from sgm_lightning.backbones.unet_backbone import UNetBackbone
from sgm_lightning.commands.predict import SamplingCLI, predict
from sgm_lightning.diffusion import make_betas


def resident() -> float:
    """MB of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


class Watch(pl.Callback):
    """Takes the size of the process after every chunk."""

    def __init__(self) -> None:
        self.sizes: list[float] = []

    def on_predict_batch_end(self, *args: Any, **kwargs: Any) -> None:
        self.sizes.append(resident())


class WatchedCLI(SamplingCLI):
    """`predict`, with a watch that looks when everything of a chunk has been done."""

    def before_predict(self) -> None:
        super().before_predict()
        self.trainer.callbacks.append(Watch())


def memory(chunks: int = 1000) -> None:
    """Draw, and say how much memory the process had.

    Args:
        chunks: How many are drawn; more than ten.
    """
    torch.manual_seed(0)
    network = ADMUNet2DModel(
        sample_size=32,
        in_channels=3,
        out_channels=3,
        block_out_channels=(8,),
        down_block_types=("DownBlock2D",),
        up_block_types=("UpBlock2D",),
        layers_per_block=1,
        norm_num_groups=4,
        add_attention=False,
    )
    with tempfile.TemporaryDirectory() as folder:
        save_diffusers(UNetBackbone(network, make_betas("linear")), Path(folder, "model"))
        command = ["predict", "--config", "fashion_mnist", "--run_dir", f"{folder}/run", "--model.baseline", "false"]
        command += ["--trainer.callbacks", "null", "--trainer.accelerator", "cpu"]
        command += ["--model.backbone.init_args.path", f"{folder}/model", "--model.spacing", "2"]
        command += ["--model.guidance.window.interval", "2", "--model.score.num_draws", "1"]
        command += ["--data.num_samples", str(chunks * 64), "--data.chunk_size", "64"]
        cli = predict(command, WatchedCLI)
    sizes = cli.trainer.callbacks[-1].sizes
    later = sizes[9:]
    print(f"resident memory: {sizes[9]:.0f} MB at chunk 10, {sizes[-1]:.0f} MB at chunk {len(sizes)}")
    print(f"between them: {min(later):.0f} to {max(later):.0f} MB, {max(later) - later[0]:+.0f} MB over chunk 10")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3 * 1.024
    print(f"highest of the process, the merge included: {peak:.0f} MB")


if __name__ == "__main__":
    auto_cli(memory)
