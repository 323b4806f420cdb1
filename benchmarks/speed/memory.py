"""Resident memory of a long run with a tiny network: flat from the 10th to the last chunk, and through the merge.

python benchmarks/memory.py                    1000 chunks of 64 images of 3 × 32 × 32
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
from pathlib import Path

import torch
import yaml

from sgm_lightning import save_diffusers
from sgm_lightning.backbones.unet import ADMUNet2DModel
from sgm_lightning.backbones.unet_backbone import UNetBackbone
from sgm_lightning.cli import main
from sgm_lightning.diffusion import make_betas
from sgm_lightning.predict import RunWriter


def resident() -> float:
    """MB of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def measure() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chunks", type=int, default=1000)
    chunks = parser.parse_args().chunks
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
    sizes: list[float] = []
    write = RunWriter.write_on_batch_end

    def watched(*args: object) -> None:
        write(*args)  # type: ignore[arg-type]
        sizes.append(resident())

    RunWriter.write_on_batch_end = watched  # type: ignore[method-assign,assignment]
    with tempfile.TemporaryDirectory() as folder:
        save_diffusers(UNetBackbone(network, make_betas("linear")), Path(folder, "model"))
        model = {
            "backbone": {
                "class_path": "sgm_lightning.backbones.DiffusersCheckpoint",
                "init_args": {"path": f"{folder}/model"},
            },
            "guidance": {"class_path": "sgm_lightning.guidance.SelfGuidance", "init_args": {"window": {"interval": 2}}},
            "spacing": 2,
            "score": {"num_draws": 1},
        }
        data = {
            "class_path": "sgm_lightning.predict.SampleIndices",
            "init_args": {"num_samples": chunks * 64, "chunk_size": 64},
        }
        config = Path(folder, "config.yaml")
        config.write_text(yaml.safe_dump({"model": model, "data": data, "trainer": {"accelerator": "cpu"}}))
        status = main(["predict", "--config", str(config), "--run_dir", f"{folder}/run"])
    later = sizes[9:]
    print(f"resident memory: {sizes[9]:.0f} MB at chunk 10, {sizes[-1]:.0f} MB at chunk {len(sizes)}")
    print(f"between them: {min(later):.0f} to {max(later):.0f} MB, {max(later) - later[0]:+.0f} MB over chunk 10")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3 * 1.024
    print(f"highest of the process, the merge included: {peak:.0f} MB")
    return status


if __name__ == "__main__":
    sys.exit(measure())
