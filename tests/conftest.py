"""Fixtures that several rooms use; what is not a fixture lies in `support`.

Fixtures import what they need themselves: the process that hands out the tests to its workers loads this file as well, and
must not wait for torch.
"""

import gc
import os
import shutil
import subprocess

import pytest

# One thread a worker: several of them share the machine.
WORKERS = "PYTEST_XDIST_WORKER" in os.environ
if WORKERS:
    os.environ["OMP_NUM_THREADS"] = "1"


# What imports make stays; to look through it for garbage takes a quarter of their time.
gc.disable()


def pytest_collection_finish():
    gc.freeze()
    gc.enable()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    """Refuse to run where tests that share a cluster would not be kept in one worker, or names differ between workers."""
    changing = [item.nodeid for item in items if " at 0x" in item.nodeid]
    if changing:
        raise pytest.UsageError(f"The name of a test holds an address, which no other process has: {changing[0]}")
    if getattr(config.option, "loadgroup", False):
        apart = [item.nodeid for item in items if item.get_closest_marker("xdist_group") and "@" not in item.nodeid]
        if apart:
            raise pytest.UsageError(f"pytest-xdist does not keep groups together with this pytest, e.g. of {apart[0]}")


@pytest.fixture(scope="session")
def golden_backbone():
    from support.goldens import golden_flags
    from support.paths import GOLDENS

    from sgm_lightning import ADMCheckpoint

    def load(network: str, diffusion: dict):
        return ADMCheckpoint(GOLDENS / f"{network}.pt", golden_flags(network, diffusion)).load()

    return load


@pytest.fixture(scope="session", autouse=True)
def _threads():
    import torch

    torch.set_num_threads(1 if WORKERS else 2)


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SGM_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def away(tmp_path, monkeypatch):
    """A working directory with nothing in it."""
    folder = tmp_path / "away"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def small_disk(tmp_path):
    """A real file system of 256 KiB."""
    if os.name != "posix" or os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs needs root")
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("a tmpfs cannot be mounted here")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture
def spaces(tmp_path):
    """Two spaces of features, each of which chooses the other's tail."""
    from support.evaluations import space

    return {"one": space(tmp_path, 0, "other"), "other": space(tmp_path, 1, "one")}


@pytest.fixture(scope="session")
def scored_once(tmp_path_factory):
    from support import levels

    folder = tmp_path_factory.mktemp("scored")
    assert levels.score(folder) == 0
    return folder


@pytest.fixture
def scored(scored_once, tmp_path):
    """A folder with levels and the parts that they were made of."""
    shutil.copytree(scored_once, tmp_path, dirs_exist_ok=True)
    return tmp_path
