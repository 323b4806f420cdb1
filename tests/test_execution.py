"""Other ways to carry out the network's calls give the same samples; no step waits for the device; memory; estimates."""

import copy
import warnings
from dataclasses import replace

import pytest
import torch
from support.live_memory import LiveBytes
from support.released_loop import ReleasedDDPM
from torch.overrides import TorchFunctionMode

from sgm_lightning import (
    CADS,
    DDIM,
    DDPM,
    ADMFlags,
    BestOf,
    BoostAndSkip,
    ClassifierFreeGuidance,
    Condition,
    DiffusersCheckpoint,
    DPMSolverPlusPlus,
    ELBOScore,
    Execution,
    FeatureDistance,
    MinorityScore,
    ParticleGuidance,
    SampleNoise,
    SelfGuidance,
    SGMError,
    TemporalScoreRescaling,
    Together,
    Window,
)
from sgm_lightning.backbones import NewNetwork
from sgm_lightning.classifiers import ClassifierFlags, NewClassifier
from sgm_lightning.cli import main
from sgm_lightning.guidance import ClassifierGuidance, LowDensityGuidance
from sgm_lightning.predict import SamplingModule
from sgm_lightning.predict.cost import sampling_cost
from sgm_lightning.samplers.base import finite
from sgm_lightning.scores import PerComplexity

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


def tiny(null_class=False):
    """A network of the ADM family whose every weight counts; its last class may stand for "any"."""
    backbone = NewNetwork(TINY).load()
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


@pytest.mark.parametrize("execution", [Execution(channels_last=True), Execution(checkpointing=True)])
def test_the_same_samples(execution):
    denoiser = tiny().denoiser(6)
    expected = drawn(denoiser, guidance=EXACT)
    denoiser.execute(execution)
    torch.testing.assert_close(drawn(denoiser, guidance=EXACT), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_compiled_the_same_samples():
    """Both graphs, guided and not, of a network that is conditional and learns its variance; nothing is compiled twice."""
    denoiser = tiny().denoiser(6)
    expected = drawn(denoiser, guidance=EXACT)
    denoiser.execute(Execution(compile=True))
    torch._dynamo.utils.counters.clear()
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "The network runs uncompiled")
        torch.testing.assert_close(drawn(denoiser, guidance=EXACT), expected, rtol=1e-3, atol=1e-4)
        graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
        drawn(denoiser, guidance=EXACT)
    assert graphs == 2 and torch._dynamo.utils.counters["stats"]["unique_graphs"] == 2


def test_where_compiling_fails_the_network_runs_as_it_is(monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda *args, **kwargs: broken)

    def broken(*args, **kwargs):
        raise RuntimeError("no compiler here\nand a long story")

    denoiser = tiny().denoiser(3)
    expected = drawn(denoiser)
    denoiser.execute(Execution(compile=True))
    with pytest.warns(UserWarning, match="uncompiled.*no compiler here"):
        assert torch.equal(drawn(denoiser), expected)


def test_a_backward_that_does_not_compile_is_found_with_its_forward(monkeypatch):
    from torch._dynamo.backends.common import aot_autograd

    def no_backward(graph, inputs):
        raise RuntimeError("no backward here")

    def compiler(graph, inputs):
        return graph.forward

    backend = aot_autograd(fw_compiler=compiler, bw_compiler=no_backward)
    compiled = torch.compile
    monkeypatch.setattr(torch, "compile", lambda network, **options: compiled(network, backend=backend, dynamic=False))
    denoiser = tiny().denoiser(3)
    expected = drawn(denoiser, guidance=EXACT)
    denoiser.execute(Execution(compile=True))
    with pytest.warns(UserWarning, match="uncompiled"):
        torch.testing.assert_close(drawn(denoiser, guidance=EXACT), expected, rtol=1e-3, atol=1e-4)


def test_a_compiled_backward_may_run_twice(monkeypatch):
    """As several guidances of one step need, or one that leaves complexity alone."""
    from torch._dynamo.backends.common import aot_autograd

    backend = aot_autograd(fw_compiler=lambda graph, inputs: graph.forward)
    compiled = torch.compile
    monkeypatch.setattr(torch, "compile", lambda network, **options: compiled(network, backend=backend, dynamic=False))
    denoiser, guidance = tiny().denoiser(2), SelfGuidance(MinorityScore(PerComplexity()), scale=0.5)
    expected = drawn(denoiser, guidance=guidance)
    denoiser.execute(Execution(compile=True))
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "The network runs uncompiled")
        torch.testing.assert_close(drawn(denoiser, guidance=guidance), expected, rtol=1e-3, atol=1e-4)


def test_what_scores_candidates_follows_the_model_to_its_device():
    score = MinorityScore(FeatureDistance(torch.nn.Linear(2, 2)))
    module = SamplingModule(NewNetwork(TINY), BestOf(2, score=score)).to("meta")
    assert {p.device.type for p in module.sampler.score.parameters()} == {"meta"}


def test_what_trains_is_not_executed_otherwise():
    with pytest.raises(SGMError, match="frozen"):
        tiny().denoiser(3, frozen=False).execute(Execution(compile=True))


class Waits(TorchFunctionMode):
    """Refuses what makes the host wait although tensors without data allow it: copies to the device of Python's numbers."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name in ("tensor", "as_tensor") and torch.device(kwargs.get("device") or "cpu").type == "meta":
            raise AssertionError(f"{name} copies {args[0]} to the device")
        if name in ("__getitem__", "__setitem__") and args[0].device.type == "meta":
            index = args[1] if isinstance(args[1], tuple) else (args[1],)
            assert not any(isinstance(i, list) or getattr(i, "device", None) == torch.device("cpu") for i in index), index
        if name in ("to", "copy_") and args[0].device.type == "cpu" and "meta" in map(str, [*args[1:], *kwargs.values()]):
            assert kwargs.get("non_blocking"), "a copy that waits"
        return func(*args, **kwargs)


def self_guidance(gradient="exact", **score):
    return SelfGuidance(MinorityScore(**score), scale=0.5, gradient=gradient)


GUIDANCES = [
    None,
    self_guidance(),
    self_guidance(num_draws=2, batch_draws=True),
    self_guidance("jacobian_free"),
    self_guidance("finite_difference"),
    self_guidance(fixed="alternating"),
]
CLASSIFIER = ClassifierFlags(8, 32, 1, "", False, False, "adaptive", 3, 5, "1,1", 32)
CHAIN = ("linear", 1000)
SAMPLERS = [
    DDIM(),
    DDIM(eta=1.0),
    DPMSolverPlusPlus(),
    DPMSolverPlusPlus(True),
    BoostAndSkip(2.0, 1),
    TemporalScoreRescaling(0.9, 0.3),
    ClassifierFreeGuidance(),
    CADS(sampler=ClassifierFreeGuidance(sampler=DDIM())),
]


def classifier(num_classes=5):
    found = NewClassifier(replace(CLASSIFIER, out_channels=num_classes)).load()
    found.chain = CHAIN
    return found


GUIDANCES += [
    self_guidance(distance=PerComplexity()),
    SelfGuidance(ELBOScore(num_draws=2, batch_draws=True), scale=0.5),
    ClassifierGuidance(classifier(), "condition"),
    LowDensityGuidance(classifier(), torch.ones(5, 32), 0.5, classifier(2), 0.5),
    ParticleGuidance(),
    Together([SelfGuidance(scale=0.5, window=Window(interval=2)), ParticleGuidance(window=Window(stop=0.5))]),
]


@pytest.mark.parametrize(
    ("sampler", "guidance"), [*((DDPM(), g) for g in GUIDANCES), *((s, self_guidance()) for s in SAMPLERS)]
)
def test_no_step_waits_for_the_device(sampler, guidance):
    """On tensors without data every step can be taken: nothing in it depends on a value."""
    denoiser = tiny(null_class=True).denoiser(4).to("meta")
    guidance = None if guidance is None else copy.deepcopy(guidance).to("meta")
    noise = SampleNoise(0, range(3), denoiser.image_shape, "meta")
    condition = Condition(LABELS.labels.to("meta"))
    if guidance is not None:
        guidance.check(denoiser)  # once before a run
    with Waits():
        state = sampler.start(denoiser, noise, condition, guidance)
        for index in sampler.indices(4):
            sampler.step(state, index, guidance)
    assert state.x.shape == (3, 3, 8, 8)
    with pytest.raises((RuntimeError, NotImplementedError)):  # the one read, and what this test would not overlook
        finite(state)


@pytest.mark.parametrize(
    "wait", [lambda x: x[[0, 1]], lambda x: torch.tensor([1], device="meta"), lambda x: LABELS.labels.to("meta")]
)
def test_what_would_wait_is_found(wait):
    with Waits(), pytest.raises(AssertionError):
        wait(torch.empty(3, device="meta"))


def test_the_graph_is_built_where_it_is_differentiated_alone():
    """Guidances that act together, or in a window: only at the steps of the one that needs the network's gradient."""
    denoiser = tiny().denoiser(6)
    with_graph = []
    denoiser.network.register_forward_pre_hook(lambda *_: with_graph.append(torch.is_grad_enabled()))
    exact, other = SelfGuidance(scale=0.5, window=Window(start=0.1, interval=3)), ParticleGuidance()
    both = Together([other, exact])
    drawn(denoiser, guidance=both)
    # Indices 5 … 0; at 3 alone self-guidance acts, with one forward of its own that needs no graph.
    assert with_graph == [False, False, True, False, False, False, False]
    assert [both.differentiates(i, 6) for i in range(6)] == [False, False, False, True, False, False]
    assert all(both.acts(i, 6) for i in range(6))


def test_attention_is_torchs_own():
    kinds = {type(m.processor).__name__ for m in tiny().network.modules() if hasattr(m, "processor")}
    assert kinds == {"AttnProcessor2_0"}  # scaled_dot_product_attention: flash or memory-efficient where there is a kernel


def live(sampler, guidance, frozen=True, execution=None):
    denoiser = DiffusersCheckpoint("checkpoints/fashion_mnist_28").load().denoiser(250, frozen=frozen)
    denoiser.network.eval()
    if execution is not None:
        denoiser.execute(execution)
    state = sampler.start(denoiser, SampleNoise(0, range(4), denoiser.image_shape), None, guidance)
    denoiser.full()
    with LiveBytes([*denoiser.parameters(), *denoiser.buffers(), *denoiser.full().buffers()]) as counted:
        sampler.step(state, 125, guidance)
    return counted.peak


def test_memory_of_a_guided_step():
    """Live tensors beyond the weights, against the released order of work."""
    released = live(ReleasedDDPM(), SelfGuidance(), frozen=False)
    assert live(DDPM(), SelfGuidance()) <= 0.9 * released
    assert live(DDPM(), SelfGuidance(), execution=Execution(checkpointing=True)) <= 0.6 * released
    assert live(DDPM(), SelfGuidance(gradient="jacobian_free")) <= 0.25 * released


def test_the_released_order_of_work_draws_the_same():
    """What the speed is compared with is the same sampler."""
    backbone = tiny()
    expected = drawn(backbone.denoiser(6), guidance=EXACT)
    backbone.network.requires_grad_(True)
    trainable = backbone.denoiser(6, frozen=False)
    torch.testing.assert_close(drawn(trainable, ReleasedDDPM(), EXACT), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("sampler", "guidance", "calls"),
    [
        (DDPM(), None, (250, 0)),
        (DDPM(), SelfGuidance(window=Window(interval=5)), (300, 50)),
        (DDPM(), SelfGuidance(MinorityScore(PerComplexity()), window=Window(interval=5)), (300, 100)),
        (DDPM(), SelfGuidance(window=Window(interval=5), gradient="jacobian_free"), (300, 0)),
        (DDPM(), SelfGuidance(window=Window(interval=5), gradient="finite_difference"), (350, 0)),
        (BestOf(4, [(0.5, 1)]), None, (4 * 124 + 4 + 126, 0)),
    ],
)
def test_calls_are_counted_on_the_chain(sampler, guidance, calls):
    cost = sampling_cost(tiny(), 250, sampler, guidance)
    assert (cost.forwards, cost.backwards) == calls
    assert cost.flops == cost.forwards * cost.forward_flops + cost.backwards * cost.backward_flops + cost.other_flops


def test_operations_of_a_network_that_is_one_convolution():
    """A 3 × 3 convolution of C to D channels on n pixels: 2 · 9 · C · D · n, and as much backward."""
    backbone = tiny()

    class One(torch.nn.Module):
        config = backbone.network.config

        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Conv2d(3, 6, 3, padding=1)

        def forward(self, x, step, class_labels=None):
            return type("Output", (), {"sample": self.layer(x)})

    backbone.network = One()
    cost = sampling_cost(backbone, 10, DDPM(), None)
    assert cost.forward_flops == cost.backward_flops == 2 * 9 * 3 * 6 * 64


def test_estimate_reads_what_predict_reads(capsys):
    assert main(["estimate", "--config", "fashion_mnist", "--num_samples", "3600", "--devices", "2"]) == 0
    out = capsys.readouterr().out
    assert "236 forwards, 20 backwards" in out and "3600 images on 2 device(s)" in out
    assert main(["estimate", "--config", "fashion_mnist", "--utilization", "0"]) == 1


def test_estimate_needs_neither_weights_nor_data(tmp_path, capsys, monkeypatch):
    """An upsampler whose weights and inputs are not here; nothing is written."""
    config = "imagenet256_cascade"
    monkeypatch.chdir(tmp_path)
    small = ["--model.backbone.flags.num_channels", "32", "--model.backbone.flags.num_head_channels", "16"]
    assert main(["estimate", "--config", config, "--model.backbone", "NewNetwork", *small]) == 0
    assert "258 forwards, 0 backwards" in capsys.readouterr().out and not list(tmp_path.iterdir())
