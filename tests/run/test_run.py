"""A run on disk, shared and damaged: no network, no Lightning."""

import errno
import json
import os
import subprocess
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from support.processes import dead_pid

from sgm_lightning import SGMError
from sgm_lightning.files.process import Process, current
from sgm_lightning.run import ChunkQueue, Claims, RunDir
from sgm_lightning.run.chunk_file import DamagedChunk, owner_of, pack, unpack
from sgm_lightning.run.manifest import fingerprint

MANIFEST = {"seed": 0, "threads": None, "settings": {"guidance": {"scale": 1.0}}, "num_samples": 10, "version": "1"}


def arrays(number, size=3):
    index = np.arange(number * size, (number + 1) * size)
    images = np.random.default_rng(number).integers(0, 256, (size, 4, 4, 1), dtype=np.uint8)
    return {"images": images, "index": index, "label": index % 7, "score": index.astype(np.float32) / 3}


@pytest.fixture
def run(tmp_path):
    run = RunDir(tmp_path / "run")
    run.open(MANIFEST, {"threads": 2})
    return run


def draw(run, numbers):
    """Draw what a queue hands out."""
    for number in numbers:
        run.write_chunk(number, **arrays(number))


def write_claim(folder, name, **changes):
    owner = {**vars(current()), **changes}
    (folder / name).write_text(json.dumps({**owner, "token": "other"}))


# Chunk files.


def test_every_flipped_bit_is_found():
    owner = owner_of("a run", 1)
    data = pack(arrays(1), owner)
    assert np.array_equal(unpack(data, owner)["images"], arrays(1)["images"])
    with pytest.raises(DamagedChunk):
        unpack(data, owner_of("a run", 2))
    for position in range(0, len(data), 7):
        for bit in (0, 7):
            damaged = bytearray(data)
            damaged[position] ^= 1 << bit
            with pytest.raises(DamagedChunk):
                unpack(bytes(damaged), owner)
    for cut in (0, 1, 50, len(data) - 1):
        with pytest.raises(DamagedChunk):
            unpack(data[:cut], owner)


def test_the_scan_finds_what_is_missing_or_cut(run):
    draw(run, range(6))
    run.chunk_file(0).write_bytes(b"")
    run.chunk_file(2).write_bytes(run.chunk_file(2).read_bytes()[:-3])
    run.chunk_file(3).unlink()
    (run.chunks / ".chunk-000004.npz.host.1-1-1.tmp").write_bytes(b"torn")
    assert run.finished(6) == {1, 4, 5}
    assert run.finished(5) == {1, 4}
    assert run.has(0) and run.has(2)  # to ask changes nothing
    run.discard_torn()
    assert run.finished(6) == {1, 4, 5}
    assert not run.has(0) and not run.has(2)  # removed, so that no worker takes them for drawn


def test_merge_and_its_checks(run):
    draw(run, ChunkQueue(run, 10, 3))
    with np.load(run.path / "samples.npz") as file:
        assert np.array_equal(file["arr_0"], np.concatenate([arrays(n)["images"] for n in range(4)])[:10])
        assert file["arr_1"].tolist() == [i % 7 for i in range(10)]
    assert np.array_equal(next(run.each_image("samples.npz")), arrays(0)["images"][0])
    before = (run.path / "samples.npz").read_bytes()

    data = bytearray(run.chunk_file(1).read_bytes())
    data[200] ^= 4
    run.chunk_file(1).write_bytes(data)
    assert list(ChunkQueue(run, 10, 3)) == []  # merged already: a start looks at sizes
    run.forget_merge()
    drawn = []
    for number in ChunkQueue(run, 10, 3):
        drawn.append(number)
        draw(run, [number])
    assert drawn == [1] and (run.path / "samples.npz").read_bytes() == before

    (run.path / "samples.npz").write_bytes(before[:-1])
    assert list(ChunkQueue(run, 10, 3)) == [] and (run.path / "samples.npz").read_bytes() == before


def test_a_disk_that_keeps_damaging(run, monkeypatch):
    monkeypatch.setattr("sgm_lightning.run.run_dir.pack", lambda arrays, owner: pack(arrays, owner)[:-1] + b"?")
    with pytest.raises(SGMError, match=r"\[0, 1, 2, 3\].*checksum"):
        draw(run, ChunkQueue(run, 10, 3))
    assert not (run.path / "samples.npz").exists()


def test_a_run_only_grows(run):
    """A worker of an older, smaller N that is still around leaves the larger merge alone."""
    draw(run, ChunkQueue(run, 10, 3))
    larger = (run.path / "samples.npz").read_bytes()
    draw(run, ChunkQueue(run, 5, 3))
    assert (run.path / "samples.npz").read_bytes() == larger


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE, errno.EACCES])
def test_a_disk_that_cannot_be_read(run, monkeypatch, code):
    """One sentence that names the chunk; the chunk stays, it may be sound."""
    draw(run, range(4))

    def fail(path):
        raise OSError(code, os.strerror(code), str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", fail)
        with pytest.raises(SGMError, match=r"chunk-000000\.npz cannot be read"):
            draw(run, ChunkQueue(run, 10, 3))
    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", fail)
        with pytest.raises(SGMError, match="chunks cannot be read"):
            run.finished(4)
    assert run.finished(4) == {0, 1, 2, 3} and not (run.path / "samples.npz").exists()


# The manifest.


def test_manifest_adopts_threads_and_names_what_differs(run):
    file = run.path / "manifest.json"
    assert json.loads(file.read_text())["threads"] == 2
    assert run.open(MANIFEST, {"threads": 8})["threads"] == 2
    assert run.open({**MANIFEST, "threads": 2, "version": "2", "num_samples": 99}, {"threads": 8})["num_samples"] == 99
    assert run.open({**MANIFEST, "num_samples": 5}, {"threads": 8})["num_samples"] == 99
    draw(run, [0])
    changed = {**MANIFEST, "settings": {"guidance": {"scale": 2.0}}, "threads": 4}
    with pytest.raises(SGMError, match=r"settings\.guidance\.scale: 1\.0 → 2\.0; threads: 2 → 4"):
        run.open(changed, {"threads": 8})
    file.write_text("{")
    with pytest.raises(SGMError, match="cannot be read"):
        run.open(MANIFEST, {"threads": 8})


def test_a_run_without_results_protects_no_settings(run):
    """As after a first start that failed; a chunk, or a process at work, is something to protect."""
    other = {**MANIFEST, "seed": 1}
    write_claim(run.claims, "chunk-000000", pid=os.getpid())
    with pytest.raises(SGMError, match="seed: 0 → 1"):
        run.open(other, {"threads": 2})
    write_claim(run.claims, "chunk-000000", started=1)  # of a process that has ended
    assert not run.holds(other, {"threads": 2})
    assert run.open(other, {"threads": 2})["seed"] == 1 and run.manifest()["seed"] == 1
    draw(run, [0])
    with pytest.raises(SGMError, match="seed: 1 → 0"):
        run.open(MANIFEST, {"threads": 2})
    with pytest.raises(SGMError, match="seed: 1 → 0"):
        run.holds(MANIFEST, {"threads": 2})
    assert run.merge(3, 1) == set()
    run.discard(0)  # what was merged is a result without its chunks, too
    with pytest.raises(SGMError, match="seed: 1 → 0"):
        run.open(MANIFEST, {"threads": 2})


def test_a_run_of_other_noise_is_not_continued(tmp_path):
    old = RunDir(tmp_path / "run")
    old.open({**MANIFEST, "draw_version": 1, "version": "0.1.0"}, {"threads": 2})
    draw(old, [0])
    with pytest.raises(SGMError, match=r"draw version 1, .*choose another run_dir, or finish it with sgm_lightning 0\.1\.0"):
        RunDir(tmp_path / "run").open({**MANIFEST, "draw_version": 2, "seed": 1}, {"threads": 2})


def test_the_first_of_several_manifests_holds(tmp_path):
    found = []
    barrier = threading.Barrier(8)

    def open_run(threads):
        barrier.wait()
        found.append(RunDir(tmp_path / "run").open(MANIFEST, {"threads": threads})["threads"])

    workers = [threading.Thread(target=open_run, args=[i + 1]) for i in range(8)]
    [worker.start() for worker in workers]
    [worker.join() for worker in workers]
    assert len(found) == 8 and len(set(found)) == 1


# Claims.


def test_a_claim_excludes_and_is_given_back(run):
    first, second = Claims(run.claims), Claims(run.claims)
    assert first.take("a") and not second.take("a") and second.take("b")
    first.release("a")
    assert second.take("a")
    first.release("a")  # not the holder any more
    assert not first.take("a")
    second.close()
    assert not list(run.claims.iterdir())


@pytest.mark.parametrize(
    ("owner", "taken"),
    [
        ({"pid": "dead"}, True),
        ({"started": 1}, True),  # the pid was reused
        ({}, False),
        ({"host": "elsewhere"}, False),
        ({"host": "elsewhere", "job": "7", "restart": 0}, True),
        ({"host": "elsewhere", "job": "8", "restart": 0}, False),
        ({"host": "elsewhere", "job": "7", "restart": 1}, False),
    ],
)
def test_claims_of_the_certainly_dead_are_taken_at_once(run, monkeypatch, owner, taken):
    me = Process(**{**vars(current()), "job": "7", "restart": 1})
    monkeypatch.setattr("sgm_lightning.files.process.current", lambda: me)
    if owner.get("pid") == "dead":
        owner = {"pid": dead_pid()}
    write_claim(run.claims, "a", **owner)
    assert Claims(run.claims).take("a") is taken


def test_a_claim_without_heartbeat_is_dead(run):
    write_claim(run.claims, "silent", host="elsewhere")
    write_claim(run.claims, "beating", host="elsewhere")
    (run.claims / "empty").write_bytes(b"")  # its writer's disk was full
    claims, taken = Claims(run.claims, stale=0.3), set()
    for _ in range(5):
        assert not claims.take("beating")
        time.sleep(0.1)
        os.utime(run.claims / "beating")
        taken |= {name for name in ("silent", "empty") if claims.take(name)}
    assert taken == {"silent", "empty"}


def test_the_heartbeat_beats(run):
    claims = Claims(run.claims, heartbeat=0.05)
    claims.take("a")
    os.utime(run.claims / "a", (0, 0))
    time.sleep(0.3)
    assert time.time() - (run.claims / "a").stat().st_mtime < 5
    claims.close()


def test_a_fresh_claim_survives_a_slow_removal(run, monkeypatch):
    """Another worker removed the dead claim and made its own between our look and our removal."""
    write_claim(run.claims, "a", pid=dead_pid())
    claims = Claims(run.claims)
    remove = claims._remove

    def slow(path, content):
        write_claim(run.claims, "a", host="elsewhere")
        remove(path, content)

    monkeypatch.setattr(claims, "_remove", slow)
    assert not claims.take("a")
    assert json.loads((run.claims / "a").read_text())["host"] == "elsewhere"
    assert [path.name for path in run.claims.iterdir()] == ["a"]


# The queue.


@pytest.mark.xdist_group("processes")
def test_workers_share_a_run_evenly_and_merge_once(run, monkeypatch):
    drawn, merges = [], []
    real = RunDir.merge
    monkeypatch.setattr(RunDir, "merge", lambda *args: merges.append(1) or real(*args))

    def work(pause):
        for number in ChunkQueue(run, 120, 3, poll=0.02):
            time.sleep(pause)
            draw(run, [number])
            drawn.append((pause, number))

    workers = [threading.Thread(target=work, args=[pause]) for pause in (0.02, 0.02, 0.06)]
    [worker.start() for worker in workers]
    [worker.join() for worker in workers]
    assert sorted(number for _, number in drawn) == list(range(40)) and len(merges) == 1
    assert 2 <= sum(pause == 0.06 for pause, _ in drawn) <= 10  # the slow one took fewer
    assert not list(run.claims.iterdir())


def test_the_merge_sweeps_what_the_dead_left(run):
    draw(run, [0, 1, 2, 3, 9])
    (run.claims / "notes.txt").write_text("a stray file")
    (run.claims / ".chunk-000002.0123").write_text("a removal cut short")
    for name in ("chunk-000001", "chunk-000003", "chunk-000008"):
        write_claim(run.claims, name, host="elsewhere")
    assert list(ChunkQueue(run, 10, 3)) == []
    assert {path.name for path in run.claims.iterdir()} == {"chunk-000008", "notes.txt"}  # 8: of a job that extends the run


def test_a_waiting_worker_takes_over(run):
    draw(run, [0, 1, 2])
    write_claim(run.claims, "chunk-000003", host="elsewhere")
    start = time.monotonic()
    assert [
        run.write_chunk(n, **arrays(n)) or n for n in ChunkQueue(run, 10, 3, Claims(run.claims, stale=0.5), poll=0.1)
    ] == [3]
    assert time.monotonic() - start > 0.5


def test_a_waiting_worker_can_be_interrupted(run):
    write_claim(run.claims, "chunk-000000", host="elsewhere")

    def check():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(ChunkQueue(run, 3, 3, check=check))


def test_a_left_queue_gives_its_claim_back(run):
    queue = ChunkQueue(run, 10, 3)
    assert next(iter(queue)) == 0
    queue.close()
    assert not list(run.claims.iterdir())


# Bad disks.


def test_full_disk(small_disk):
    run = RunDir(small_disk / "run")
    run.open(MANIFEST, {"threads": 1})
    (small_disk / "ballast").write_bytes(bytes(200_000))
    with pytest.raises(SGMError, match=r"No space left.*make space"):
        draw(run, ChunkQueue(run, 300, 3))
    assert not list(run.chunks.glob("*.tmp"))
    drawn = run.finished(100)
    assert 0 < len(drawn) < 100
    os.unlink(small_disk / "ballast")
    resumed = []
    with pytest.raises(SGMError, match="No space left"):  # chunks and samples.npz together are too large: still one error
        (small_disk / "ballast").write_bytes(bytes(60_000))
        for number in ChunkQueue(run, 300, 3):
            draw(run, [number])
            resumed.append(number)
    os.unlink(small_disk / "ballast")
    draw(run, ChunkQueue(run, 90, 3))
    assert run.merged(90) and not set(resumed) & drawn


def test_read_only_disk(small_disk):
    run = RunDir(small_disk / "run")
    run.open(MANIFEST, {"threads": 1})
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(SGMError, match="Read-only file system"):
        draw(run, ChunkQueue(run, 10, 3))
    with pytest.raises(SGMError, match="Read-only file system"):
        RunDir(small_disk / "new").open(MANIFEST, {"threads": 1})


def test_vanished_folder(run):
    for number in ChunkQueue(run, 10, 3):
        subprocess.run(["rm", "-r", run.path], check=True)
        with pytest.raises(SGMError, match="No such file"):
            run.write_chunk(number, **arrays(number))
        break
    with pytest.raises(SGMError, match="No such file"):
        list(ChunkQueue(run, 10, 3))


@pytest.mark.xdist_group("processes")
@pytest.mark.slow
def test_a_hundred_thousand_chunks_are_scanned_in_seconds(run):
    owner = fingerprint(run.manifest())
    for number in range(100_000):
        run.chunk_file(number).write_bytes(pack({"images": np.zeros(1)}, owner_of(owner, number)))
    # The time of this process alone, on a processor and in the kernel: the clock runs for other programs as well.
    start = time.process_time()
    run.open(MANIFEST, {"threads": 2})
    assert len(run.finished(100_000)) == 100_000
    assert time.process_time() - start < 5


def test_a_new_start_removes_what_killed_processes_left(run):
    for name in ("merge", ".chunk-000001.0a1b"):
        write_claim(run.claims, name, pid=dead_pid())
    write_claim(run.claims, "chunk-000002")
    left = f".chunk-000000.npz.{current().host}.{dead_pid()}-5-1.tmp"
    for folder in ("measures", ".figures", "chunks"):
        (run.path / folder).mkdir(exist_ok=True)
        (run.path / folder / left).write_bytes(b"half")
    run.open(MANIFEST, {"threads": 2})
    assert sorted(path.name for path in run.claims.iterdir()) == ["chunk-000002"]
    assert not list(run.path.rglob("*.tmp"))


def test_a_claim_is_held_while_the_disk_does_not_answer(run, monkeypatch):
    claims = Claims(run.claims)
    assert claims.take("a") and claims.holds("a") and not claims.holds("b")

    def stale(*_, **__):
        raise OSError(errno.ESTALE, "Stale file handle")

    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", stale)
        assert claims.holds("a") and not claims.holds("b")
    (run.claims / "a").unlink()
    assert not claims.holds("a")
    claims.close()
