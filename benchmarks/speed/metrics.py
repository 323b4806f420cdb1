"""Time and memory of the neighbour metrics, against the bare matrix products that they cannot do without.

    python benchmarks/metrics.py [--samples 20000] [--real 20000] [--dim 1024] [--repeats 3]

Each metric is paired with as many blocked products as it needs, in alternation, in one process. Memory is the peak of the
resident set beyond the features.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from sgm_lightning.metrics import RealFeatures, avg_knn, fidelity, local_outlier_factor, prdc, rarity_score

# Metric, and the products it needs: of samples (s) and real images (r).
METRICS: dict[str, tuple[Callable[[Tensor, RealFeatures], object], tuple[str, ...]]] = {
    "AvgkNN (k=5)": (avg_knn, ("sr",)),
    "LOF (k=20)": (local_outlier_factor, ("sr", "rr")),
    "rarity (k=3)": (rarity_score, ("sr", "rr")),
    "precision, density": (fidelity, ("sr", "rr")),
    "all of prdc": (prdc, ("sr", "rs", "rr", "ss")),
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=20_000)
    parser.add_argument("--real", type=int, default=20_000)
    parser.add_argument("--dim", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    source = torch.Generator().manual_seed(0)
    samples, real = (torch.randn(n, options.dim, generator=source) for n in (options.samples, options.real))
    sets = {"s": samples, "r": real}
    bare(samples[:2000], real)
    found = {}
    for name, (metric, products) in METRICS.items():
        ratios, seconds, memory = [], [], []
        for _ in range(options.repeats):
            floor = timed(lambda: [bare(sets[a], sets[b]) for a, b in products])[0]  # noqa: B023
            took, gigabytes = timed(lambda: metric(samples, RealFeatures(real)))  # noqa: B023
            ratios.append(took / floor)
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
            f"{options.repeats} {row['ratios']}  peak {row['gigabytes']:.2f} GB",
            flush=True,
        )
    print(json.dumps({**vars(options), "threads": torch.get_num_threads(), "metrics": found}))


if __name__ == "__main__":
    main()
