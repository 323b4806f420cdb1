"""Values that cannot be meant, configurations that are none, and unusual environments: one sentence, or the right result."""

import os
import subprocess
import sys

import pytest
import yaml
from support.cases import some
from support.runs import SHORT, environment, predict, settings

from sgm_lightning.cli import main
from sgm_lightning.files.process import Process, current

VALUES = {
    "model.threads": [0, -1, 10**6],
    "data.num_samples": [None, 0, -3, 10**12, "many", 1.5],
    "data.chunk_size": [0, 10**9],
    "data.seed": [-1],
    "writer.grid_images": [0, -1],
    "model.score.num_draws": [0, 10**12],
    "model.spacing": ["0", "-1", "1000000000", "ddim0", "ddim1000000000", "a,b", ""],
}
CASES = [(key, value) for key, values in VALUES.items() for value in values]


@pytest.mark.parametrize(("key", "value"), some(CASES, every=5), ids=[f"{key}={value}" for key, value in CASES])
def test_values(tmp_path, capsys, key, value):
    assert predict(tmp_path, "run", settings(), f"--{key}", yaml.safe_dump(value).splitlines()[0]) in (1, 2)
    error = capsys.readouterr().err
    last = error.strip().splitlines()[-1]
    assert "error:" in last and "Traceback" not in error and "report" not in last, error
    assert key.rpartition(".")[2] in last.lower() and not (tmp_path / "run").exists()


CONTENTS = [
    b"",
    b"\x00\xff\xfe",
    b"[]",
    b"7",
    b"null",
    b"a: [",
    b"[" * 20_000,
    b"m: " + b"{a: " * 5_000,
    b"%",
    b"FOLDER",
    b"FIFO",
]


@pytest.mark.parametrize("content", some(CONTENTS, often=(1, 10)), ids=range(len(CONTENTS)))
def test_configurations_that_are_none(tmp_path, capsys, content):
    file = tmp_path / "run.yaml"
    if content == b"FOLDER":
        file.mkdir()
    elif content == b"FIFO":
        os.mkfifo(file)
    else:
        file.write_bytes(content)
    assert main(["predict", "--config", str(file), "--run_dir", str(tmp_path / "run")]) in (1, 2)
    error = capsys.readouterr().err
    assert "Traceback" not in error and "report" not in error.strip().splitlines()[-1] and len(error) < 1500, error


def test_a_configuration_from_the_web_is_not_asked_for(tmp_path, capsys):
    assert main(["predict", "--config", "https://example.org/run.yaml", "--run_dir", str(tmp_path / "run")]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_a_host_name_is_part_of_a_file_name(monkeypatch):
    monkeypatch.setattr("socket.gethostname", lambda: "rack/3.node é")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "")
    from sgm_lightning.files.process import _current

    _current.cache_clear()
    try:
        found = current()
        assert isinstance(found, Process) and "/" not in found.host and "." not in found.host and found.restart == 0
    finally:
        _current.cache_clear()


def command(tmp_path, *args):
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump(settings()))
    return [
        sys.executable,
        "-m",
        "sgm_lightning",
        "predict",
        "--config",
        str(file),
        "--run_dir",
        str(tmp_path / "run"),
        *SHORT,
        *args,
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"SLURM_RESTART_COUNT": "soon"},
        {"SGM_CACHE": "~nobody/x"},
        {"HOME": "/nowhere/at/all"},
        {"HOME": None},
        {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0"},
    ],
    ids=str,
)
def test_environments(tmp_path, changes):
    inside = {key: value for key, value in {**environment(), **changes}.items() if value is not None}
    ended = subprocess.run(command(tmp_path), env=inside, capture_output=True, timeout=120)
    assert ended.returncode == 0 and b"Traceback" not in ended.stderr, ended.stderr.decode()


@pytest.mark.slow
@pytest.mark.parametrize("where", ["closed", "full", "short pipe"])
def test_an_output_that_cannot_be_written(tmp_path, where):
    """The samples are drawn all the same; that their table could not be printed is told by the exit code at most."""
    line = " ".join(command(tmp_path))
    shell = {"closed": f"{line} >&-", "full": f"{line} > /dev/full", "short pipe": f"{line} | head -c 1 >/dev/null"}[where]
    ended = subprocess.run(["bash", "-c", shell], env=environment(), capture_output=True, timeout=120)
    assert b"Traceback" not in ended.stderr, ended.stderr.decode()
    assert (tmp_path / "run/samples.npz").is_file()
