"""Images a second of two processes with one thread each, over one process with one thread.

python -m benchmarks.speed.scaling                   3 pairs; needs two idle cores
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from jsonargparse import auto_cli

CHUNK_SIZE = 4


def rate(folder: Path, devices: int, chunks: int) -> float:
    """Images a second, from the times of the chunk files: start-up does not count."""
    command = [sys.executable, "-m", "sgm_lightning", "predict", "--config", "fashion_mnist"]
    command += ["--run_dir", str(folder), "--model.threads", "1", "--model.baseline", "false", "--model.spacing", "25"]
    command += ["--data.init_args.num_samples", str(chunks * CHUNK_SIZE), "--data.init_args.chunk_size", str(CHUNK_SIZE)]
    command += ["--trainer.devices", str(devices), "--trainer.accelerator", "cpu"]
    command += ["--trainer.strategy", "ddp" if devices > 1 else "auto"]
    subprocess.run(command, check=True, capture_output=True)
    times = sorted(path.stat().st_mtime for path in (folder / "chunks").glob("*.npz"))
    # Every process's first chunk only starts the clock.
    return (len(times) - devices) * CHUNK_SIZE / (times[-1] - times[devices - 1])


def scaling(pairs: int = 3, chunks: int = 24) -> None:
    """Draw with one process and with two, in turns.

    Args:
        pairs: How often.
        chunks: Chunks of four images that each run draws.
    """
    ratios = []
    for pair in range(pairs):
        with tempfile.TemporaryDirectory() as folder:
            one, two = (rate(Path(folder, str(devices)), devices, chunks) for devices in (1, 2))
        ratios.append(two / one)
        print(f"pair {pair + 1}: 1 process {one:.2f} images/s, 2 processes {two:.2f}, ratio {two / one:.2f}", flush=True)
    print(f"median ratio {statistics.median(ratios):.2f} (N = {pairs})")


if __name__ == "__main__":
    auto_cli(scaling)
