"""Folders of diffusers as other programs leave them: every tensor and every key is read right, or refused by name."""

import json

import diffusers
import pytest
import torch
from safetensors.torch import load_file, save_file
from support.networks import small_unet

from sgm_lightning import DiffusersCheckpoint, SGMError
from sgm_lightning.backbones import ADMCheckpoint, ADMFlags, NetworkFrom
from sgm_lightning.backbones.adm_flags import unet_from_flags
from sgm_lightning.backbones.adm_keys import to_adm

DDPM = {"_class_name": "DDPMScheduler"}


@pytest.fixture(scope="module")
def network():
    return small_unet()


@pytest.fixture
def folder(tmp_path, network):
    """Writes a folder in `DDPMPipeline`'s layout."""

    def make(scheduler=DDPM, network=network):
        network.save_pretrained(tmp_path / "unet")
        (tmp_path / "scheduler").mkdir(exist_ok=True)
        (tmp_path / "scheduler/scheduler_config.json").write_text(json.dumps(scheduler))
        return tmp_path

    return make


def change_weights(path, change):
    file = path / "unet/diffusion_pytorch_model.safetensors"
    weights = load_file(file)
    changed = change(weights)
    save_file(weights if changed is None else changed, file, {"format": "pt"})


def refused(path):
    with pytest.raises(SGMError) as error:
        DiffusersCheckpoint(str(path)).load()
    return str(error.value)


# Weights


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda w: w.pop("conv_out.weight"), "it lacks conv_out.weight"),
        (lambda w: [w.pop(name) for name in list(w) if "attentions" in name], "it lacks down_blocks.1.attentions"),
        (lambda w: w.update(extra=torch.zeros(1)), "it has extra too many"),
        (lambda w: w.update({"conv_in.bias": torch.zeros(3)}), "conv_in.bias has shape (3,) in place of (16,)"),
        (lambda w: w.update({"conv_in.bias": w["conv_in.bias"].to(torch.int8)}), "conv_in.bias of"),
        (lambda w: w.update({"conv_in.bias": w["conv_in.bias"].to(torch.float8_e4m3fn)}), "torch.float8_e4m3fn"),
        (lambda w: w.update({"conv_in.bias": w["conv_in.bias"] * float("nan")}), "NaN or infinite weights in conv_in.bias"),
        (lambda w: {f"model.{name}": value for name, value in w.items()}, "it lacks"),
    ],
)
def test_every_parameter_comes_from_the_file(folder, change, told):
    path = folder()

    def changed(weights):
        result = change(weights)
        return result if isinstance(result, dict) else None

    change_weights(path, changed)
    assert told in refused(path)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
def test_prefixes_of_wrappers_are_removed(folder, network, prefix):
    path = folder()
    change_weights(path, lambda w: {prefix + name: value for name, value in w.items()})
    state = DiffusersCheckpoint(str(path)).load().network.state_dict()
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in state.items())


def test_shards_and_half_precision_are_read(folder, network):
    path = folder()
    network.half().save_pretrained(path / "unet", max_shard_size="100KB")
    (path / "unet/diffusion_pytorch_model.safetensors").unlink()
    found = DiffusersCheckpoint(str(path)).load().network
    network.float()
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.state_dict(), network.state_dict(), rtol=1e-3, atol=1e-3)
    next((path / "unet").glob("*-of-*.safetensors")).unlink()
    assert "a part of its weights" in refused(path)


def test_names_of_old_attention_layers_are_read(folder, network):
    """As in google/ddpm-cifar10-32: query, key, value and proj_attn."""
    path, now = folder(), {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}

    def old(weights):
        result = {}
        for name, value in weights.items():
            for new, before in now.items():
                name = name.replace(f".{new}.", f".{before}.")
            result[name] = value
        assert any(".query." in name for name in result)
        return result

    change_weights(path, old)
    state = DiffusersCheckpoint(str(path)).load().network.state_dict()
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in state.items())


def test_a_pointer_of_git_lfs_is_no_weights_file(folder):
    path = folder()
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    (path / "unet/diffusion_pytorch_model.safetensors").write_text(pointer)
    assert "cannot be read as weights" in refused(path)


FLAGS = ADMFlags(
    image_size=16, num_channels=32, num_res_blocks=1, channel_mult="1,2", attention_resolutions="8", num_heads=1
)


@pytest.mark.parametrize(
    "wrap", [lambda w: {f"module.{k}": v for k, v in w.items()}, lambda w: {"state_dict": w, "step": 3}]
)
def test_wrapped_state_dicts_are_unwrapped(tmp_path, wrap):
    weights = to_adm(unet_from_flags(FLAGS), False)
    torch.save(wrap(weights), tmp_path / "x.pt")
    loaded = ADMCheckpoint(str(tmp_path / "x.pt"), FLAGS).load()
    again = to_adm(loaded.network, False)
    assert all(torch.equal(value, weights[name]) for name, value in again.items())


def test_of_two_state_dicts_none_is_guessed(tmp_path):
    weights = to_adm(unet_from_flags(FLAGS), False)
    torch.save({"model": weights, "ema": weights}, tmp_path / "x.pt")
    with pytest.raises(SGMError, match="it holds several, ema, model; export one"):
        ADMCheckpoint(str(tmp_path / "x.pt"), FLAGS).load()


# Schedulers


@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize("schedule", ["linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid", "laplace"])
def test_the_chain_is_diffusers_own(folder, schedule, zero):
    scheduler = diffusers.DDPMScheduler(
        beta_schedule=schedule, rescale_betas_zero_snr=zero, prediction_type="v_prediction", beta_end=0.015
    )
    backbone = DiffusersCheckpoint(str(folder(json.loads(scheduler.to_json_string())))).load()
    alphas_cumprod = torch.cumprod(1 - backbone.betas, 0)
    torch.testing.assert_close(alphas_cumprod, scheduler.alphas_cumprod.double(), rtol=0, atol=1e-6)
    assert backbone.prediction == "v_prediction"
    process = backbone.process(20)
    assert all(bool(torch.isfinite(torch.stack(process.scales(i))).all()) for i in range(20))


SAMPLERS = (
    *("DDPMScheduler", "DDIMScheduler", "PNDMScheduler", "DPMSolverMultistepScheduler", "DPMSolverSinglestepScheduler"),
    *("EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler", "HeunDiscreteScheduler", "LMSDiscreteScheduler"),
    *("DEISMultistepScheduler", "UniPCMultistepScheduler", "KDPM2DiscreteScheduler"),
)
OTHERS = (
    *("FlowMatchEulerDiscreteScheduler", "ScoreSdeVeScheduler", "CMStochasticIterativeScheduler", "EDMEulerScheduler"),
    *("KarrasVeScheduler", "IPNDMScheduler", "LCMScheduler", "VQDiffusionScheduler", "UnCLIPScheduler"),
)


@pytest.mark.parametrize("name", SAMPLERS)
def test_samplers_of_one_chain_are_read_alike(folder, name):
    """Saved as they are, with all their defaults."""
    config = json.loads(getattr(diffusers, name)().to_json_string())
    config.update(beta_start=1e-4, beta_end=0.02, beta_schedule="linear")
    backbone = DiffusersCheckpoint(str(folder(config))).load()
    torch.testing.assert_close(backbone.betas, torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64))
    assert (backbone.prediction, backbone.variance) == ("epsilon", "fixed_small")


@pytest.mark.parametrize("name", OTHERS)
def test_other_processes_are_refused_by_name(folder, name):
    assert f"is a {name}" in refused(folder({"_class_name": name}))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *((("prediction_type", value)) for value in ("v", "v-prediction", "flow_prediction", None, 3, ["epsilon"])),
        *((("variance_type", value)) for value in ("learned", "large", 1, ["fixed_small"])),
        *((("beta_schedule", value)) for value in ("exp", None, 0, ["linear"])),
        *((("num_train_timesteps", value)) for value in (None, 0, -1, 10**9, 1e3, True, "1000")),
        *((("beta_start", value)) for value in ("1e-4", None, 0, 1.5, float("nan"))),
        *((("trained_betas", value)) for value in (["0.1"], [0.1] * 500, "0.1", [float("nan")] * 1000, [2.0] * 1000)),
        *((("thresholding", True), ("use_flow_sigmas", True), ("clip_sample_range", 2.0), ("snr_shift_scale", 3.0))),
        *((("timestep_type", "continuous"), ("sigma_min", 0.002), ("a_key_of_tomorrow", 1))),
    ],
)
def test_values_that_cannot_be_meant_are_refused_by_key(folder, key, value):
    scheduler = {**DDPM, "num_train_timesteps": 1000, key: value}
    assert key in refused(folder(scheduler))


def test_noise_predicted_where_there_is_nothing_else_is_refused(folder):
    assert "zero terminal SNR" in refused(folder({**DDPM, "rescale_betas_zero_snr": True}))


@pytest.mark.parametrize("content", ["[]", "null", "3", '"DDPM"', "{", "[" * 100_000])
@pytest.mark.parametrize("file", ["scheduler/scheduler_config.json", "unet/config.json", "model_index.json"])
def test_configurations_that_are_none_are_refused(folder, file, content):
    path = folder()
    (path / file).write_text(content)
    told = refused(path)
    assert file.rpartition("/")[2] in told or "configuration" in told


def test_a_model_of_latents_is_refused(folder):
    path = folder()
    index = {"_class_name": "LDMPipeline", "unet": ["diffusers", "UNet2DModel"], "vqvae": ["diffusers", "VQModel"]}
    (path / "model_index.json").write_text(json.dumps(index))
    assert "LDMPipeline with vqvae besides the network" in refused(path)


# Networks


@pytest.mark.parametrize(
    ("changes", "scheduler", "told"),
    [
        ({"sample_size": None}, {}, "sample_size"),
        ({"class_embed_type": "timestep"}, {}, "class_embed_type"),
        ({"class_embed_type": "identity"}, {}, "class_embed_type"),
        ({}, {"variance_type": "learned_range"}, "twice as many channels out"),
        ({"out_channels": 6}, {}, "as many channels out as in"),
        ({"in_channels": 5}, {}, "5 in and 3 out"),
        ({"sample_size": 17}, {}, "divisible by 2"),
    ],
)
def test_networks_that_cannot_be_drawn_from_are_refused(folder, changes, scheduler, told):
    assert told in refused(folder({**DDPM, **scheduler}, small_unet(**changes)))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *((("block_out_channels", value)) for value in ([], None, 3, [16, -1], [10**9, 10**9], "16", [[16], 32], [48, 32])),
        *((("in_channels", value)) for value in (0, -1, None, 10**9, "3", 1.5)),
        *((("sample_size", value)) for value in ("16", [16, 16, 16], 0, -16, [None, 16], {})),
        *((("num_class_embeds", value)) for value in (0, "10", [10])),
        *((("down_block_types", ["Nonsense", "DownBlock2D"]), ("_class_name", "UNet2DConditionModel"), ("norm_eps", "x"))),
        ("a_key_of_tomorrow", 1),
    ],
)
def test_values_of_a_network_that_cannot_be_meant_are_refused(folder, key, value):
    path = folder()
    file = path / "unet/config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), key: value}))
    assert str(path) in refused(path)


def test_a_network_of_ones_own_takes_wrapped_weights(tmp_path):
    network = torch.nn.Conv2d(1, 1, 1)
    torch.save({"state_dict": {f"module.{k}": v for k, v in network.state_dict().items()}}, tmp_path / "x.pt")
    other = torch.nn.Conv2d(1, 1, 1)
    NetworkFrom(other, (1, 4, 4), str(tmp_path / "x.pt")).load()
    assert torch.equal(other.weight, network.weight)
