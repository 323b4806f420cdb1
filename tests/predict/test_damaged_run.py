"""Files of a run that are damaged, of a wrong type, or no files at all: one sentence, or the right result; never a wait."""

import json
import os
import shutil

import numpy as np
import pytest
from support.cases import some
from support.runs import images, predict, settings

from sgm_lightning.cli import main

DEEP = "[" * 20_000 + "]" * 20_000
WRONG = [
    "[]",
    "null",
    "7",
    '"text"',
    "{}",
    "",
    "\x00\xff",
    DEEP,
    '{"num_samples": null, "chunk_size": "x", "bytes": 3}',
    "FIFO",
    "FOLDER",
]
CLAIMS = [
    *WRONG,
    '{"host": 3, "pid": "x", "token": []}',
    '{"host": "here", "pid": 1e30}',
    '{"host": "HOST", "pid": 1000000000000000000000000000000, "token": "a"}',
    '{"host": "HOST", "pid": "../1", "started": {}, "token": "a"}',
]

pytestmark = pytest.mark.xdist_group("damaged")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    assert predict(folder, "run", settings(data__init_args__num_samples=4)) == 0
    return folder / "run"


@pytest.fixture
def run(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


def put(path, content):
    path.parent.mkdir(exist_ok=True)
    if path.is_file():
        path.unlink()
    if content == "FIFO":
        os.mkfifo(path)
    elif content == "FOLDER":
        path.mkdir()
    else:
        path.write_text(content, encoding="latin-1")


def again(tmp_path, *args):
    return predict(tmp_path, "run", settings(data__init_args__num_samples=4), *args)


def in_a_sentence(capsys):
    error = capsys.readouterr().err
    line = error.strip().splitlines()[-1]
    assert "error:" in line and "Traceback" not in error and "report" not in line, error
    return line


@pytest.mark.parametrize("content", some(WRONG, often=(0, 10)), ids=range(len(WRONG)))
def test_a_manifest(run, tmp_path, capsys, content):
    put(run / "manifest.json", content)
    assert again(tmp_path) == 1
    in_a_sentence(capsys)


@pytest.mark.parametrize("content", some(WRONG, often=(8, 9)), ids=range(len(WRONG)))
def test_a_record_of_the_merge(run, tmp_path, capsys, content):
    """It is made again from the chunks; where it cannot be written, a sentence says so."""
    before = images(tmp_path)
    put(run / "merged.json", content)
    if content == "FOLDER":
        assert again(tmp_path) == 1
        in_a_sentence(capsys)
    else:
        assert again(tmp_path) == 0 and np.array_equal(images(tmp_path), before)
        assert json.loads((run / "merged.json").read_text())["num_samples"] == 4


@pytest.mark.parametrize("content", some(CLAIMS, often=(13,)), ids=range(len(CLAIMS)))
def test_a_claim(run, tmp_path, capsys, content, monkeypatch):
    """What no living process can have written is taken over after a while, or at once."""
    monkeypatch.setattr("sgm_lightning.run.claims.Claims.__init__.__defaults__", (10.0, 0.5))
    before = images(tmp_path)
    (run / "chunks/chunk-000001.npz").unlink()
    (run / "merged.json").unlink()
    put(run / "claims/chunk-000001", content)
    if content == "FOLDER":
        assert again(tmp_path) == 1
        in_a_sentence(capsys)
        return
    assert again(tmp_path) == 0 and np.array_equal(images(tmp_path), before)


SCORES = ["", "index,score\n", "index,score\n0,x\n", "index,score\n0\n", "a,b\n1,2\n", "\x00\xff,\n", "FIFO", "FOLDER"]


@pytest.mark.parametrize("content", some(SCORES, often=(2, 6)))
def test_scores(run, tmp_path, capsys, content):
    put(run / "scores.csv", content)
    for args in (["show", str(run)],):
        assert main(args) == 1
        in_a_sentence(capsys)
    if content != "FOLDER":
        assert again(tmp_path, "--verify", "true") == 0
        assert main(["show", str(run)]) == 0


@pytest.mark.parametrize("damage", some(["zeroed", "cut", "header"], often=(0,)))
def test_samples_that_are_damaged_while_their_record_stands(run, tmp_path, capsys, damage):
    file, before = run / "samples.npz", images(tmp_path)
    data = bytearray(file.read_bytes())
    if damage == "header":
        data[:120] = bytes(120)
    file.write_bytes({"zeroed": bytes(len(data)), "cut": bytes(data[: len(data) // 2]), "header": bytes(data)}[damage])
    assert main(["show", str(run)]) == 1
    in_a_sentence(capsys)
    if damage != "cut":  # of another size, it is merged again
        assert again(tmp_path) == 1
        assert "--verify true" in in_a_sentence(capsys)
    assert again(tmp_path, "--verify", "true") == 0
    assert np.array_equal(images(tmp_path), before)


@pytest.mark.parametrize("content", some(["", "FIFO", "FOLDER"], often=(1,)))
def test_a_chunk(run, tmp_path, capsys, content):
    before = images(tmp_path)
    put(run / "chunks/chunk-000001.npz", content)
    (run / "merged.json").unlink()
    if content == "FOLDER":
        assert again(tmp_path) == 1
        in_a_sentence(capsys)
    else:
        assert again(tmp_path) == 0 and np.array_equal(images(tmp_path), before)
