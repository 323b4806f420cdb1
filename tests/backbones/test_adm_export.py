"""What `convert --layout adm` writes is the same model, or is refused."""

import diffusers
import pytest
import torch
from support.networks import small_unet

from sgm_lightning import ADMCheckpoint, SGMError
from sgm_lightning.backbones import ADMFlags, UNetBackbone
from sgm_lightning.backbones.adm import backbone_from_flags
from sgm_lightning.backbones.adm_export import export_adm
from sgm_lightning.backbones.adm_flags import unet_from_flags
from sgm_lightning.cli import main
from sgm_lightning.diffusion import make_betas

SMALL = {"image_size": 16, "num_channels": 32, "num_res_blocks": 1, "channel_mult": "1,2", "attention_resolutions": "8"}
LIKE_ADM = {
    "block_out_channels": (32, 64),
    "attention_head_dim": 32,
    "norm_num_groups": 32,
    "attn_norm_num_groups": 32,
}


def randomised(network):
    """A network none of whose layers is zero, as some of ADM's are at first."""
    source = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        parameter.data = 0.1 * torch.randn(parameter.shape, generator=source)
    return network.eval()


@pytest.mark.parametrize("order", [True, False])
@pytest.mark.parametrize(
    "changes",
    [
        {"num_heads": 2},
        {"num_head_channels": 32, "learn_sigma": True, "noise_schedule": "cosine"},
        {"num_heads": 1, "class_cond": True, "num_classes": 5, "use_scale_shift_norm": False, "resblock_updown": True},
        {"num_heads": 2, "diffusion_steps": 500, "rescale_timesteps": True, "predict_xstart": True, "sigma_small": True},
        {"num_heads": 2, "large_size": 16, "small_size": 8, "in_channels": 1},
    ],
)
def test_flags_and_weights_make_the_same_model(tmp_path, changes, order):
    flags = ADMFlags(**{**SMALL, **changes, "use_new_attention_order": order})
    ours = backbone_from_flags(randomised(unet_from_flags(flags)), flags)
    weights, written = export_adm(ours, order)
    torch.save(weights, tmp_path / "x.pt")
    again = ADMCheckpoint(str(tmp_path / "x.pt"), written).load()
    x, steps = torch.randn(2, ours.network.config.in_channels, 16, 16), torch.tensor([7, 300])
    classes = {"class_labels": torch.tensor([0, 4])} if flags.class_cond else {}
    with torch.no_grad():
        torch.testing.assert_close(
            again.network.eval()(x, steps, **classes).sample, ours.network(x, steps, **classes).sample
        )
    assert torch.equal(again.betas, ours.betas)
    assert (again.prediction, again.variance, again.image_shape) == (ours.prediction, ours.variance, ours.image_shape)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"downsample_padding": 0}, "downsample_padding 0, where ADM has 1"),
        ({"freq_shift": 1}, "freq_shift 1, where ADM has 0"),
        ({"flip_sin_to_cos": False}, "flip_sin_to_cos False, where ADM has True"),
        ({"act_fn": "relu"}, "act_fn relu, where ADM has silu"),
        ({"center_input_sample": True}, "center_input_sample True, where ADM has False"),
        ({"norm_eps": 0.1}, "norm_eps 0.1, where ADM has 1e-05"),
        ({"add_attention": False}, "it has other layers"),
        ({"sample_size": (16, 32)}, "where ADM's are square"),
    ],
)
def test_what_adm_has_not_is_refused_by_name(change, told):
    network = randomised(small_unet(**{**LIKE_ADM, **change}))
    with pytest.raises(SGMError) as error:
        export_adm(UNetBackbone(network, make_betas("linear"), schedule="linear"), False)
    assert told in str(error.value)


@pytest.mark.parametrize(
    ("facts", "told"),
    [
        ({"betas": make_betas("linear"), "schedule": "linear", "prediction": "v_prediction"}, "it predicts v"),
        ({"betas": make_betas("scaled_linear"), "schedule": "scaled_linear"}, r"its noise schedule \(scaled_linear\)"),
        ({"betas": make_betas("linear", 1000, 1e-4, 0.01), "schedule": "linear"}, r"its noise schedule \(linear\)"),
    ],
)
def test_another_process_is_refused(facts, told):
    with pytest.raises(SGMError, match=told):
        export_adm(UNetBackbone(randomised(small_unet(**LIKE_ADM)), **facts), False)


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path, capsys):
    network = randomised(unet_from_flags(ADMFlags(**SMALL)))
    diffusers.DDPMPipeline(network, diffusers.DDPMScheduler()).save_pretrained(tmp_path / "m")
    model = ["--backbone", "DiffusersCheckpoint", "--backbone.path", str(tmp_path / "m")]
    (tmp_path / "file").write_text("")
    assert main(["convert", *model, "--layout", "adm", "--output", str(tmp_path / "file/x.pt")]) == 1
    assert capsys.readouterr().err.startswith("error: ")
