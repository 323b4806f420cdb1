"""Images a second of two processes with one thread each, over one process with one thread.

python benchmarks/scaling.py                   3 pairs; needs two idle cores
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
CHUNK_SIZE = 4


def rate(folder: Path, devices: int, chunks: int) -> float:
    """Images a second, from the times of the chunk files: start-up does not count."""
    command = [
        sys.executable,
        "-m",
        "sgm_lightning",
        "predict",
        "--config",
        "fashion_mnist",
    ]
    command += ["--run_dir", str(folder), "--model.threads", "1", "--model.baseline", "false", "--model.spacing", "25"]
    command += ["--data.init_args.num_samples", str(chunks * CHUNK_SIZE), "--data.init_args.chunk_size", str(CHUNK_SIZE)]
    command += ["--trainer.devices", str(devices), "--trainer.accelerator", "cpu"]
    command += ["--trainer.strategy", "ddp" if devices > 1 else "auto"]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    times = sorted(path.stat().st_mtime for path in (folder / "chunks").glob("*.npz"))
    # Every process's first chunk only starts the clock.
    return (len(times) - devices) * CHUNK_SIZE / (times[-1] - times[devices - 1])


def measure() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--chunks", type=int, default=24)
    options = parser.parse_args()
    ratios = []
    for pair in range(options.pairs):
        with tempfile.TemporaryDirectory() as folder:
            one = rate(Path(folder, "one"), 1, options.chunks)
            two = rate(Path(folder, "two"), 2, options.chunks)
        ratios.append(two / one)
        print(
            f"pair {pair + 1}: 1 process {one:.2f} images/s, 2 processes {two:.2f} images/s, ratio {two / one:.2f}",
            flush=True,
        )
    print(f"median ratio {statistics.median(ratios):.2f} (N = {len(ratios)})")


if __name__ == "__main__":
    measure()
