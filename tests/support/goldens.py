"""Recorded networks and noise of the released code."""

import json

import numpy as np
import torch

from sgm_lightning import ADMFlags
from support.paths import GOLDENS

DIFFUSION = {"steps": 1000, "noise_schedule": "cosine"}


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


class RecordedNoise:
    """The noise of a recorded case, by the names of its tensors."""

    def __init__(self, tensors):
        self.tensors = tensors
        self.indices = range(tensors["x_T"].shape[0] if "x_T" in tensors else 2)

    def start(self):
        return self.tensors["x_T"]

    def step(self, index, visit=0):
        return self.tensors[f"step_noise_{index:03d}"]

    def draw(self, purpose, index, number):
        return self.tensors[f"mc_noise_{index:03d}_{number}"]

    def ahead_step(self, index, visit=0):
        pass

    def ahead(self, purpose, index, number):
        pass


def recorded_pairs(case, channels, size):
    """The pairs of pictures of a recorded distance, two (N, C, size, size) float32 batches, by the recipe in the README."""
    generator = np.random.Generator(np.random.Philox(case["seed"]))
    count = case["num_pairs"]
    blocks = np.kron(generator.standard_normal((count, channels, 4, 4)), np.ones((1, 1, size // 4, size // 4)))
    first = np.clip(blocks, -1, 1)
    first[:, :, : size // 2] += 0.1 * generator.standard_normal((count, channels, size // 2, size))
    strength = np.geomspace(0.03, 2, count).reshape(-1, 1, 1, 1)
    second = first + strength * generator.standard_normal(first.shape)
    second[::4] = np.roll(first[::4], 1, axis=-1)
    return [torch.from_numpy(np.clip(pictures, -1, 1)).float() for pictures in (first, second)]
