"""Files that are written whole or not at all."""

import errno
import os
from pathlib import Path

import pytest
from support.processes import dead_pid

from sgm_lightning import SGMError
from sgm_lightning.files.atomic import folder_atomically, remove_leftovers, write_atomically
from sgm_lightning.files.process import current


def test_leftovers_of_the_dead_are_removed(tmp_path):
    host = current().host.replace(".", "_")
    mine, dead = f".a.{host}.{os.getpid()}-{current().started}-1.tmp", f".a.{host}.{dead_pid()}-5-1.tmp"
    reused, elsewhere, old = f".a.{host}.{os.getpid()}-1-1.tmp", ".a.other.5-5-1.tmp", ".b.other.5-5-1.tmp"
    for name in (mine, dead, reused, elsewhere, old):
        (tmp_path / name).write_bytes(b"")
    os.utime(tmp_path / old, (0, 0))
    remove_leftovers(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {mine, elsewhere}


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "a"
    write_atomically(path, lambda file: file.write(b"old"))

    def fail(file):
        file.write(b"new")
        raise OSError(errno.EIO, "Input/output error")

    with pytest.raises(SGMError, match="Input/output error"):
        write_atomically(path, fail)
    assert path.read_bytes() == b"old" and [p.name for p in Path(tmp_path).iterdir()] == ["a"]
    assert not write_atomically(path, lambda file: file.write(b"new"), exclusive=True) and path.read_bytes() == b"old"


def test_a_folder_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a"
    with pytest.raises(SGMError, match="Input/output error"), folder_atomically(path) as folder:
        (folder / "first").write_bytes(b"")
        raise OSError(errno.EIO, "Input/output error")
    assert not list(tmp_path.iterdir())
    with folder_atomically(path) as folder:
        (folder / "first").write_bytes(b"1")
        assert not path.exists()
    assert (path / "first").read_bytes() == b"1" and [p.name for p in tmp_path.iterdir()] == ["a"]
    with pytest.raises(SGMError, match="not empty"), folder_atomically(path) as folder:
        (folder / "first").write_bytes(b"2")
    assert (path / "first").read_bytes() == b"1" and [p.name for p in tmp_path.iterdir()] == ["a"]

    left = tmp_path / f".b.{current().host}.{dead_pid()}-5-1.tmp"
    left.mkdir()
    (left / "first").write_bytes(b"3")
    remove_leftovers(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
