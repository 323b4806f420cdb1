"""No step waits for the device, and a step holds no more memory than it needs."""

import copy
from dataclasses import replace

import pytest
import torch
from support.cases import some
from support.live_memory import LiveBytes
from support.networks import EXACT, LABELS, drawn, tiny
from support.released_loop import ReleasedDDPM
from torch.overrides import TorchFunctionMode

from sgm_lightning import (
    CADS,
    DDIM,
    DDPM,
    BoostAndSkip,
    ClassifierFreeGuidance,
    Condition,
    DiffusersCheckpoint,
    DPMSolverPlusPlus,
    ELBOScore,
    Execution,
    MinorityScore,
    ParticleGuidance,
    SampleNoise,
    SelfGuidance,
    TemporalScoreRescaling,
    Together,
    Window,
)
from sgm_lightning.classifiers import ClassifierFlags, NewClassifier
from sgm_lightning.guidance import ClassifierGuidance, LowDensityGuidance
from sgm_lightning.samplers.base import finite
from sgm_lightning.scores import PerComplexity


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


COMBINATIONS = [*((DDPM(), g) for g in GUIDANCES), *((s, self_guidance()) for s in SAMPLERS)]


@pytest.mark.parametrize(
    ("sampler", "guidance"),
    some(COMBINATIONS, every=2),
)
def test_no_step_waits_for_the_device(sampler, guidance):
    """On tensors without data every step can be taken: nothing in it depends on a value."""
    denoiser = tiny(null_class=True, channel_mult="1").denoiser(2).to("meta")
    guidance = None if guidance is None else copy.deepcopy(guidance).to("meta")
    noise = SampleNoise(0, range(3), denoiser.image_shape, "meta")
    condition = Condition(LABELS.labels.to("meta"))
    if guidance is not None:
        guidance.check(denoiser)  # once before a run
    with Waits():
        state = sampler.start(denoiser, noise, condition, guidance)
        for index in sampler.indices(2):
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


def live(sampler, guidance, frozen=True, execution=None):
    denoiser = DiffusersCheckpoint("checkpoints/fashion_mnist_28").load().denoiser(250, frozen=frozen)
    denoiser.network.eval()
    if execution is not None:
        denoiser.execute(execution)
    state = sampler.start(denoiser, SampleNoise(0, range(2), denoiser.image_shape), None, guidance)
    denoiser.full()
    with LiveBytes([*denoiser.parameters(), *denoiser.buffers(), *denoiser.full().buffers()]) as counted:
        sampler.step(state, 125, guidance)
    return counted.peak


@pytest.mark.slow
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
