"""How the network's calls are carried out: compiled, in another memory layout, with less memory. Not what they compute."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._functorch import config as functorch_config

Call = Callable[..., Any]

# What the network alone is autocast to, by those of Lightning's precisions that leave state, schedule and loss in float32.
AUTOCAST: dict[str, torch.dtype | None] = {"32-true": None, "16-mixed": torch.float16, "bf16-mixed": torch.bfloat16}


@dataclass
class Execution:
    """Options of a frozen network's calls; results change in the last digits alone.

    Args:
        compile: `torch.compile` with static shapes. The first calls take a minute or more on a CPU; where compiling fails,
            a warning says why and the network runs as it is; last digits of that process's chunks then differ. On CUDA its
            graphs are replayed (`reduce-overhead`).
        channels_last: NHWC in memory, which convolutions on GPUs like; measure it on a CPU (`benchmarks/speed/sampling.py`).
        checkpointing: At guided steps keep the blocks' inputs only, and compute their activations again in the backward:
            less memory for one more forward of most of the network.
    """

    compile: bool = False
    channels_last: bool = False
    checkpointing: bool = False


class NetworkCall:
    """How a network is called; the denoisers of one network on several chains share it.

    Attributes:
        autocast_dtype: What the network alone is autocast to; None for float32.
    """

    def __init__(self) -> None:
        self.autocast_dtype: torch.dtype | None = None
        self._channels_last = False
        self._compiled: Call | None = None

    def execute(self, network: nn.Module, execution: Execution) -> None:
        """Call the network in this way from now on."""
        self._channels_last = execution.channels_last
        if execution.channels_last:
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if execution.checkpointing:
            network.enable_gradient_checkpointing()  # type: ignore[operator]
        self._compiled = CompiledCall(network) if execution.compile else None

    def __call__(self, network: nn.Module, x: Tensor, time: Tensor, **conditions: Tensor) -> Tensor:
        """The output as float32; a network may return an object whose `.sample` is the output."""
        if self._channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        with self._precision(x.device.type):
            output: Any = (self._compiled or network)(x, time, **conditions)
        sample: Tensor = getattr(output, "sample", output)
        return sample.float()

    def _precision(self, device_type: str) -> AbstractContextManager[object]:
        if not torch.amp.is_autocast_available(device_type):  # tensors without data
            return nullcontext()
        return torch.autocast(device_type, dtype=self.autocast_dtype, enabled=self.autocast_dtype is not None)


class CompiledCall:
    """A network compiled twice: without gradients, where the frozen weights become constants, and with them.

    Args:
        network: Frozen; later changes of its weights are not seen.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self.graphs: dict[bool, Call] | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.graphs is None:
            on_gpu = next(self.network.parameters()).device.type == "cuda"
            # The backward must not use up what it is given: several guidances of a step run it each. torch asks when it
            # compiles and again when it runs, so that a setting for the calls alone would not do.
            functorch_config.donated_buffer = False
            self.graphs = {True: self._compiled(on_gpu, False), False: self._compiled(on_gpu, not on_gpu)}
        try:
            # The compiler's own remarks on the network's code are for its authors; its backward is compiled with the
            # forward, so that it, too, fails here or not at all.
            with warnings.catch_warnings(), functorch_config.patch(force_non_lazy_backward_lowering=True):
                warnings.filterwarnings("ignore", "Dynamo detected a call to a `functools.lru_cache`")
                return self.graphs[torch.is_grad_enabled()](*args, **kwargs)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            reason = str(error).strip().splitlines() or [type(error).__name__]
        # Outside the handler, which would keep the failed call's tensors. What the network does wrong is raised again.
        warnings.warn(f"The network runs uncompiled: torch.compile failed ({reason[0][:300]}).", stacklevel=2)
        self.graphs = {True: self.network, False: self.network}
        return self.network(*args, **kwargs)

    def _compiled(self, on_gpu: bool, freeze: bool) -> Call:
        options: dict[str, Any] = {"triton.cudagraphs": True} if on_gpu else {"freezing": freeze}
        compiled: Call = torch.compile(self.network, dynamic=False, options=options)
        if not on_gpu:
            return compiled

        def replay(*args: Any, **kwargs: Any) -> Any:
            output = compiled(*args, **kwargs)
            sample: Any = getattr(output, "sample", output)
            return sample.clone()  # the next replay overwrites what a graph returns

        return replay
