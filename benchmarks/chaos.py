"""Kills a run with SIGKILL at seeded random moments, restarts it with other launchers and ranks, and compares the bytes.

    python -m benchmarks.chaos                     30 kills, 96 chunks; about ten minutes on two CPU cores

Linux only (it finds ranks in /proc). Exit status 0 if the result equals an undisturbed run of one process, byte for byte.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from jsonargparse import auto_cli

from sgm_lightning.files.process import started
from sgm_lightning.run import RunDir
from sgm_lightning.run.chunk_file import DamagedChunk

ROOT = Path(__file__).parents[1]
CHUNK_SIZE = 2
LAUNCHERS = [("lightning", 2), ("torchrun", 2), ("independent", 1), ("independent", 2), ("independent", 3)]


class Run:
    """One run folder, and the processes that are at work on it."""

    def __init__(self, folder: Path, name: str, chunks: int) -> None:
        self.dir = RunDir(folder / name)
        self.num_chunks = chunks
        self.log = folder / f"{name}.log"
        self.program = ["-m", "sgm_lightning", "predict", "--config", "fashion_mnist", "--run_dir", str(self.dir.path)]
        self.program += ["--model.baseline", "false", "--trainer.callbacks", "null", "--trainer.accelerator", "cpu"]
        self.program += ["--model.spacing", "8", "--model.guidance.window.interval", "2", "--model.score.num_draws", "1"]
        self.program += ["--model.threads", "1", "--data.num_samples", str(chunks * CHUNK_SIZE - 1)]
        self.program += ["--data.chunk_size", str(CHUNK_SIZE)]

    def start(self, launcher: str, ranks: int, *args: str) -> list[subprocess.Popen[bytes]]:
        program = [*self.program, *args]
        ddp = ["--trainer.devices", str(ranks), "--trainer.strategy", "ddp"]
        commands = {
            "lightning": [[*program, *ddp]],
            "torchrun": [["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(ranks), *program, *ddp]],
            "independent": [program] * ranks,
        }
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        with open(self.log, "ab") as log:
            return [
                subprocess.Popen([sys.executable, *command], env=environment, stdout=log, stderr=log, start_new_session=True)
                for command in commands[launcher]
            ]

    def finished(self) -> set[int]:
        return self.dir.finished(self.num_chunks) if self.dir.chunks.is_dir() else set()

    def leftovers(self) -> tuple[int, int]:
        """Half-written files, and claims."""
        return len(list(self.dir.path.rglob(".*.tmp"))), len(list(self.dir.path.glob("claims/*")))


def family(processes: list[subprocess.Popen[bytes]]) -> list[int]:
    """The processes and all their descendants."""
    pids = [process.pid for process in processes]
    for pid in pids:
        try:
            pids += [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        except OSError:
            continue
    return pids


def living(folder: Path, patience: float = 90) -> int:
    """The number of processes that still work on a run, or wait for others that are gone, after some patience."""
    end = time.monotonic() + patience
    while True:
        found = 0
        for line in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                found += str(folder).encode() in line.read_bytes()
        if not found or time.monotonic() > end:
            return found
        time.sleep(1)


def kill(pids: list[int], number: int = signal.SIGKILL) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def kill_at(pattern: str, count: int, folder: Path, processes: list[subprocess.Popen[bytes]], timeout: float = 300) -> bool:
    """Look as often as possible for new half-written files, and kill at the sight of the `count`-th.

    False if the processes end before.
    """
    end = time.monotonic() + timeout
    old = set(os.listdir(folder)) if folder.is_dir() else set()
    pids: list[int] = []
    turn = 0
    while time.monotonic() < end:
        new = [name for name in (os.listdir(folder) if folder.is_dir() else []) if name not in old]
        seen = [name for name in new if name.startswith(pattern)]
        if seen:
            count -= 1
            if count <= 0:
                kill(pids)
                return True
            old.update(seen)
        turn += 1
        if turn % 1000 == 0:
            pids = family(processes)
            if all(process.poll() is not None for process in processes):
                return False
    raise TimeoutError(f"no {pattern} in {folder} within {timeout} s")


def disturb(run: Run, kind: str, launcher: str, ranks: int, source: random.Random, start_up: float) -> tuple[float, str]:
    """Start the run, and kill it or a part of it. Returns the moment and what became of the job."""
    processes = run.start(launcher, ranks, *(["--verify", "true"] if kind == "merge" else []))
    begun = time.monotonic()
    hit = True
    if kind == "write":
        hit = kill_at(".chunk-", source.randint(1, 4), run.dir.chunks, processes)
    elif kind == "merge":
        hit = kill_at(".samples.npz", 1, run.dir.path, processes)
    else:
        time.sleep(source.uniform(0.2, start_up * (0.5 + ranks / 2) + 6))  # two cores: more ranks start more slowly
    moment = time.monotonic() - begun
    pids = family(processes)
    working = [pid for pid in pids if pid not in [p.pid for p in processes]] if launcher == "torchrun" else pids
    if kind == "rank" and ranks > 1 and working:
        kill([source.choice(working)])
        if launcher == "independent":  # the others know nothing of it, and would end the run
            time.sleep(2)
            kill(pids, signal.SIGTERM)
    else:
        kill(pids)
    for process in processes:
        process.wait(timeout=60)  # by itself: one rank takes the job along
    codes = " ".join(str(process.returncode) for process in processes)
    end = time.monotonic() + 30
    while any(started(pid) != -1 for pid in pids) and time.monotonic() < end:
        time.sleep(0.05)
    return moment, codes if hit else f"{codes} (ended before)"


def chaos(chunks: int = 96, kills: int = 30, seed: int = 0) -> int:
    """Draw undisturbed, then disturbed, and compare.

    Args:
        chunks: Chunks of the run.
        kills: How often it is killed.
        seed: Of the moments, launchers and ranks.

    Returns:
        Exit status.
    """
    source = random.Random(seed)
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))

    calm = Run(folder, "calm", chunks)
    begun = time.monotonic()
    (process,) = calm.start("independent", 1)
    while not calm.finished():
        time.sleep(0.05)
    start_up = time.monotonic() - begun
    if process.wait() != 0:
        print(calm.log.read_text(), file=sys.stderr)
        return 1
    seconds = time.monotonic() - begun
    print(f"undisturbed: one process, {chunks} chunks, {seconds:.0f} s, first chunk at {start_up:.1f} s")

    merges = max(1, kills // 6)
    kinds = [source.choice(["job", "job", "rank", "rank", "write"]) for _ in range(kills - merges)]
    kinds += ["merge"] * merges
    run = Run(folder, "chaos", chunks)
    lost = torn = 0
    print("kill  launcher     ranks  kind   at (s)  chunks    half-written  claims  exit status")
    for number, kind in enumerate(kinds, 1):
        launcher, ranks = source.choice(LAUNCHERS)
        before = run.finished()
        moment, codes = disturb(run, kind, launcher, ranks, source, start_up)
        half_written, claims = run.leftovers()
        after = run.finished()
        lost += len(before - after)
        for chunk in after:
            try:
                run.dir.read_chunk(chunk)
            except DamagedChunk:
                torn += 1
        span = f"{len(before)}→{len(after)}"
        columns = (f"{number:>4}", f"{launcher:<11}", f"{ranks:>6}", f"{kind:<6}", f"{moment:>6.1f}", f"{span:<8}")
        print("  ".join(columns), f"{half_written:>13} {claims:>7}  {codes}", flush=True)

    begun = time.monotonic()
    status = run.start("independent", 1)[0].wait()
    print(f"last start: one process, {time.monotonic() - begun:.0f} s, exit status {status}")
    rows = np.genfromtxt(run.dir.path / "scores.csv", delimiter=",", names=True)["index"].astype(int).tolist()
    duplicated = len(rows) - len(set(rows))
    lost += chunks * CHUNK_SIZE - 1 - len(set(rows))
    equal = all((run.dir.path / f).read_bytes() == (calm.dir.path / f).read_bytes() for f in ("samples.npz", "scores.csv"))
    half_written, claims = run.leftovers()
    print(f"lost {lost}, duplicated {duplicated}, torn files accepted {torn}")
    waiting = living(run.dir.path)
    print(f"left over: {half_written} half-written files, {claims} claims, {waiting} processes")
    print(f"samples.npz and scores.csv byte-identical to the undisturbed run: {'yes' if equal else 'NO'}")
    good = equal and status == 0 and not (lost or duplicated or torn or waiting)
    if good:
        shutil.rmtree(folder)
    else:
        print(f"kept for inspection: {folder}", file=sys.stderr)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(auto_cli(chaos))
