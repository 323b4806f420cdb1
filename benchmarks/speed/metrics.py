"""Time and memory of the neighbour metrics, against the bare matrix products that they cannot do without.

    python -m benchmarks.speed.metrics --samples 20000 --real 20000 --dim 1024 --repeats 3

Each metric is paired with as many blocked products as it needs, in alternation, in one process. Memory is the peak of the
resident set beyond the features.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from jsonargparse import auto_cli
from torch import Tensor

from sgm_lightning.metrics import RealFeatures, avg_knn, fidelity, local_outlier_factor, prdc, rarity_score

# Metric, and the products it needs: of samples (s) and real images (r).
METRICS: dict[str, tuple[Callable[[Tensor, RealFeatures], object], list[tuple[str, str]]]] = {
    "AvgkNN (k=5)": (avg_knn, [("s", "r")]),
    "LOF (k=20)": (local_outlier_factor, [("s", "r"), ("r", "r")]),
    "rarity (k=3)": (rarity_score, [("s", "r"), ("r", "r")]),
    "precision, density": (fidelity, [("s", "r"), ("r", "r")]),
    "all of prdc": (prdc, [("s", "r"), ("r", "s"), ("r", "r"), ("s", "s")]),
}
_ROWS = 1600


def bare(samples: Tensor, real: Tensor) -> None:
    """All inner products, a block at a time, and nothing else."""
    for part in samples.split(_ROWS):
        part @ real.T


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds, and the peak of the resident set beyond what was there before, in GB."""
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    start = time.perf_counter()
    work()
    return time.perf_counter() - start, (_status("VmHWM") - before) / 1e6


def _status(key: str) -> float:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key))
    return float(line.split()[1])


def metrics(samples: int = 20_000, real: int = 20_000, dim: int = 1024, repeats: int = 3) -> None:
    """Time every metric, in alternation with its products.

    Args:
        samples: Number of samples.
        real: Number of real images.
        dim: Dimensions of the features.
        repeats: Pairs.
    """
    source = torch.Generator().manual_seed(0)
    sets = {"s": torch.randn(samples, dim, generator=source), "r": torch.randn(real, dim, generator=source)}

    def floor(products: list[tuple[str, str]]) -> None:
        for a, b in products:
            bare(sets[a], sets[b])

    bare(sets["s"][:2000], sets["r"])
    found = {}
    for name, (metric, products) in METRICS.items():
        ratios, seconds, memory = [], [], []
        for _ in range(repeats):
            least, _gigabytes = timed(partial(floor, products))
            took, gigabytes = timed(lambda metric=metric: metric(sets["s"], RealFeatures(sets["r"])))  # type: ignore[misc]
            ratios.append(took / least)
            seconds.append(took)
            memory.append(gigabytes)
        found[name] = {
            "seconds": statistics.median(seconds),
            "ratio": statistics.median(ratios),
            "ratios": [round(ratio, 2) for ratio in ratios],
            "gigabytes": max(memory),
        }
        row = found[name]
        print(
            f"{name:<20} {row['seconds']:7.1f} s  {row['ratio']:.2f} × {len(products)} product(s), median of "
            f"{repeats} {row['ratios']}  peak {row['gigabytes']:.2f} GB",
            flush=True,
        )
    settings = {"samples": samples, "real": real, "dim": dim, "repeats": repeats, "threads": torch.get_num_threads()}
    print(json.dumps({**settings, "metrics": found}))


if __name__ == "__main__":
    auto_cli(metrics)
