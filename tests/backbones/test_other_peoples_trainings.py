"""Checkpoints that are said to be of `fit`: what cannot be meant is refused by name, soon, and before memory is taken."""

import math
import zipfile

import pytest
import torch
from support.cases import some
from support.mutations import REMOVED, deep, refusal, torch_save
from support.networks import tiny

from sgm_lightning.backbones import TrainedCheckpoint
from sgm_lightning.backbones.lora import LoRA
from sgm_lightning.backbones.trained import training_state

BACKBONE = ("sgm_lightning", "backbone")
NETWORK = (*BACKBONE, "network")
STATE = "state_dict"
WEIGHT = "denoiser.network.conv_in.weight"
SHAPE = (32, 3, 3, 3)
ADAPTERS = {"rank": 2, "alpha": 1, "layers": ["conv1"]}


def cases(path, values, says):
    return [(path, value, says) for value in values]


NO_MAPPING = ([], None, 3, "text", {}, deep())
BETAS = ("0.1", ["0.1"] * 3, [math.nan] * 3, [-0.1] * 3, [1.5] * 3, [], None, 3, {}, [0.1, None], [True], [[0.1]], deep())
LORA = (
    *("text", [1], 3, True, {}, deep(), {"rank": 2}, {**ADAPTERS, "more": 1}),
    *({**ADAPTERS, "rank": rank} for rank in (0, -1, 10**9, "2", 1.5)),
    *({**ADAPTERS, "alpha": alpha} for alpha in (math.nan, -1, "x", None)),
    *({**ADAPTERS, "layers": layers} for layers in ("(a+)+$", [], [3], ["nothing"], None)),
)
SIZES = (0, -1, 10**5, 10**9, "8", 1.5, math.nan, True, [8], deep())
CASES = [
    *cases((*BACKBONE, "betas"), BETAS, "betas"),
    *cases((*BACKBONE, "betas"), [torch.full((3,), 0.1), torch.zeros(1).expand(10**9), [0.1] * 1_000_001], "betas"),
    *cases((*BACKBONE, "betas"), [[0.1, 0.3, 0.2]], "those of its schedule, linear"),
    *cases(("sgm_lightning", "lora"), LORA, "lora"),
    *cases((*NETWORK, "num_class_embeds"), [REMOVED, None, 6], "class_embedding.weight"),
    *cases((*NETWORK, "num_class_embeds"), [-1, 0, 10**9, "5", [5], 5.0, math.nan, True], "num_class_embeds"),
    *cases((*NETWORK, "null_class"), ["yes", 3, None, deep()], "null_class"),
    *cases((*NETWORK, "a_key_of_tomorrow"), [1], "a_key_of_tomorrow"),
    *cases((*NETWORK, 3), [1], "must map names to values"),
    *cases(NETWORK, [value for value in NO_MAPPING if value != {}], "must map names to values"),
    *cases(NETWORK, [{}], "sample_size"),
    *cases(BACKBONE, [*NO_MAPPING, REMOVED], "backbone"),
    *cases(("sgm_lightning",), [*NO_MAPPING[:4], REMOVED], "no checkpoint of `sgm-lightning fit`"),
    *cases((*NETWORK, "sample_size"), [*SIZES, None, [8, 8, 8]], "sample_size"),
    *cases((*NETWORK, "sample_size"), [9], "divisible by 2"),
    *cases(
        (*NETWORK, "block_out_channels"), [*SIZES, [], None, [-32, 64], [10**5, 10**5], [32] * 10**4], "block_out_channels"
    ),
    *cases((*NETWORK, "block_out_channels"), [[16384, 16384]], "conv_in.weight has shape"),
    *cases((*NETWORK, "layers_per_block"), [*SIZES, None], "layers_per_block"),
    *cases((*NETWORK, "layers_per_block"), [256], "at least 8208 tensors"),
    *cases((*NETWORK, "in_channels"), [*SIZES, None], "in_channels"),
    *cases((*NETWORK, "out_channels"), [*SIZES, None], "out_channels"),
    *cases((*NETWORK, "out_channels"), [3], "twice as many channels out"),
    *cases((*NETWORK, "norm_num_groups"), [*SIZES, None], "norm_num_groups"),
    *cases((*NETWORK, "attention_head_dim"), SIZES, "attention_head_dim"),
    *cases((*NETWORK, "time_embedding_dim"), SIZES, "time_embedding_dim"),
    *cases((*NETWORK, "num_heads"), [*SIZES, 3], "num_heads"),
    *cases((*NETWORK, "time_width"), SIZES, "time_width"),
    *cases((*NETWORK, "low_res_size"), SIZES, "low_res_size"),
    *cases((*NETWORK, "timestep_scale"), [0, -1, math.nan, "x", None, 10**400, 1e30, deep()], "timestep_scale"),
    *cases((*NETWORK, "norm_eps"), [0, -1, math.inf, "x", None], "norm_eps"),
    *cases((*NETWORK, "downsample_padding"), [2, -1, True, None, "1"], "downsample_padding"),
    *cases((*NETWORK, "down_block_types"), [[], None, "x", ["Nonsense"] * 2, [3, 3], deep()], "No UNet2DModel can be made"),
    *cases((*NETWORK, "act_fn"), [None, "no", 3, "\x1b[2J\n"], "No UNet2DModel can be made"),
    *cases(("global_step",), [-1, None, "x", 1.5, deep(), REMOVED], "global_step"),
    *cases(("averaging_state",), [[], 3, "x", {}, deep()], "n_averaged"),
    *cases(
        ("averaging_state",), [{"n_averaged": value} for value in ("x", -1, None, torch.zeros(3), math.nan)], "n_averaged"
    ),
    *cases((STATE,), [*NO_MAPPING[:4], deep()], "state_dict"),
    *cases((STATE,), [{}, {3: torch.zeros(1)}], "at least 48 tensors, got 0"),
    *cases(("current_model_state",), NO_MAPPING[:4], "current_model_state"),
    *cases((*BACKBONE, "prediction"), ["v", "v-prediction", None, 3, []], "prediction of the backbone"),
    *cases((*BACKBONE, "variance"), ["learned", None, 3, []], "variance of the backbone"),
    *cases((*BACKBONE, "variance"), ["fixed_small"], "as many channels out as in"),
    *cases((*BACKBONE, "schedule"), ["exp", None, 3, deep()], "schedule of the backbone"),
    *cases((*BACKBONE, "schedule"), ["cosine", "scaled_linear", "laplace"], "those of its schedule"),
    *cases((*BACKBONE, "codec"), ["latents", {"class": "AutoencoderKL"}], "The backbone in"),
    *cases((*BACKBONE, "prediction"), [REMOVED], "The backbone in"),
    *cases((STATE, WEIGHT), [REMOVED], "it lacks conv_in.weight"),
    *cases((STATE, "denoiser.network.more"), [torch.zeros(1)], "it has more too many"),
    *cases((STATE, WEIGHT), [torch.zeros(3)], "conv_in.weight has shape (3,)"),
    *cases((STATE, WEIGHT), [torch.zeros(SHAPE, dtype=torch.int64)], "conv_in.weight holds torch.int64"),
    *cases((STATE, WEIGHT), [torch.zeros(SHAPE, dtype=kind) for kind in (torch.int8, torch.complex64)], "conv_in.weight of"),
    *cases((STATE, WEIGHT), [torch.zeros(SHAPE, device="meta"), torch.zeros(SHAPE).to_sparse()], "conv_in.weight of"),
    *cases((STATE, WEIGHT), [torch.full(SHAPE, math.nan), torch.full(SHAPE, 1e300, dtype=torch.float64)], "NaN or infinite"),
    *cases((STATE, WEIGHT), [torch.zeros(1).expand(10**10)], "not as many numbers"),
    *cases((STATE, WEIGHT), [None, "text", [1.0], 3], "must be a tensor"),
]


@pytest.fixture(scope="module")
def training():
    backbone = tiny()
    weights = {f"denoiser.network.{name}": value for name, value in backbone.network.state_dict().items()}
    return {STATE: weights, "global_step": 3, **training_state(backbone, None, None)}


def changed(content, path, value):
    """The content with another value in one place; what is beside it is shared."""
    key, *rest = path
    inside = dict(content)
    if rest:
        inside[key] = changed(inside[key], rest, value)
    elif value is REMOVED:
        del inside[key]
    else:
        inside[key] = value
    return inside


def named(case):
    path, value, _ = case
    try:
        return f"{path[-1]}={value!r:.40}".splitlines()[0]
    except (RecursionError, ValueError):
        return f"{path[-1]}, deep or long"


def refused(file, load):
    sentence = refusal(load)
    assert sentence is not None and str(file) in sentence
    return sentence


@pytest.mark.parametrize(("path", "value", "says"), some(CASES, every=40), ids=map(named, CASES))
def test_what_cannot_be_meant_is_refused_by_name(training, tmp_path, path, value, says):
    file = tmp_path / "last.ckpt"
    torch_save(changed(training, path, value), file)
    assert says in refused(file, TrainedCheckpoint(str(file)).load)


RIGHT = [(("global_step",), 0), (("global_step",), 10**9), (("averaging_state",), {"n_averaged": torch.tensor(2)})]
RIGHT += [((STATE, WEIGHT), kind) for kind in (torch.float16, torch.float64)]


@pytest.mark.parametrize(("path", "value"), some(RIGHT, often=(3,)))
def test_right_ones_are_read(training, tmp_path, path, value):
    file, weight = tmp_path / "last.ckpt", training[STATE][WEIGHT]
    torch.save(changed(training, path, weight.to(value) if path[0] == STATE else value), file)
    found = TrainedCheckpoint(str(file)).load().network.conv_in.weight
    torch.testing.assert_close(found, weight, rtol=1e-3, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("lora", "says"),
    [(None, "it lacks"), ({"rank": 3}, "has shape"), ({"layers": ["to_q"]}, "it has"), ({"alpha": 1e39}, "NaN")],
)
def test_adapters_that_do_not_fit_are_refused(tmp_path, lora, says):
    backbone, adapters = tiny(), LoRA(rank=2)
    state = training_state(backbone, adapters.settings, None)
    adapters.inject(backbone.network)
    weights = {f"denoiser.network.{name}": value for name, value in backbone.network.state_dict().items()}
    torch.nn.init.ones_(weights[next(name for name in weights if "lora_B" in name)])
    content, file = {STATE: weights, "global_step": 3, **state}, tmp_path / "last.ckpt"
    torch.save(content, file)
    TrainedCheckpoint(str(file)).load()
    torch.save(changed(content, ("sgm_lightning", "lora"), lora and {**adapters.settings, **lora}), file)
    assert says in refused(file, TrainedCheckpoint(str(file)).load)


@pytest.mark.slow
def test_a_bomb_is_refused(tmp_path):
    """Torch reads archives that are packed, and takes the memory that they say they need."""
    file = tmp_path / "last.ckpt"
    torch.save({"a": torch.zeros(7)}, tmp_path / "small.ckpt")
    with (
        zipfile.ZipFile(tmp_path / "small.ckpt") as old,
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as new,
    ):
        for name in old.namelist():
            if not name.endswith("data/0"):
                new.writestr(name, old.read(name))
        with new.open("archive/data/0", "w", force_zip64=True) as member:
            for _ in range(2**9):
                member.write(bytes(2**20))
    assert "unpacks from" in refused(file, TrainedCheckpoint(str(file)).load)
