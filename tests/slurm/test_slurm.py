"""The submission files of `slurm/` on a real Slurm of two nodes, both on this machine."""

import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from support import trainings
from support.paths import ROOT
from support.runs import predict, settings

pytestmark = [pytest.mark.slurm, pytest.mark.xdist_group("slurm")]
HERE = Path(__file__).parent
SETTINGS = settings(model__spacing=20, data__init_args__num_samples=40)
LONG = settings(model__spacing=200, data__init_args__num_samples=40)  # not done when the time limit's signal comes


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    """Environment of a running two-node cluster."""
    if shutil.which("slurmctld") is None or shutil.which("munged") is None:
        pytest.skip("needs Slurm: apt-get install --no-install-recommends slurm-wlm munge")
    if os.geteuid() != 0:
        pytest.skip("starting a two-node Slurm needs root")
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))  # pytest's folders are private, which munge refuses
    folder.chmod(0o755)
    command = tmp_path_factory.mktemp("bin") / "sgm-lightning"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m sgm_lightning "$@"\n')
    command.chmod(0o755)
    environment = {
        **os.environ,
        "SLURM_CONF": str(folder / "slurm.conf"),
        "PATH": f"{command.parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    started = subprocess.run(["bash", HERE / "slurm-up.sh", folder, str(free_ports(3))], capture_output=True, text=True)
    try:
        assert started.returncode == 0, started.stderr
        yield environment
    finally:
        subprocess.run(["bash", HERE / "slurm-down.sh", folder], check=True, timeout=120)
        shutil.rmtree(folder)


def free_ports(count):
    """The first of so many adjacent ports that no process listens on."""
    for first in range(26817, 32768, count):
        with contextlib.ExitStack() as stack:
            try:
                for port in range(first, first + count):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
            return first
    raise AssertionError("no free ports")


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    return reference_bytes(tmp_path_factory.mktemp("reference"), SETTINGS)


def reference_bytes(folder, settings):
    assert predict(folder, "run", settings) == 0
    return (folder / "run/samples.npz").read_bytes()


class Job:
    """One submission."""

    def __init__(self, environment, folder, script, *args, settings=SETTINGS, **knobs):
        config = folder / "config.yaml"
        config.write_text(yaml.safe_dump(settings))
        self.run = folder / "run"
        self.environment = {**environment, "CONFIG": str(config), "RUN_DIR": str(self.run), **knobs}
        output = "--output=" + str(folder / "job-%j.log")
        command = ["sbatch", "--parsable", "--cpus-per-task=1", output, *args, str(ROOT / "slurm" / script)]
        self.id = self.call(*command, cwd=folder).strip()
        self.started = time.monotonic()

    def call(self, *command, cwd=None):
        done = subprocess.run(command, env=self.environment, cwd=cwd, capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def fields(self):
        """State and restarts of the job, or of an array's tasks."""
        lines = self.call("scontrol", "--oneliner", "show", "job", self.id).splitlines()
        jobs = [dict(word.split("=", 1) for word in line.split() if "=" in word) for line in lines]
        return [(job["JobState"], int(job["Restarts"])) for job in jobs]

    def states(self):
        return {state for state, _ in self.fields()}

    def wait(self, *states, timeout=300):
        until(lambda: self.states() <= set(states), timeout, self)
        return self

    def wait_for_chunks(self, count):
        until(lambda: len(list((self.run / "chunks").glob("*.npz"))) >= count, 60, self)
        return self


def until(condition, timeout, job):
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, f"{job.fields()}\n{logs(job)}"
        time.sleep(0.2)


def logs(job):
    files = [*job.run.parent.glob("*.log"), *job.run.glob("logs/*")]
    return "\n".join(f"== {file}\n{file.read_text()[-3000:]}" for file in files)


def drawn(job):
    """Chunks that each process told of, over all starts that came to an end."""
    texts = [file.read_text() for file in (job.run / "logs").iterdir()]
    return [int(word) for text in texts for word in re.findall(r"This process drew (\d+) of 20", text)]


def same(job, reference):
    job.wait("COMPLETED")
    print(f"job time {time.monotonic() - job.started:.1f} s")
    assert (job.run / "samples.npz").read_bytes() == reference
    assert not list(job.run.rglob("hpc_ckpt_*")) and not list((job.run / "claims").iterdir())


@pytest.mark.parametrize("shape", [(2, 1), (1, 2)], ids=["2 nodes x 1 task", "1 node x 2 tasks"])
def test_nodes_and_tasks(slurm, tmp_path, reference, shape):
    job = Job(slurm, tmp_path, "predict.sbatch", f"--nodes={shape[0]}", f"--ntasks-per-node={shape[1]}")
    same(job, reference)
    assert len(drawn(job)) == 2 and sum(drawn(job)) == 20 and min(drawn(job)) >= 5


def test_requeue_in_the_middle(slurm, tmp_path, reference):
    job = Job(slurm, tmp_path, "predict.sbatch", "--nodes=2").wait_for_chunks(2)
    job.call("scontrol", "requeue", job.id)
    same(job, reference)
    assert job.fields()[0][1] == 1 and "Resuming: " in logs(job)


def test_cancel_and_resubmit(slurm, tmp_path, reference):
    first = Job(slurm, tmp_path, "predict.sbatch", "--nodes=1").wait_for_chunks(2)
    first.call("scancel", first.id)
    first.wait("CANCELLED")
    time.sleep(2)
    assert first.fields() == [("CANCELLED", 0)]  # a cancelled job stays away
    assert not (first.run / "samples.npz").exists() and not list((first.run / "claims").iterdir())
    same(Job(slurm, tmp_path, "predict.sbatch", "--nodes=2"), reference)


def test_time_limit(slurm, tmp_path):
    """The signal before the limit ends the first start of both tasks; the job requeues itself and ends the run."""
    job = Job(slurm, tmp_path, "predict.sbatch", "--time=1", "--signal=USR1@30", "--nodes=2", settings=LONG)
    until(lambda: job.fields()[0][1] == 1, 90, job)
    job.call("scontrol", "update", f"JobId={job.id}", "TimeLimit=10")
    (tmp_path / "reference").mkdir()
    same(job, reference_bytes(tmp_path / "reference", LONG))
    assert "interrupted (SIGUSR1 received)" in logs(job) or "User defined signal 1" in logs(job)


def test_array_of_two(slurm, tmp_path, reference):
    job = Job(slurm, tmp_path, "predict_array.sbatch", "--array=0-1")
    same(job, reference)
    assert len(drawn(job)) == 2 and sum(drawn(job)) == 20 and min(drawn(job)) >= 3


def test_time_limit_in_an_array(slurm, tmp_path):
    """Each job requeues itself alone, the last one of the array (whose id is the array's) included."""
    limits = ("--array=0-1", "--time=1", "--signal=USR1@35")
    job = Job(slurm, tmp_path, "predict_array.sbatch", *limits, settings=LONG, MAX_RESTARTS="1")
    until(lambda: len(list(job.run.glob("logs/*"))) == 2, 60, job)
    job.call("scancel", f"{job.id}_0")
    until(lambda: max(restarts for _, restarts in job.fields()) == 1, 120, job)
    assert sorted(job.fields())[0] == ("CANCELLED", 0)
    job.call("scancel", job.id)


@pytest.fixture(scope="module")
def training(tmp_path_factory):
    """Settings of a training of 16 pictures."""
    root = tmp_path_factory.mktemp("data")
    for i in range(16):
        Image.fromarray(np.full((8, 8), 16 * i, np.uint8)).save(root / f"{i:02d}.png")
    return trainings.settings(root, writer__save_every=20, trainer__val_check_interval=100, data__init_args__cache=False)


@pytest.mark.parametrize(("nodes", "how", "steps"), [(1, "requeue", 300), (2, "USR1", 100)])
def test_fit_goes_on_after(slurm, tmp_path, training, nodes, how, steps):
    """Sent back by Slurm, or told to stop: in the queue again, and on to the end, as if nothing had been."""
    training = {**training, "trainer": {**training["trainer"], "max_steps": steps}}
    job = Job(slurm, tmp_path, "fit.sbatch", f"--nodes={nodes}", settings=training, OMP_NUM_THREADS="1")
    until(lambda: (job.run / "last.ckpt").is_file(), 90, job)
    job.call(*(["scontrol", "requeue", job.id] if how == "requeue" else ["scancel", "--signal=USR1", job.id]))
    job.wait("COMPLETED")
    assert job.fields()[0][1] == 1 and "Resuming at step" in logs(job)
    found = trainings.state(tmp_path)
    assert found["global_step"] == steps and found["averaging_state"]["n_averaged"] == steps
    if nodes == 1:  # at as many threads: Adam makes rounding grow
        line, environment = trainings.command(tmp_path, training, "whole")
        subprocess.run(line, env=environment, check=True, capture_output=True, timeout=170)
        trainings.same(found, trainings.state(tmp_path, "whole"))
