"""The folder of a run and its files."""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sgm_lightning.errors import SGMError, reason_of
from sgm_lightning.files.atomic import cannot_write, remove_leftovers, write
from sgm_lightning.files.regular import read_regular
from sgm_lightning.run.chunk_file import DamagedChunk, owner_of, pack, sealed_owner, unpack
from sgm_lightning.run.claims import Claims
from sgm_lightning.run.manifest import agree, check, fingerprint, read_manifest
from sgm_lightning.run.merge import SCORES, each_image, merge, read_columns, with_columns

_CHUNK = re.compile(r"chunk-(\d+)\.npz")


class RunDir:
    """A folder that holds one run. Nothing is written before `open` is called.

    Args:
        path: Path of the folder.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.chunks = self.path / "chunks"
        self.claims = self.path / "claims"
        # Figures of the run. The name is hidden because tools that read a folder of images, clean-fid among them, descend
        # into every other one and would count a figure as a sample.
        self.figures = self.path / ".figures"
        self._manifest = self.path / "manifest.json"
        self._fingerprint: str | None = None  # of the manifest on record
        self._sound: dict[int, tuple[int, int]] = {}  # size and time of each chunk file that is known to be this run's
        self._record = self.path / "merged.json"  # of the last merge: N, and the sizes of its files

    def open(self, manifest: dict[str, Any], defaults: dict[str, Any] | None = None) -> dict[str, Any]:
        """Make the folder, or check that its run has the same manifest (see `manifest.agree`).

        Raises:
            SGMError: If the folder cannot be written, or holds a run with other settings.
        """
        try:
            for folder in (self.chunks, self.claims):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SGMError(f"run_dir {self.path} cannot be written ({error.strerror}); set `--run_dir`.") from None
        for folder in (self.path, self.chunks, self.path / "measures", self.figures):
            remove_leftovers(folder)
        agreed = agree(self._manifest, manifest, defaults or {}, self._started())
        Claims(self.claims).remove_ended()
        self._fingerprint = fingerprint(agreed)
        return agreed

    def holds(self, manifest: dict[str, Any], defaults: dict[str, Any] | None = None) -> bool:
        """Return whether the folder holds a run with this manifest; write nothing.

        Raises:
            SGMError: If the folder holds a run that `open` would refuse to continue.
        """
        return self._manifest.is_file() and self._started() and bool(check(self._manifest, manifest, defaults or {}))

    def _started(self) -> bool:
        """Return whether the folder holds a result, or a process is at work in it."""
        if self._record.exists():
            return True
        drawn = self.chunks.is_dir() and any(_CHUNK.fullmatch(entry.name) for entry in self._listing())
        return drawn or Claims(self.claims).any_alive()

    def manifest(self) -> dict[str, Any]:
        """Return the recorded manifest.

        Raises:
            SGMError: If it is missing or damaged.
        """
        return read_manifest(self._manifest)

    def recorded(self, key: str) -> Any:
        """Return a value of the manifest on record; None where no run has been started."""
        return self.manifest().get(key) if self._manifest.is_file() and self._started() else None

    def chunk_file(self, number: int) -> Path:
        """Return the path of one chunk's file."""
        return self.chunks / f"chunk-{number:06d}.npz"

    def finished(self, num_chunks: int) -> set[int]:
        """Return the chunks whose file exists and has the right size."""
        return {number for number, sound in self._judged() if sound and number < num_chunks}

    def discard_torn(self) -> set[int]:
        """Remove the chunk files of a wrong size, so that `has` is False for them, and return the remaining chunks."""
        judged = list(self._judged())
        for number, sound in judged:
            if not sound:
                self.discard(number)
        return {number for number, sound in judged if sound}

    def _judged(self) -> Iterator[tuple[int, bool]]:
        """Yield every chunk that has a file, and whether the file has the right size.

        Of every file that is new since the last call, only the seal is read.

        Raises:
            SGMError: If a chunk was drawn by another run or is another chunk's.
        """
        for entry in self._listing():
            match = _CHUNK.fullmatch(entry.name)
            if match is None:
                continue
            number = int(match[1])
            try:
                stat, owner = entry.stat(), self._owner(number)
                state = (stat.st_size, stat.st_mtime_ns)
                sealed = owner if self._sound.get(number) == state else sealed_owner(entry.path, stat.st_size)
            except FileNotFoundError:  # found damaged by another process
                continue
            except OSError as error:
                raise _cannot_read(Path(entry.path), error) from None
            if sealed is not None and sealed != owner:
                raise SGMError(
                    f"{entry.path} was drawn by a run with other settings, or is another chunk; remove it, or choose "
                    "another run_dir."
                )
            if sealed is not None:
                self._sound[number] = state
            yield number, sealed is not None

    def _owner(self, number: int) -> str:
        """Return the owner of a chunk: the run, by all that determines its samples, and the chunk's number."""
        if self._fingerprint is None:
            self._fingerprint = fingerprint(self.manifest())
        return owner_of(self._fingerprint, number)

    def count(self) -> int:
        """Return the number of chunk files."""
        return sum(entry.name.endswith(".npz") for entry in self._listing())

    def has(self, number: int) -> bool:
        """Return whether the file of a chunk exists."""
        return os.path.exists(self.chunk_file(number))  # unlike Path.exists, False on a bad disk: claiming raises then

    def write_chunk(self, number: int, **arrays: np.ndarray) -> None:
        """Write one chunk, whole or not at all."""
        write(self.chunk_file(number), pack(arrays, self._owner(number)), new_folder=False)

    def read_chunk(self, number: int) -> dict[str, np.ndarray]:
        """Return the arrays of one chunk.

        Raises:
            DamagedChunk: If the chunk's checksum fails, or its file is gone.
        """
        try:
            return unpack(read_regular(self.chunk_file(number)), self._owner(number))
        except FileNotFoundError:
            raise DamagedChunk from None
        except OSError as error:  # of the disk, perhaps passing: the chunk itself may be sound
            raise _cannot_read(self.chunk_file(number), error) from None

    def discard(self, number: int) -> None:
        """Remove a damaged chunk."""
        try:
            self.chunk_file(number).unlink(missing_ok=True)
        except OSError as error:
            raise cannot_write(self.chunk_file(number), error) from None

    def merged(self, num_samples: int) -> bool:
        """Return whether the merged files hold at least N samples and have the recorded sizes; a run only grows."""
        try:
            record = json.loads(read_regular(self._record))
            sizes = {name: os.path.getsize(self.path / name) for name in record["bytes"]}
            return bool(record["num_samples"] >= num_samples and record["bytes"] == sizes)
        except (OSError, ValueError, KeyError, TypeError, RecursionError):  # it is missing or damaged
            return False

    def forget_merge(self) -> None:
        """Forget the last merge, so that the next one happens and checks every chunk although the merged files exist."""
        try:
            self._record.unlink(missing_ok=True)
        except OSError as error:
            raise cannot_write(self._record, error) from None

    def merge(self, num_samples: int, num_chunks: int, check: Callable[[], None] = lambda: None) -> set[int]:
        """Write `samples.npz` and its companions, checking every chunk's checksum.

        Args:
            num_samples: Number of samples, N.
            num_chunks: Number of chunks that hold the samples.
            check: Function that is called before every chunk; it may raise.

        Returns:
            The damaged chunks. They are removed, so that they are drawn again, and nothing is merged then.
        """

        def chunks() -> Iterator[dict[str, np.ndarray]]:
            for number in range(num_chunks):
                check()
                yield self.read_chunk(number)

        try:
            names = merge(self.path, num_samples, chunks)
        except DamagedChunk:
            return self._discard_damaged(num_chunks, check)
        except (KeyError, IndexError, TypeError, ValueError) as error:  # sealed as this run's, but by something else
            raise SGMError(
                f"The chunks in {self.chunks} must hold {num_samples} samples of one kind, but do not ({reason_of(error)}); "
                "remove those that another program wrote, then repeat the command."
            ) from None
        record = {"num_samples": num_samples, "bytes": {name: os.path.getsize(self.path / name) for name in names}}
        write(self._record, json.dumps(record), new_folder=False)
        return set()

    def _discard_damaged(self, num_chunks: int, check: Callable[[], None]) -> set[int]:
        damaged = set()
        for number in range(num_chunks):
            check()
            try:
                self.read_chunk(number)
            except DamagedChunk:
                self.discard(number)
                damaged.add(number)
        return damaged

    def _listing(self) -> Iterator[os.DirEntry[str]]:
        try:
            with os.scandir(self.chunks) as entries:
                yield from entries
        except OSError as error:
            raise _cannot_read(self.chunks, error) from None

    def each_image(self, name: str) -> Iterator[np.ndarray]:
        """Yield the images of `samples.npz` or `baseline.npz`, (H, W, C) uint8, and hold one of them at a time.

        Raises:
            SGMError: If the file is damaged.
        """
        try:
            yield from each_image(self.path / name)
        except Exception as error:  # of zipfile, zlib, struct and NumPy, whatever a damaged file makes them raise
            raise _damaged(self.path / name, error) from None

    def scores(self) -> dict[str, np.ndarray]:
        """Return the columns of `scores.csv`.

        Raises:
            SGMError: If the file is missing or damaged.
        """
        try:
            columns = read_columns(self.path / SCORES)
            return {"index": columns.pop("index"), "score": columns.pop("score"), **columns}
        except (OSError, ValueError, TypeError, KeyError, IndexError, AttributeError, csv.Error) as error:
            raise _damaged(self.path / SCORES, error) from None

    def add_scores(self, columns: Mapping[str, np.ndarray]) -> None:
        """Add columns to `scores.csv`, replacing those of the same name; rows are in the order of the samples."""
        text = with_columns(self.path / SCORES, columns)
        write(self.path / SCORES, text, new_folder=False)
        record = json.loads(self._record.read_text())
        record["bytes"][SCORES] = len(text.encode())
        write(self._record, json.dumps(record), new_folder=False)


def _damaged(path: Path, error: Exception) -> SGMError:
    reason = reason_of(error, 200)
    return SGMError(
        f"{path} is missing or damaged ({reason}); repeat the run's command with `--verify true`, which makes it again."
    )


def _cannot_read(path: Path, error: OSError) -> SGMError:
    return SGMError(f"{path} cannot be read ({error.strerror}); check the disk, then repeat the command to resume.")
