"""Checkpoints: damaged ones are refused in a sentence, and what is exported is the same network."""

import os
import shutil

import pytest
import torch
from support.goldens import DIFFUSION, golden_flags
from support.paths import FASHION, GOLDENS

from sgm_lightning import ADMCheckpoint, ADMFlags, Backbone, DiffusersCheckpoint, SGMError, save_diffusers
from sgm_lightning.backbones.adm_flags import unet_from_flags
from sgm_lightning.diffusion import make_betas


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
    with pytest.raises(SGMError, match="safetensors cannot be read as weights"):
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


def test_plain_diffusers_opens_the_default_model():
    from diffusers import DDPMPipeline

    pipeline = DDPMPipeline.from_pretrained(FASHION)
    pipeline.set_progress_bar_config(disable=True)
    result = pipeline(batch_size=1, num_inference_steps=2, generator=torch.Generator().manual_seed(0), output_type="np")
    assert result.images.shape[:3] == (1, 28, 28)
    betas = make_betas("cosine")
    assert torch.allclose(pipeline.scheduler.betas.double(), betas, rtol=1e-5)


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
