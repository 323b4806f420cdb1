"""What claims, chunk files, manifest, logging and merge cost beside the demo's sampling.

python benchmarks/overhead.py                  draws the demo (96 images, twice) once
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sgm_lightning.cli import main
from sgm_lightning.predict import RunWriter, SamplingModule, SamplingProgress
from sgm_lightning.run import Claims, RunDir

ROOT = Path(__file__).parents[1]
PARTS = {
    "manifest, fingerprint, scan": (RunWriter, "_open"),
    "chunk files, logging": (RunWriter, "write_on_batch_end"),
    "claims taken": (Claims, "take"),
    "claims released": (Claims, "release"),
    "progress of the run": (SamplingProgress, "on_predict_batch_start"),
    "merge": (RunDir, "merge"),
    "sampling": (SamplingModule, "predict_step"),
}


def timed(function: Callable[..., Any], name: str, seconds: dict[str, float]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        begun = time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            seconds[name] += time.perf_counter() - begun

    return call


def measure() -> int:
    seconds: dict[str, float] = defaultdict(float)
    for name, (owner, method) in PARTS.items():
        setattr(owner, method, timed(getattr(owner, method), name, seconds))
    with tempfile.TemporaryDirectory() as folder:
        status = main(["predict", "--config", "fashion_mnist", "--run_dir", f"{folder}/run"])
    sampling = seconds.pop("sampling")
    print(f"sampling {sampling:.1f} s")
    for name, value in seconds.items():
        print(f"  {name:<28} {value:.3f} s  {value / sampling:.3%}")
    print(f"  {'together':<28} {sum(seconds.values()):.3f} s  {sum(seconds.values()) / sampling:.3%}")
    return status


if __name__ == "__main__":
    sys.exit(measure())
