"""How fast samples are drawn, and in how much memory: variants of the same run, interleaved, as ratios to the first.

    python -m benchmarks.speed.sampling                             # the committed network, CPU or GPU
    python -m benchmarks.speed.sampling --network 64 --batch 1      # CelebA's, a third as wide (33 M), random weights
    python -m benchmarks.speed.sampling --interval 1                # guided at every step
    python -m benchmarks.speed.sampling --outside_only true         # the share of `predict` that is not the network's

Timed are 25 steps from the middle of a 250-step chain, of which every `interval`-th is guided: a tenth of a run, in the same
proportion. `released order` is the released sampler's order of work on the same network (`tests/support/released_loop.py`).
"""

from __future__ import annotations

import json
import platform
import runpy
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from jsonargparse import auto_cli
from lightning.pytorch.loops import _PredictionLoop  # its `run` is what a Trainer has between setup and teardown

from benchmarks.speed.clock import in_turns, parts, seconds
from sgm_lightning import DDPM, ADMFlags, Backbone, Denoiser, DiffusersCheckpoint, Execution, SampleNoise, SelfGuidance
from sgm_lightning.backbones import NewNetwork
from sgm_lightning.commands.predict import predict
from sgm_lightning.diffusion import NoiseLevel
from sgm_lightning.diffusion.execution import NetworkCall
from sgm_lightning.guidance import Guidance, Window
from sgm_lightning.samplers import Sampler
from sgm_lightning.samplers.base import finite
from sgm_lightning.scores import MinorityScore

ROOT = Path(__file__).parents[2]
# By path: some packages install their own `tests`, which `import tests.support` would find.
LiveBytes = runpy.run_path(str(ROOT / "tests/support/live_memory.py"))["LiveBytes"]
ReleasedDDPM = runpy.run_path(str(ROOT / "tests/support/released_loop.py"))["ReleasedDDPM"]

STEPS = 25


@dataclass
class Variant:
    """A way to draw the same samples, or nearly the same."""

    gradient: Literal["exact", "jacobian_free", "finite_difference"] | None = "exact"
    execution: Execution | None = None
    bfloat16: bool = False
    released: bool = False

    def denoiser(self, backbone: Backbone, device: str) -> Denoiser:
        denoiser = backbone.denoiser(250, frozen=not self.released).to(device)
        if self.execution is not None:
            denoiser.execute(self.execution)
        denoiser.calls.autocast_dtype = torch.bfloat16 if self.bfloat16 else None
        return denoiser

    def sampler(self) -> Sampler:
        return ReleasedDDPM() if self.released else DDPM()

    def guidance(self, interval: int) -> Guidance | None:
        if self.gradient is None:
            return None
        score = MinorityScore(level=NoiseLevel(ratio=0.8))
        return SelfGuidance(score, 0.4, window=Window(interval=interval), gradient=self.gradient)


COMPILED = Execution(compile=True)
VARIANTS = {
    "released order": Variant(released=True),
    "exact": Variant(),
    "exact, compiled": Variant(execution=COMPILED),
    "exact, channels last": Variant(execution=Execution(channels_last=True)),
    "exact, checkpointing": Variant(execution=Execution(checkpointing=True)),
    "exact, bfloat16": Variant(bfloat16=True),
    "exact, compiled, bfloat16": Variant(execution=COMPILED, bfloat16=True),
    "Jacobian-free": Variant("jacobian_free"),
    "Jacobian-free, compiled": Variant("jacobian_free", COMPILED),
    "Jacobian-free, compiled, bfloat16": Variant("jacobian_free", COMPILED, True),
    "unguided": Variant(None),
    "unguided, compiled": Variant(None, COMPILED),
}
NETWORKS: dict[str, Callable[[], Backbone]] = {
    "28": lambda: DiffusersCheckpoint(str(ROOT / "checkpoints/fashion_mnist_28")).load(),
    "64": lambda: NewNetwork(
        ADMFlags(
            image_size=64, num_channels=64, num_res_blocks=3, num_head_channels=64, attention_resolutions="32,16,8",
            channel_mult="1,2,3,4", resblock_updown=True, use_scale_shift_norm=True, use_new_attention_order=True,
            learn_sigma=True, class_cond=False,
        )
    ).load(),
}  # fmt: skip


def section(denoiser: Denoiser, sampler: Sampler, guidance: Guidance | None, batch: int) -> Callable[[], None]:
    """`STEPS` steps from the middle of the chain."""
    noise = SampleNoise(0, range(batch), denoiser.image_shape, next(denoiser.parameters()).device)

    def run() -> None:
        state = sampler.start(denoiser, noise, guidance=guidance)
        for index in range(124 + STEPS, 124, -1):
            sampler.step(state, index, guidance)
        finite(state)  # waits for the device

    return run


def peak_bytes(denoiser: Denoiser, sampler: Sampler, guidance: Guidance | None, batch: int) -> int:
    """Live tensors of one guided step beyond the weights."""
    noise = SampleNoise(0, range(batch), denoiser.image_shape, next(denoiser.parameters()).device)
    state = sampler.start(denoiser, noise, guidance=guidance)
    with LiveBytes([*denoiser.parameters(), *denoiser.buffers()]) as live:
        sampler.step(state, 125, guidance)
    return int(live.peak)


def machine(device: str) -> dict[str, Any]:
    name = torch.cuda.get_device_name() if device == "cuda" else platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []:
        if device == "cpu" and line.startswith("model name"):
            name = line.partition(":")[2].strip()
    return {
        "device": name, "threads": torch.get_num_threads(), "torch": torch.__version__,
        "instructions": torch.backends.cpu.get_cpu_capability(),
    }  # fmt: skip


def compare(network: str, variants: list[str], batch: int, interval: int, repeats: int, device: str) -> dict[str, Any]:
    """Every variant once a round; per round, its time over the first one's."""
    backbone = {name: NETWORKS[network]() for name in variants}  # a network each: layout and hooks are set on it
    made = {
        name: (VARIANTS[name].denoiser(backbone[name], device), VARIANTS[name].sampler(), VARIANTS[name].guidance(interval))
        for name in variants
    }
    runs = {name: section(*part, batch) for name, part in made.items()}
    first_call = {name: seconds(run) for name, run in runs.items()}
    found = in_turns(runs, repeats)
    rows = {}
    for name, times in found.items():
        ratios = [other / own for other, own in zip(found[variants[0]], times, strict=True)]
        rows[name] = {
            "images_per_second": batch / (10 * statistics.median(times)),
            "ms_per_image_and_step": 1000 * statistics.median(times) / batch / STEPS,
            "times_as_fast": statistics.median(ratios),
            "lowest": min(ratios),
            "highest": max(ratios),
            "first_call_seconds": first_call[name],
        }
        if VARIANTS[name].execution != COMPILED:  # a compiled graph is one call to the counter
            rows[name]["peak_megabytes"] = peak_bytes(*made[name], batch) / 1e6
    return {
        "machine": machine(device),
        "network": network,
        "batch": batch,
        "interval": interval,
        "repeats": repeats,
        "variants": rows,
    }


def outside(num_samples: int) -> float:
    """Share of a `predict` of the demo (no baseline, no evaluation) that passes outside the network's calls."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["predict", "--config", "fashion_mnist", "--run_dir", f"{folder}/run", "--model.baseline", "false"]
        command += ["--trainer.callbacks", "null", "--data.num_samples", str(num_samples)]
        functions = {"whole": _PredictionLoop.run, "forward": NetworkCall.__call__, "grad": torch.autograd.grad}
        found = parts(lambda: predict(command), functions)
    return 1 - (found["forward"] + found["grad"]) / found["whole"]


def table(found: dict[str, Any]) -> str:
    lines = [
        f"{found['machine']}, network {found['network']}, batch {found['batch']}, guided every {found['interval']}",
        f"{'':36}{'ms/image/step':>14}{'× as fast':>11}{'of rounds':>16}{'first call':>12}{'peak':>10}",
    ]
    for name, row in found["variants"].items():
        peak = f"{row['peak_megabytes']:.0f} MB" if "peak_megabytes" in row else "–"
        rounds = f"{row['lowest']:.2f} … {row['highest']:.2f}"
        lines.append(
            f"{name:36}{row['ms_per_image_and_step']:14.2f}{row['times_as_fast']:11.2f}{rounds:>16}"
            f"{row['first_call_seconds']:10.0f} s{peak:>10}"
        )
    return "\n".join(lines)


def main(
    network: Literal["28", "64"] = "28",
    variants: list[str] | None = None,
    batch: int = 16,
    interval: int = 5,
    repeats: int = 5,
    threads: int | None = None,
    outside_only: bool = False,
    output: str | None = None,
) -> None:
    if threads is not None:
        torch.set_num_threads(threads)
    if outside_only:
        shares = [outside(2 * batch) for _ in range(repeats)]
        print(f"outside the network: median {statistics.median(shares):.2%} of {repeats} runs", shares)
        return
    device = "cuda" if torch.cuda.is_available() else "cpu"
    found = compare(network, variants or list(VARIANTS), batch, interval, repeats, device)
    print(table(found))
    if output is not None:
        Path(output).write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    auto_cli(main)
