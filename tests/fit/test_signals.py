"""Signals to trainings of one process and of several: all end soon, none is left, and nothing trained is lost."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from support.runs import environment
from support.trainings import grays, same, settings, state

from sgm_lightning.signals import EXIT_RESUMABLE, StopSignals

SLOW = [pytest.mark.slow, pytest.mark.xdist_group("processes")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return grays(tmp_path_factory.mktemp("data"), 24, 10)


STARTED: list[subprocess.Popen] = []


@pytest.fixture(autouse=True)
def _leaves_no_process():
    yield
    while STARTED:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(STARTED.pop().pid, signal.SIGKILL)


def alive(first):
    """Process ids of a process and all that descend from it, or are in its group; none that has ended."""
    found = {}
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = file.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[0] not in "ZX":
            found[int(file.parent.name)] = (int(fields[1]), int(fields[2]))
    family = {first}
    while True:
        more = {pid for pid, (parent, group) in found.items() if parent in family or group == first} - family
        if not more:
            return sorted(family & set(found))
        family |= more


def soon(condition, timeout):
    end = time.monotonic() + timeout
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()


class Training:
    """A training in processes of its own, far from its end unless told otherwise."""

    def __init__(self, folder, tmp_path, launcher, ranks, name="run", **changes):
        self.run, self.log = tmp_path / name, tmp_path / f"{name}.log"
        far = {"trainer__max_steps": 10**6, "trainer__val_check_interval": 10**5, "writer__save_every": 10**5}
        quick = {"data__init_args__batch_size": 2, "model__warmup_steps": 0, "model__lr_schedule": "constant"}
        config = tmp_path / f"{name}.yaml"
        config.write_text(yaml.safe_dump(settings(folder, **{**far, **quick, "grid__images": 0, **changes})))
        command = [sys.executable, "-m"]
        if launcher == "torchrun":
            command += ["torch.distributed.run", "--standalone", "--nproc_per_node", str(ranks), "-m"]
        command += ["sgm_lightning", "fit", "--config", str(config), "--run_dir", str(self.run)]
        command += ["--trainer.devices", str(ranks), *(["--trainer.strategy", "ddp"] if ranks > 1 else [])]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                command, env=environment(OMP_NUM_THREADS="1"), stdout=log, stderr=log, start_new_session=True
            )
        self.launcher, self.ranks = launcher, ranks
        STARTED.append(self.process)

    def says(self, text):
        return text in self.log.read_text()

    def wait_until(self, moment):
        conditions = {
            "import": lambda: True,
            "start": lambda: self.says("distributed_backend"),
            "setup": lambda: self.says("held out"),
            "training": lambda: (self.run / "tensorboard").is_dir(),
            "validation": lambda: (self.run / "last.ckpt").is_file(),
            "saving": lambda: (self.run / "last.ckpt").is_file(),
        }
        assert soon(lambda: conditions[moment]() or self.process.poll() is not None, 120), self.log.read_text()
        time.sleep({"import": 4, "training": 1, "validation": 0.3, "saving": 0.3}.get(moment, 0))
        assert self.process.poll() is None, self.log.read_text()

    def workers(self):
        first = self.process.pid
        return [first] if self.ranks == 1 else [pid for pid in alive(first) if self.launcher == "lightning" or pid != first]

    def send(self, number, target):
        if target == "group":
            os.killpg(self.process.pid, number)
        else:
            os.kill({"leader": self.process.pid, "last": self.workers()[-1]}[target], number)

    def ends(self, timeout):
        """Exit status, once no process is left."""
        begun = time.monotonic()
        try:
            status = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            raise AssertionError(f"still there after {timeout} s:\n{self.log.read_text()}") from None
        assert soon(lambda: not alive(self.process.pid), 10), self.log.read_text()
        print(f"ended after {time.monotonic() - begun:.1f} s")
        return status


CASES = [
    *(("lightning", 2, moment, "SIGTERM", "leader") for moment in ("import", "start", "setup", "validation")),
    ("lightning", 2, "start", "SIGUSR1", "last"),
    ("lightning", 2, "training", "SIGINT", "group"),
    ("lightning", 2, "training", "SIGUSR1", "last"),
    ("lightning", 2, "saving", "SIGTERM", "leader"),
    ("lightning", 4, "training", "SIGTERM", "last"),
    ("lightning", 1, "saving", "SIGTERM", "leader"),
    ("torchrun", 2, "training", "SIGTERM", "leader"),
    ("torchrun", 2, "saving", "SIGUSR1", "last"),
]


@pytest.mark.parametrize(("launcher", "ranks", "moment", "name", "target"), [pytest.param(*c, marks=SLOW) for c in CASES])
def test_a_signal_ends_a_training(tmp_path, folder, launcher, ranks, moment, name, target):
    changes = {"validation": {"trainer__val_check_interval": 5}, "saving": {"writer__save_every": 1}}.get(moment, {})
    training = Training(folder, tmp_path, launcher, ranks, **changes)
    training.wait_until(moment)
    training.send(getattr(signal, name), target)
    status = training.ends(60)  # 4 s where each process has a processor
    # The processes end with 75 behind torchrun as well, whose own status is 1 whenever one of them does not end with 0.
    assert status == (EXIT_RESUMABLE if launcher == "lightning" else 1), training.log.read_text()
    ours = training.log.read_text().split("elastic")[0]
    assert launcher == "torchrun" or ("same command resumes" in ours and "Traceback" not in ours)
    assert (training.run / "last.ckpt").exists() == (moment in ("training", "validation", "saving"))
    assert not list(training.run.glob("claims/*")) and not list(training.run.glob(".*.tmp"))


@pytest.mark.slow
@pytest.mark.xdist_group("processes")
def test_stopped_and_resumed_by_two_processes(tmp_path, folder):
    training = Training(folder, tmp_path, "lightning", 2)
    training.wait_until("training")
    training.send(signal.SIGTERM, "leader")
    assert training.ends(60) == EXIT_RESUMABLE
    steps = state(tmp_path)["global_step"] + 3
    for name in ("run", "whole"):
        assert Training(folder, tmp_path, "lightning", 2, name, trainer__max_steps=steps).ends(200) == 0
    same(state(tmp_path, "run"), state(tmp_path, "whole"))


@pytest.mark.slow
@pytest.mark.xdist_group("processes")
def test_a_killed_process_ends_the_others(tmp_path, folder):
    training = Training(folder, tmp_path, "lightning", 2)
    training.wait_until("training")
    training.send(signal.SIGKILL, "last")
    assert training.ends(60) not in (0, EXIT_RESUMABLE)
    assert training.says("one has gone or cannot be reached") and not training.says("Traceback")


@pytest.mark.slow
@pytest.mark.xdist_group("processes")
def test_a_frozen_training_that_wakes_writes_nothing(tmp_path, folder):
    """The second one waits until the first has given no sign of life for a minute."""
    first = Training(folder, tmp_path, "lightning", 1, writer__save_every=1)
    first.wait_until("saving")
    first.send(signal.SIGSTOP, "leader")
    time.sleep(21)  # as long as it seems to live, the second one is refused
    reached = state(tmp_path)["global_step"]
    command = [*first.process.args, "--trainer.max_steps", str(reached + 5)]
    done = subprocess.run(command, env=environment(OMP_NUM_THREADS="1"), capture_output=True, text=True, timeout=200)
    assert done.returncode == 0 and "still lives" in done.stderr, done.stderr
    written = (first.run / "last.ckpt").read_bytes()
    first.send(signal.SIGCONT, "leader")
    assert first.ends(60) == 1 and first.says("has another owner")
    assert (first.run / "last.ckpt").read_bytes() == written and state(tmp_path)["global_step"] == reached + 5


def test_a_signal_that_comes_again_ends_at_once(monkeypatch):
    ended = []
    monkeypatch.setattr(os, "_exit", ended.append)
    monkeypatch.setattr(os, "write", lambda descriptor, text: None)
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    signals = StopSignals()
    signals.deferred = True
    signals._handle(signal.SIGTERM, None)
    now[0] += 0.5
    signals._handle(signal.SIGTERM, None)  # passed on by a launcher
    now[0] += 5
    signals._handle(signal.SIGUSR2, None)  # by a process of the same job
    assert ended == [] and signals.received == "SIGTERM"
    signals._handle(signal.SIGINT, None)
    assert ended == [EXIT_RESUMABLE]
