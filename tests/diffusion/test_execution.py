"""Other ways to carry out the network's calls give the same samples."""

import warnings

import pytest
import torch
from support.closed_forms import model
from support.networks import EXACT, drawn, tiny

from sgm_lightning import Execution, MinorityScore, SelfGuidance, SGMError
from sgm_lightning.diffusion import to_uint8
from sgm_lightning.scores import PerComplexity


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
        compiled = drawn(denoiser, guidance=EXACT)
        torch.testing.assert_close(compiled, expected, rtol=1e-3, atol=1e-4)
        assert (to_uint8(compiled).int() - to_uint8(expected)).abs().max() <= 1  # one grey level
        graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
        drawn(denoiser, guidance=EXACT)
    assert graphs == 2 and torch._dynamo.utils.counters["stats"]["unique_graphs"] == 2


def test_compiling_is_said_once_for_each_kind_of_call(monkeypatch, capsys):
    monkeypatch.setattr(torch, "compile", lambda network, **options: network)
    denoiser = tiny().denoiser(3)
    denoiser.execute(Execution(compile=True))
    for _ in range(2):
        drawn(denoiser)
    out, error = capsys.readouterr()
    assert out == "" and error.count("Compiling took") == 1
    assert error.startswith("Compiling the network for 3 images at once, without gradients, which takes a minute or more")
    said = []
    denoiser.execute(Execution(compile=True), said.append)
    drawn(denoiser, guidance=EXACT)
    assert [line.partition(",")[2][:9] for line in said[::2]] == [" with gra", " without "] and len(said) == 4
    denoiser.execute(Execution(), said.append)
    drawn(denoiser)
    assert len(said) == 4


def test_where_compiling_fails_the_network_runs_as_it_is(monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda *args, **kwargs: broken)

    def broken(*args, **kwargs):
        raise RuntimeError("no compiler here\nand a long story")

    denoiser = tiny().denoiser(3)
    expected = drawn(denoiser)
    denoiser.execute(Execution(compile=True))
    with pytest.warns(UserWarning, match="uncompiled.*no compiler here"):
        assert torch.equal(drawn(denoiser), expected)


class Convolution(torch.nn.Module):
    """A network that is one convolution, and a shift by class."""

    def __init__(self):
        super().__init__()
        self.layer, self.shift = torch.nn.Conv2d(3, 3, 3, padding=1), torch.nn.Embedding(5, 3)

    def forward(self, x, step, class_labels):
        return self.layer(x).tanh() + self.shift(class_labels)[:, :, None, None]


def convolution():
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return model(Convolution(), (3, 8, 8), "cosine", classes=5)


# Tracing the family's whole network takes a minute; what is tried here is how its compiled calls are carried out.
NETWORKS = [pytest.param(convolution, id="convolution"), pytest.param(tiny, id="adm", marks=pytest.mark.slow)]


@pytest.mark.parametrize("network", NETWORKS)
def test_a_backward_that_does_not_compile_is_found_with_its_forward(monkeypatch, network):
    from torch._dynamo.backends.common import aot_autograd

    def no_backward(graph, inputs):
        raise RuntimeError("no backward here")

    def compiler(graph, inputs):
        return graph.forward

    backend = aot_autograd(fw_compiler=compiler, bw_compiler=no_backward)
    compiled = torch.compile
    monkeypatch.setattr(torch, "compile", lambda network, **options: compiled(network, backend=backend, dynamic=False))
    denoiser = network().denoiser(3)
    expected = drawn(denoiser, guidance=EXACT)
    denoiser.execute(Execution(compile=True))
    with pytest.warns(UserWarning, match="uncompiled"):
        torch.testing.assert_close(drawn(denoiser, guidance=EXACT), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("network", NETWORKS)
def test_a_compiled_backward_may_run_twice(monkeypatch, network):
    """As several guidances of one step need, or one that leaves complexity alone."""
    from torch._dynamo.backends.common import aot_autograd

    backend = aot_autograd(fw_compiler=lambda graph, inputs: graph.forward)
    compiled = torch.compile
    monkeypatch.setattr(torch, "compile", lambda network, **options: compiled(network, backend=backend, dynamic=False))
    denoiser, guidance = network().denoiser(2), SelfGuidance(MinorityScore(PerComplexity()), scale=0.5)
    expected = drawn(denoiser, guidance=guidance)
    denoiser.execute(Execution(compile=True))
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "The network runs uncompiled")
        torch.testing.assert_close(drawn(denoiser, guidance=guidance), expected, rtol=1e-3, atol=1e-4)


def test_what_trains_is_not_executed_otherwise():
    with pytest.raises(SGMError, match="frozen"):
        tiny().denoiser(3, frozen=False).execute(Execution(compile=True))


def test_attention_is_torchs_own():
    kinds = {type(m.processor).__name__ for m in tiny().network.modules() if hasattr(m, "processor")}
    assert kinds == {"AttnProcessor2_0"}  # scaled_dot_product_attention: flash or memory-efficient where there is a kernel
