"""Rarity and realism against cost: draws, measures, times and reports the settings of `frontier_settings.py`.

    python benchmarks/frontier.py draw     # 500 samples a setting, one after the other; again: what is missing. A second
                                           # process with another `--only` shares the work
    python benchmarks/frontier.py anchors  # real images, and what drawn ones become with noise, blur and contrast
    python benchmarks/frontier.py time     # seconds and evaluations of an image, in turns: on an idle machine
                                           # (`--rounds 0`: what is counted alone, on any)
    python benchmarks/frontier.py report   # the tables and the plot of docs/results/performance.md, of what there is

`--only PATTERN` takes the settings whose name it fits, `--num_samples` and `--seed` draw finalists on fresh seeds. What is
measured of every sample is kept in benchmarks/results/frontier, so that a setting can be compared without drawing it again.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import yaml
from frontier_report import REFERENCE, report
from frontier_settings import SETTINGS, Model
from jsonargparse import auto_cli
from protocol import CHECKPOINT, degraded, evaluate, measure, rare_test_images, spaces
from push import push

from sgm_lightning import DDPM, DiffusersCheckpoint, Execution, SampleNoise
from sgm_lightning.images import ArrayImages, FashionMNIST, Images, RunImages
from sgm_lightning.predict.cost import sampling_cost

RUNS = Path("runs/frontier")
KEPT = Path("benchmarks/results/frontier")
CHUNK = 20


def slug(name: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "_", name.lower()).strip("_")


def config(model: Model, num_samples: int, seed: int) -> dict[str, Any]:
    backbone = {"class_path": "sgm_lightning.backbones.DiffusersCheckpoint", "init_args": {"path": CHECKPOINT}}
    data = {"num_samples": num_samples, "chunk_size": CHUNK, "seed": seed}
    return {
        # Compiling takes a minute; only the long chains win it back. Results differ in the last digits alone.
        "model": {
            "backbone": backbone,
            "score": {"num_draws": 1},
            "execution": {"compile": model["spacing"] == 250},
            **model,
        },
        "data": {"class_path": "sgm_lightning.predict.SampleIndices", "init_args": data},
    }


def draw(name: str, num_samples: int, seed: int) -> Path:
    """`predict` with one thread; a finished run is not touched."""
    folder = RUNS / f"{slug(name)}-n{num_samples}-seed{seed}"
    file = folder.parent / f"{folder.name}.yaml"
    RUNS.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(config(SETTINGS[name], num_samples, seed)))
    command = [sys.executable, "-m", "sgm_lightning", "predict", "--config", str(file), "--run_dir", str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    if subprocess.run(command, env=environment, stdout=subprocess.DEVNULL).returncode:
        sys.exit(f"{name} was not finished; the same command resumes.")
    return folder


def keep(name: str, folder: Path, images: Images, seed: int, known: dict[str, Any]) -> None:
    """Per-sample values, the classifier's features, and the numbers that only a set has."""
    rows = measure(folder / "measured.pt", images, known, 4, 5, seed)
    results = evaluate(rows, known)
    arrays = {key: values.astype(np.float32) for key, values in results.per_sample.items()}
    arrays["features/classifier"] = rows["features/classifier"].numpy().astype(np.float16)
    sets = {key: value.value for key, value in results.values.items() if value.value is not None}
    KEPT.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(KEPT / f"{folder.name}.npz", index=results.index, sets=json.dumps(sets), name=name, **arrays)


def anchors(num_samples: int, seed: int, known: dict[str, Any]) -> dict[str, Images]:
    test = FashionMNIST("test")
    tail = ArrayImages(test.read(rare_test_images(known)[:num_samples]), name="rare test images")
    found: dict[str, Images] = {"real: test images": FashionMNIST("test", limit=num_samples), "real: rare test images": tail}
    of = "mixed 14 + 7, best of 3"
    drawn = RUNS / f"{slug(of)}-n{num_samples}-seed{seed}"
    return found | degraded(RunImages(str(drawn)).images, of)


class Timed:
    """A setting ready to be drawn, and how long it took; evaluations count a backward as two."""

    def __init__(self, name: str, compiled: bool, bfloat16: bool) -> None:
        backbone, spacing = DiffusersCheckpoint(CHECKPOINT).load(), SETTINGS[name]["spacing"]
        self.denoiser = backbone.denoiser(spacing)
        self.sampler, self.guidance = instantiated(SETTINGS[name])
        counted = sampling_cost(backbone, spacing, self.sampler, self.guidance)
        self.known: dict[str, float] = {"evaluations": counted.forwards + 2 * counted.backwards}
        if self.guidance is not None:
            inner = getattr(self.sampler, "sampler", self.sampler)  # of best-of-K, the chain of a candidate
            self.known |= push(self.denoiser, inner, self.guidance, self.guidance.scale)
        self.denoiser.execute(Execution(compile=compiled))
        self.denoiser.calls.autocast_dtype = torch.bfloat16 if bfloat16 else None
        self.seconds: list[float] = []

    def draw(self, seed: int, batch: int) -> float:
        """Seconds of an image."""
        noise = SampleNoise(seed, range(batch), self.denoiser.image_shape)
        begun = time.perf_counter()
        self.sampler(self.denoiser, noise, self.guidance)
        return (time.perf_counter() - begun) / batch


def costs(names: list[str], execution: str, batch: int, rounds: int, threads: int = 2) -> dict[str, dict[str, float]]:
    """Every setting once a round, in turns: the median of its seconds, and of its share of the reference's in its round.

    Without rounds, what is counted alone: evaluations, and how far a guidance pushes.
    """
    torch.set_num_threads(threads)
    timed = {name: Timed(name, "compiled" in execution, "bfloat16" in execution) for name in names}
    if not rounds:
        return {name: each.known for name, each in timed.items()}
    for each in timed.values():
        each.draw(0, batch)
    for number in range(rounds):
        for name, each in timed.items():
            each.seconds.append(each.draw(number, batch))
            print(f"{number + 1} of {rounds}: {name}, {each.seconds[-1]:.3f} s", flush=True)
    found: dict[str, dict[str, float]] = {}
    for name, each in timed.items():
        found[name] = {**each.known, "seconds": statistics.median(each.seconds)}
        if REFERENCE in timed:
            shares = [own / whole for own, whole in zip(each.seconds, timed[REFERENCE].seconds, strict=True)]
            found[name] |= {"share": statistics.median(shares), "highest_share": max(shares)}
    return found


def instantiated(model: Model) -> tuple[Any, Any]:
    """The setting's sampler and guidance."""
    from jsonargparse import ArgumentParser

    from sgm_lightning.guidance import Guidance
    from sgm_lightning.samplers import SamplingMethod

    parser = ArgumentParser()
    parser.add_argument("--sampler", type=SamplingMethod | None)
    parser.add_argument("--guidance", type=Guidance | None)
    made = parser.instantiate(parser.parse_object({key: model.get(key) for key in ("sampler", "guidance")}))
    return made.sampler or DDPM(), made.guidance


def main(
    stage: Literal["draw", "anchors", "time", "report"],
    only: str = "",
    num_samples: int = 500,
    seed: int = 1,
    execution: Literal["eager", "compiled", "compiled_bfloat16"] = "eager",
    batch: int = 8,
    rounds: int = 5,
) -> None:
    chosen = [name for name in SETTINGS if re.search(only, name)]
    if stage == "draw":
        known = spaces()
        for name in chosen:
            if not (KEPT / f"{slug(name)}-n{num_samples}-seed{seed}.npz").is_file():
                folder = draw(name, num_samples, seed)
                keep(name, folder, RunImages(str(folder)), seed, known)
                print(f"{name}: kept", flush=True)
    if stage == "anchors":
        known = spaces()
        for name, images in anchors(num_samples, seed, known).items():
            keep(name, RUNS / f"{slug(name)}-n{num_samples}-seed{seed}", images, seed, known)
    if stage == "time":
        file = KEPT / f"costs_{execution}.json"
        known_costs = json.loads(file.read_text()) if file.is_file() else {}
        for name, found in costs(chosen, execution, batch, rounds).items():
            known_costs[name] = known_costs.get(name, {}) | found
        file.write_text(json.dumps(known_costs, indent=1))
    if stage == "report":
        report(KEPT)


if __name__ == "__main__":
    auto_cli(main)
