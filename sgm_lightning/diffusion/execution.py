"""Execution of the network's calls: compiled, in another memory layout, or with less memory."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._functorch import config as functorch_config

from sgm_lightning.progress import say

Call = Callable[..., Any]
Tell = Callable[[str], None]

# Autocast dtype of the network alone, for the Lightning precisions that leave state, schedule and loss in float32.
AUTOCAST: dict[str, torch.dtype | None] = {"32-true": None, "16-mixed": torch.float16, "bf16-mixed": torch.bfloat16}


@dataclass
class Execution:
    """Options of a frozen network's calls. They change results in the last digits only: samples by at most one grey level.

    Args:
        compile: Whether to use `torch.compile` with static shapes. The first calls take a minute or more on a CPU, so that
            it pays where a process draws for hours (docs/results/performance.md); nothing is compiled unless this is set,
            because the samples of a run may not depend on how long it is. Where compiling fails, a warning gives the
            reason and the network runs uncompiled; the last digits of that process's chunks then differ. On CUDA, CUDA
            graphs are replayed (`reduce-overhead`).
        channels_last: Whether tensors are NHWC in memory, which suits convolutions on GPUs; measure it on a CPU
            (`benchmarks/speed/sampling.py`).
        checkpointing: Whether guided steps keep only the blocks' inputs and recompute their activations in the backward
            pass: less memory for one more forward pass of most of the network.
    """

    compile: bool = False
    channels_last: bool = False
    checkpointing: bool = False


class NetworkCall:
    """Calls a network. The denoisers of one network on several chains share one instance.

    Attributes:
        autocast_dtype: Dtype that the network alone is autocast to; None for float32.
    """

    def __init__(self) -> None:
        self.autocast_dtype: torch.dtype | None = None
        self._channels_last = False
        self._compiled: Call | None = None

    def execute(self, network: nn.Module, execution: Execution, tell: Tell = say) -> None:
        """Use these options from now on, and say by `tell` when the network is compiled."""
        self._channels_last = execution.channels_last
        if execution.channels_last:
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if execution.checkpointing:
            network.enable_gradient_checkpointing()  # type: ignore[operator]
        self._compiled = CompiledCall(network, tell) if execution.compile else None

    def __call__(self, network: nn.Module, x: Tensor, time: Tensor, **conditions: Tensor) -> Tensor:
        """Return the output as float32. A network may return an object whose `.sample` is the output."""
        if self._channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        with self._precision(x.device.type):
            output: Any = (self._compiled or network)(x, time, **conditions)
        sample: Tensor = getattr(output, "sample", output)
        return sample.float()

    def _precision(self, device_type: str) -> AbstractContextManager[object]:
        if not torch.amp.is_autocast_available(device_type):  # the meta device
            return nullcontext()
        return torch.autocast(device_type, dtype=self.autocast_dtype, enabled=self.autocast_dtype is not None)


class CompiledCall:
    """A network that is compiled twice: without gradients, where the frozen weights become constants, and with gradients.

    Args:
        network: Network with frozen weights; later changes of the weights have no effect.
        tell: Function that says a line to the user, when compiling begins and when it is done.
    """

    def __init__(self, network: nn.Module, tell: Tell = say) -> None:
        self.network, self.tell = network, tell
        self.graphs: dict[bool, Call] | None = None
        self._failed = False
        self._met: set[tuple[bool, tuple[int, ...]]] = set()  # gradients or not, and shapes: each is compiled by itself

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.graphs is None:
            on_gpu = next(self.network.parameters()).device.type == "cuda"
            # The backward must not donate its buffers, because several guidances of a step each run it. torch reads the
            # setting when it compiles and again when it runs, so that patching it for the calls would not be enough.
            functorch_config.donated_buffer = False
            self.graphs = {True: self._compiled(on_gpu, False), False: self._compiled(on_gpu, not on_gpu)}
        try:
            # The compiler's warnings about the network's code are of no use here. The backward is compiled with the
            # forward, so that it fails here, too, or not at all.
            with warnings.catch_warnings(), functorch_config.patch(force_non_lazy_backward_lowering=True):
                warnings.filterwarnings("ignore", "Dynamo detected a call to a `functools.lru_cache`")
                with self._telling(torch.is_grad_enabled(), tuple(args[0].shape)):
                    return self.graphs[torch.is_grad_enabled()](*args, **kwargs)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            reason = str(error).strip().splitlines() or [type(error).__name__]
        # Outside the handler, which would keep the failed call's tensors. Errors of the network itself are raised again.
        warnings.warn(f"The network runs uncompiled: torch.compile failed ({reason[0][:300]}).", stacklevel=2)
        self.graphs, self._failed = {True: self.network, False: self.network}, True
        return self.network(*args, **kwargs)

    @contextmanager
    def _telling(self, gradients: bool, shape: tuple[int, ...]) -> Iterator[None]:
        """Say that the network is compiled, if this is the first call of its kind."""
        if self._failed or (gradients, shape) in self._met:
            yield
            return
        self._met.add((gradients, shape))
        kind = f"{shape[0]} images at once, {'with' if gradients else 'without'} gradients"
        self.tell(f"Compiling the network for {kind}, which takes a minute or more on a CPU …")
        begun = time.monotonic()
        yield
        self.tell(f"Compiling took {time.monotonic() - begun:.0f} s.")

    def _compiled(self, on_gpu: bool, freeze: bool) -> Call:
        options: dict[str, Any] = {"triton.cudagraphs": True} if on_gpu else {"freezing": freeze}
        compiled: Call = torch.compile(self.network, dynamic=False, options=options)
        if not on_gpu:
            return compiled

        def replay(*args: Any, **kwargs: Any) -> Any:
            output = compiled(*args, **kwargs)
            sample: Any = getattr(output, "sample", output)
            return sample.clone()  # the next replay overwrites a graph's output

        return replay
