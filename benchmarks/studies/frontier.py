"""Rarity and realism against cost: draws, measures, times and reports the settings of `frontier.yaml`.

    python -m benchmarks.studies.frontier draw     # 500 samples a setting, as `compare`; again: what is missing. Processes
                                                   # that are started alike share the work
    python -m benchmarks.studies.frontier time     # seconds and evaluations of an image, in turns: on an idle machine
                                                   # (`--rounds 0`: what is counted alone, on any)
    python -m benchmarks.studies.frontier report   # tables and plot of docs/results/performance.md, of what there is

`--only PATTERN` takes the settings whose name it fits, `--num_samples` and `--seed` draw finalists on fresh seeds. What is
measured of every sample is kept in benchmarks/results/frontier, so that a setting can be compared without drawing it again.
"""

from __future__ import annotations

import json
import re
import statistics
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import yaml
from jsonargparse import auto_cli
from torch import Tensor

from benchmarks.speed.clock import in_turns
from benchmarks.studies.frontier_report import KEPT, REFERENCE, report
from benchmarks.studies.pages import opened
from sgm_lightning import Denoiser, Execution, SampleNoise
from sgm_lightning.cli import main
from sgm_lightning.commands.predict import resolve
from sgm_lightning.compare.settings import folder_name, predict_arguments, read_base, read_settings
from sgm_lightning.diffusion import Step
from sgm_lightning.guidance import Guidance
from sgm_lightning.predict.cost import sampling_cost
from sgm_lightning.samplers import Sampler
from sgm_lightning.samplers.wrapper import Wrapper

RUNS = Path("runs/frontier")
CONFIG = Path(__file__).with_suffix(".yaml")
EVALUATION = Path("configs/evaluation/fashion_mnist.yaml")


def kept(name: str, num_samples: int, seed: int) -> Path:
    return KEPT / f"{folder_name(name)}-n{num_samples}-seed{seed}.npz"


def comparison(only: str, num_samples: int, seed: int) -> dict[str, Any]:
    """The part of the comparison that is asked for and not kept."""
    content: dict[str, Any] = yaml.safe_load(CONFIG.read_text())
    content["base"]["data"]["init_args"] |= {"num_samples": num_samples, "seed": seed}
    score = {"level": {"ratio": 0.8}, "num_draws": 4}
    content["evaluation"] = {**yaml.safe_load(EVALUATION.read_text()), "seed": seed, "score": score}
    for part in ("settings", "anchors"):
        content[part] = {
            name: row
            for name, row in content[part].items()
            if re.search(only, name) and not kept(name, num_samples, seed).is_file()
        }
    settings = content["settings"]
    for name, anchor in list(content["anchors"].items()):
        if anchor["init_args"].get("of", name) not in {name, *settings}:
            del content["anchors"][name]
    if settings and REFERENCE not in settings:
        content["reference"] = next(iter(settings))
    return content


def draw(only: str, num_samples: int, seed: int) -> None:
    """Draw and measure with `compare`, and keep the rows."""
    content, folder = comparison(only, num_samples, seed), RUNS / f"n{num_samples}-seed{seed}"
    if not content["settings"]:
        print("All of it is kept.")
        return
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "comparison.yaml"
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    if status := main(["compare", "--config", str(file), "--output", str(folder)]):
        raise SystemExit(status)
    found = opened(file, folder)
    for name, rows in found.rows.items():
        rows = {key: values[:num_samples] for key, values in rows.items()}
        results = found.results(rows)
        arrays: dict[str, Any] = {key: values.astype(np.float32) for key, values in results.per_sample.items()}
        arrays["features/classifier"] = rows["features/classifier"].numpy().astype(np.float16)
        sets = {key: value.value for key, value in results.values.items() if value.value is not None}
        file = kept(name, num_samples, seed)
        np.savez_compressed(file, index=results.index, sets=json.dumps(sets), name=name, **arrays)
        print(f"{name}: kept", flush=True)


class Watched(Wrapper):
    """A sampler as it is, that notes how far a guidance moves samples.

    Of two directions with the same largest value one may be much longer than the other.

    Args:
        sampler: Whose chain it is.
        scale: The guidance's.
    """

    def __init__(self, sampler: Sampler, scale: float) -> None:
        super().__init__(sampler)
        self.scale = scale
        self.rms: list[float] = []
        self.shifts: list[float] = []

    def update(self, step: Step, shift: Tensor | None) -> Tensor:
        moved = super().update(step, shift)
        if shift is not None:
            # The noise is the same in both, so that the difference is the guidance's.
            added = moved - super().update(step, None)
            for found, value in ((self.rms, shift), (self.shifts, added)):
                found.append(float(value.square().mean().sqrt()))
        return moved

    @property
    def push(self) -> dict[str, float]:
        """The size of what guidance adds to a chain.

        `rms` is the mean RMS of the direction scale · g at guided steps; `shift` the RMS of what it adds to the states,
        summed over the steps; `scale_variance` the sum of scale · σ², or of the factor that stands for it.
        """
        factors = [shift / rms for rms, shift in zip(self.rms, self.shifts, strict=True) if rms]
        return {
            "rms": sum(self.rms) / len(self.rms),
            "shift": sum(self.shifts),
            "scale_variance": self.scale * sum(factors),
        }


def push(denoiser: Denoiser, sampler: Sampler, guidance: Guidance, batch: int = 4) -> dict[str, float]:
    """How far a guidance moves a few samples."""
    watched = Watched(sampler, float(guidance.scale))  # type: ignore[arg-type]
    watched(denoiser, SampleNoise(0, range(batch), denoiser.image_shape), guidance)
    return watched.push


def costs(only: str, execution: str, batch: int, rounds: int, threads: int = 2) -> dict[str, dict[str, float]]:
    """Every setting once a round, in turns: the median of its seconds, and of its share of the reference's in its round.

    Without rounds, what is counted alone: evaluations, a backward as two, and how far a guidance pushes.
    """
    content = yaml.safe_load(CONFIG.read_text())
    base, works = read_base(content["base"]), {}
    found: dict[str, dict[str, float]] = {}
    for setting in read_settings(content["settings"]):
        if not re.search(only, setting.name):
            continue
        module = resolve(predict_arguments(base, setting, RUNS / "timed")).model
        backbone, sampler, guidance = module.backbone.load(), module.sampler, module.guidance
        denoiser = backbone.denoiser(module.spacing)
        counted = sampling_cost(backbone, module.spacing, sampler, guidance)
        found[setting.name] = {"evaluations": counted.forwards + 2 * counted.backwards}
        if guidance is not None:  # of best-of-K, the chain of a candidate
            found[setting.name] |= push(denoiser, getattr(sampler, "sampler", sampler), guidance)
        denoiser.execute(Execution(compile="compiled" in execution))
        denoiser.calls.autocast_dtype = torch.bfloat16 if "bfloat16" in execution else None
        works[setting.name] = partial(sampler, denoiser, SampleNoise(0, range(batch), denoiser.image_shape), guidance)
    if rounds:
        torch.set_num_threads(threads)
        in_turns(works, 1)
        taken = in_turns(works, rounds)
        for name, seconds in taken.items():
            found[name]["seconds"] = statistics.median(seconds) / batch
            if REFERENCE in taken:
                shares = [own / whole for own, whole in zip(seconds, taken[REFERENCE], strict=True)]
                found[name] |= {"share": statistics.median(shares), "highest_share": max(shares)}
    return found


def frontier(
    stage: Literal["draw", "time", "report"],
    only: str = "",
    num_samples: int = 500,
    seed: int = 1,
    execution: Literal["eager", "compiled", "compiled_bfloat16"] = "eager",
    batch: int = 8,
    rounds: int = 5,
) -> None:
    """Do one part of the work.

    Args:
        stage: Which.
        only: Regular expression of the names of settings.
        num_samples: N of a setting.
        seed: Of the samples.
        execution: How the network is called where it is timed.
        batch: Images at once where it is timed.
        rounds: How often each setting is timed.
    """
    if stage == "draw":
        draw(only, num_samples, seed)
    elif stage == "time":
        file = KEPT / f"costs_{execution}.json"
        known = json.loads(file.read_text()) if file.is_file() else {}
        for name, found in costs(only, execution, batch, rounds).items():
            known[name] = known.get(name, {}) | found
        file.write_text(json.dumps(known, indent=1))
    else:
        report()


if __name__ == "__main__":
    auto_cli(frontier)
