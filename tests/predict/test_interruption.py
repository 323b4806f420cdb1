"""Signals, damage and killed ranks: whatever happens to a run, the same command ends in the same bytes."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import yaml
from support.paths import ROOT
from support.runs import environment, predict, settings

from sgm_lightning.diffusion import Denoiser
from sgm_lightning.files.process import started
from sgm_lightning.signals import EXIT_RESUMABLE

pytestmark = pytest.mark.xdist_group("interruption")

SMALL = {"model__spacing": 8, "data__init_args__num_samples": 10}
SETTINGS = settings(**SMALL)
# Long enough that a job which loses a rank cannot end the run before it is stopped: Lightning looks every 5 s.
LONG = settings(**{**SMALL, "model__spacing": 40, "data__init_args__num_samples": 40})


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A run that nobody disturbed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    assert predict(folder, "run", SETTINGS) == 0
    return folder / "run"


@pytest.fixture(scope="module")
def reference(undisturbed):
    """Its `samples.npz`."""
    return (undisturbed / "samples.npz").read_bytes()


def chunks(run):
    return sorted((run / "chunks").glob("chunk-*.npz"))


def when(condition, then, timeout=60):
    """Call `then` in a thread as soon as `condition` holds."""

    def wait():
        end = time.monotonic() + timeout
        while not condition() and time.monotonic() < end:
            time.sleep(0.005)
        then()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize(
    "name", ["SIGTERM", *(pytest.param(name, marks=pytest.mark.slow) for name in ("SIGINT", "SIGUSR1"))]
)
def test_a_signal_ends_predict_within_a_step(tmp_path, capsys, reference, name, monkeypatch):
    run = tmp_path / "run"
    before = signal.getsignal(signal.SIGTERM)
    calls, calls_at_signal = [], []
    real = Denoiser.forward
    monkeypatch.setattr(Denoiser, "forward", lambda *args: calls.append(1) or real(*args))

    def send():
        time.sleep(0.05)  # into the next chunk
        calls_at_signal.append(len(calls))
        os.kill(os.getpid(), getattr(signal, name))

    thread = when(lambda: len(chunks(run)) >= 2, send)
    assert predict(tmp_path, "run", SETTINGS) == EXIT_RESUMABLE
    thread.join()
    assert len(calls) - calls_at_signal[0] <= 1
    assert f"interrupted ({name} received)" in capsys.readouterr().err
    assert 2 <= len(chunks(run)) < 5 and not (run / "samples.npz").exists()
    assert not list((run / "claims").iterdir()) and not list(run.rglob("*.tmp"))
    assert signal.getsignal(signal.SIGTERM) is before
    kept = {path: path.stat().st_mtime_ns for path in chunks(run)}
    assert predict(tmp_path, "run", SETTINGS) == 0
    assert (run / "samples.npz").read_bytes() == reference
    assert all(path.stat().st_mtime_ns == mtime for path, mtime in kept.items())
    assert not list(run.rglob("hpc_ckpt_*"))


def test_a_signal_while_loading(tmp_path, monkeypatch):
    from sgm_lightning.backbones import DiffusersCheckpoint

    monkeypatch.setattr(DiffusersCheckpoint, "load", lambda self: os.kill(os.getpid(), signal.SIGTERM) or time.sleep(5))
    assert predict(tmp_path, "run", SETTINGS) == EXIT_RESUMABLE
    assert not (tmp_path / "run").exists()


def test_a_slurm_training_checkpoint_is_refused(tmp_path, capsys):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/hpc_ckpt_1.ckpt").write_bytes(b"")
    assert predict(tmp_path, "run", SETTINGS) == 1
    assert "hpc_ckpt_1.ckpt" in capsys.readouterr().err


def test_damage_is_drawn_again_and_nothing_else(tmp_path, undisturbed, reference):
    run = shutil.copytree(undisturbed, tmp_path / "run")
    files = chunks(run)
    kept = {path: path.stat().st_mtime_ns for path in files}
    files[0].unlink()
    files[1].write_bytes(files[1].read_bytes()[:100])
    (run / "samples.npz").unlink()
    assert predict(tmp_path, "run", SETTINGS) == 0
    assert (run / "samples.npz").read_bytes() == reference
    assert {path for path in files if path.stat().st_mtime_ns != kept[path]} == set(files[:2])

    data = bytearray(files[4].read_bytes())
    data[len(data) // 2] ^= 1
    files[4].write_bytes(data)
    kept = {path: path.stat().st_mtime_ns for path in files}
    assert predict(tmp_path, "run", SETTINGS) == 0
    assert {path for path in files if path.stat().st_mtime_ns != kept[path]} == set()
    assert predict(tmp_path, "run", SETTINGS, "--verify", "true") == 0
    assert {path for path in files if path.stat().st_mtime_ns != kept[path]} == {files[4]}
    assert (run / "samples.npz").read_bytes() == reference


def test_threads_are_taken_from_the_run(tmp_path, undisturbed, reference):
    """A run drawn with one thread goes on with one, whatever the process has."""
    import torch

    shutil.copytree(undisturbed, tmp_path / "run")
    chunks(tmp_path / "run")[2].unlink()
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    assert predict(tmp_path, "run", settings(**SMALL, model__threads=None)) == 0
    assert torch.get_num_threads() == 1 and (tmp_path / "run/samples.npz").read_bytes() == reference
    assert predict(tmp_path, "run", settings(**SMALL, model__threads=2)) == 1
    torch.set_num_threads(before)


# Bad disks, through the command line: one sentence, and a run that goes on once the disk is good.


@pytest.mark.slow
def test_full_disk_at_every_size(small_disk, tmp_path, capsys, reference):
    """From manifest and configuration over claims, events and chunks to the merge: whichever write finds no space."""
    found = []
    for free in range(0, 256, 4):
        ballast = small_disk / "ballast"
        ballast.write_bytes(bytes(256 * 1024 - free * 1024))
        status = predict(small_disk, "run", SETTINGS, config_folder=tmp_path)
        error = capsys.readouterr().err.strip().splitlines()[-1]
        found.append(status)
        ballast.unlink()
        if status:
            assert error.startswith("error: ") and "No space left" in error and "Traceback" not in error
            assert predict(small_disk, "run", SETTINGS, config_folder=tmp_path) == 0
        assert (small_disk / "run/samples.npz").read_bytes() == reference
        assert not list((small_disk / "run").rglob(".*.tmp"))
        shutil.rmtree(small_disk / "run")
        if not status:
            break
    # A disk is too small up to the size of a run, and from there on never.
    assert found == [1] * (len(found) - 1) + [0] and len(found) > 5, found


def test_disk_turns_read_only(small_disk, tmp_path, capsys):
    def turn():
        while subprocess.run(["mount", "-o", "remount,ro", small_disk], capture_output=True).returncode:
            time.sleep(0.001)  # busy: a file is open for writing

    thread = when(lambda: len(chunks(small_disk / "run")) >= 1, turn)
    assert predict(small_disk, "run", SETTINGS, config_folder=tmp_path) == 1
    thread.join()
    assert predict(small_disk, "run", SETTINGS, config_folder=tmp_path) == 1
    assert predict(small_disk, "other", SETTINGS, config_folder=tmp_path) == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 3 and all("ead-only" in error for error in errors)


def test_run_dir_vanishes(tmp_path, capsys):
    run = tmp_path / "run"
    thread = when(lambda: len(chunks(run)) >= 1, lambda: shutil.rmtree(run))
    assert predict(tmp_path, "run", SETTINGS) == 1
    thread.join()
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ") and "No such file" in error


# Real process groups.


@pytest.fixture(scope="module")
def long_reference(tmp_path_factory):
    folder = tmp_path_factory.mktemp("long_reference")
    assert predict(folder, "run", LONG) == 0
    return (folder / "run/samples.npz").read_bytes()


def start(tmp_path, name, launcher, config):
    file = tmp_path / f"{name}.yaml"
    file.write_text(yaml.safe_dump(config))
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"] if launcher == "torchrun" else []
    command = [sys.executable, *torchrun, "-m", "sgm_lightning", "predict", "--config", str(file)]
    command += ["--run_dir", str(tmp_path / name), "--trainer.devices", "2", "--trainer.strategy", "ddp"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with open(tmp_path / f"{name}.log", "wb") as log:
        return subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)


def until(condition, timeout=90):
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, "timed out"
        time.sleep(0.01)


def children(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.slow
def test_torchrun(tmp_path, reference):
    assert start(tmp_path, "run", "torchrun", SETTINGS).wait(timeout=120) == 0
    assert (tmp_path / "run/samples.npz").read_bytes() == reference


linux = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds child processes in /proc")


@pytest.mark.slow
def test_a_rank_whose_launcher_is_gone_already_does_not_wait_for_it(tmp_path):
    """The launching process was killed while this one imported: it cannot be met, and its child has another parent."""
    config = tmp_path / "run.yaml"
    config.write_text(yaml.safe_dump(LONG))
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    rank = {"LOCAL_RANK": "1", "WORLD_SIZE": "2", "NODE_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29871"}
    options = ["--trainer.devices", "2", "--trainer.strategy", "ddp"]
    command = ["predict", "--config", str(config), "--run_dir", str(tmp_path / "run"), *options]
    impatient = "import sgm_lightning.commands.trainer as trainer; trainer._PATIENCE_SECONDS = 3"
    code = f"{impatient}\nfrom sgm_lightning.cli import main\nexit(main({command}))"
    ended = subprocess.run(
        [sys.executable, "-c", code], env=environment(**rank, SGM_LAUNCHER=str(gone.pid)), capture_output=True, timeout=120
    )
    assert ended.returncode == EXIT_RESUMABLE, ended.stderr.decode()


@pytest.mark.slow
def test_race_of_four_equal_commands(tmp_path, reference):
    """Four processes that know nothing of one another draw one run, and all of them end well."""
    config = tmp_path / "run.yaml"
    config.write_text(yaml.safe_dump(SETTINGS))
    command = [sys.executable, "-m", "sgm_lightning", "predict", "--config", str(config), "--run_dir", str(tmp_path / "run")]
    racing = [subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE) for _ in range(4)]
    errors = [process.communicate(timeout=240)[1].decode() for process in racing]
    assert [process.returncode for process in racing] == [0] * 4, errors
    assert (tmp_path / "run/samples.npz").read_bytes() == reference
    assert not list((tmp_path / "run/claims").glob("*")) and not list((tmp_path / "run").rglob(".*.tmp"))


@linux
@pytest.mark.slow
@pytest.mark.parametrize(
    ("launcher", "target", "name", "codes"),
    [
        ("lightning", "main", "SIGINT", {EXIT_RESUMABLE}),
        ("lightning", "group", "SIGINT", {EXIT_RESUMABLE}),
        ("lightning", "child", "SIGTERM", {EXIT_RESUMABLE}),
        ("lightning", "child", "SIGKILL", {-9}),
        ("lightning", "main", "SIGKILL", {-9}),
        ("torchrun", "main", "SIGTERM", {1, -15}),
        ("torchrun", "child", "SIGKILL", {1}),
    ],
)
def test_one_process_takes_the_job_along(tmp_path, long_reference, launcher, target, name, codes):
    """One signalled or killed rank ends the whole job soon, with a non-zero status; then one process ends the run."""
    process = start(tmp_path, "run", launcher, LONG)
    run = tmp_path / "run"
    until(lambda: len(chunks(run)) >= 1)
    ranks = [process.pid, *children(process.pid)] if launcher == "lightning" else children(process.pid)
    number = getattr(signal, name)
    if target == "group":
        os.killpg(process.pid, number)
    else:
        os.kill(process.pid if target == "main" else ranks[-1], number)
    assert process.wait(timeout=15) in codes
    until(lambda: not any(started(rank) != -1 for rank in ranks), 15)
    assert predict(tmp_path, "run", LONG) == 0
    assert (run / "samples.npz").read_bytes() == long_reference
    shutil.rmtree(run)
