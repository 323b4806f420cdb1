"""Small random networks, and samples that are drawn with one of them."""

import atexit
import shutil
import tempfile
from dataclasses import replace
from functools import cache

import diffusers
import torch

from sgm_lightning import DDPM, ADMFlags, Condition, DiffusersCheckpoint, SampleNoise, SelfGuidance, Window, save_diffusers
from sgm_lightning.backbones import NewNetwork
from sgm_lightning.backbones.rebuild import with_classes

TINY = ADMFlags(
    image_size=8,
    num_channels=32,
    channel_mult="1,2",
    num_res_blocks=1,
    num_head_channels=16,
    attention_resolutions="4",
    resblock_updown=True,
    use_scale_shift_norm=True,
    learn_sigma=True,
    class_cond=True,
    num_classes=5,
)
LABELS = Condition(torch.tensor([0, 3, 4]))


def tiny(null_class=False, **flags):
    """A network of the ADM family whose every weight counts; its last class may stand for "any"."""
    backbone = NewNetwork(replace(TINY, **flags)).load()
    if null_class:
        backbone.network.register_to_config(null_class=True)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        for weight in backbone.network.parameters():
            torch.nn.init.normal_(weight, std=0.15) if weight.ndim > 1 else torch.nn.init.uniform_(weight, -0.3, 0.3)
    return backbone


def drawn(denoiser, sampler=None, guidance=None):
    noise = SampleNoise(0, range(3), denoiser.image_shape)
    return (sampler or DDPM())(denoiser, noise, guidance, LABELS)


EXACT = SelfGuidance(scale=0.5, window=Window(interval=2))


def small_unet(**changes):
    """A `UNet2DModel` of two levels and random weights, always the same ones, as other programs leave them."""
    torch.manual_seed(0)
    config = {
        "sample_size": 16,
        "block_out_channels": (16, 32),
        "layers_per_block": 1,
        "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
        "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
        "norm_num_groups": 8,
    }
    return diffusers.UNet2DModel(**{**config, **changes})


@cache
def small_model(num_classes=None):
    """A folder with a network of 1 × 28 × 28 that answers in milliseconds, with a null class beside its classes."""
    folder = tempfile.mkdtemp(prefix="small_model-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    with torch.random.fork_rng():
        if num_classes:
            backbone = with_classes(DiffusersCheckpoint(small_model()).load(), num_classes, null_class=True)
            torch.manual_seed(0)
            torch.nn.init.normal_(backbone.network.class_embedding.weight)
            save_diffusers(backbone, folder)
            return folder
        channels = {"sample_size": 28, "in_channels": 1, "out_channels": 2, "block_out_channels": (8, 16)}
        blocks = {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2, "add_attention": False}
        network = small_unet(**channels, **blocks)
        scheduler = diffusers.DDPMScheduler(beta_schedule="squaredcos_cap_v2", variance_type="learned_range")
        diffusers.DDPMPipeline(network, scheduler).save_pretrained(folder)
    return folder
