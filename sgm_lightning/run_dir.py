"""The files of a run: chunks as they come, then one `samples.npz`, `scores.csv` and a grid."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from torch import Tensor

from sgm_lightning.errors import SGMError

# Raised whenever the same settings would draw other samples.
DRAW_VERSION = 1


def weights_sha256(weights: Mapping[str, Tensor]) -> str:
    """Fingerprint of a state dict: names and bytes in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(name.encode())
        digest.update(weights[name].detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def write_atomically(path: Path, write: Callable[[IO[bytes]], Any]) -> None:
    """Let `write` fill a temporary file beside `path`, flush it to the disk, and rename it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise SGMError(f"{path} cannot be written ({error.strerror}); free space or choose another run_dir.") from None


class RunDir:
    """A folder that holds one run. Nothing is written before `open`."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def open(self, manifest: dict[str, Any], write: bool = True) -> None:
        """Make the folder, or check that the run in it has the same manifest (but for N).

        Args:
            manifest: What determines the samples, JSON types only.
            write: Whether to record it. Every process of a job opens the folder, so that all fail alike; one records.

        Raises:
            SGMError: If the folder cannot be written, or holds a run with other settings; the differing keys are named.
        """
        try:
            self.chunks.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SGMError(f"run_dir {self.path} cannot be written ({error.strerror}); set `--run_dir`.") from None
        file = self.path / "manifest.json"
        if file.is_file():
            old = json.loads(file.read_text())
            skipped = {"num_samples", "version"}
            keys = sorted((set(old) | set(manifest)) - skipped)
            differing = [
                f"{key}: {old.get(key)!r} → {manifest.get(key)!r}" for key in keys if old.get(key) != manifest.get(key)
            ]
            if differing:
                raise SGMError(
                    f"run_dir {self.path} holds a run with other settings ({'; '.join(differing)[:600]}); choose another "
                    "run_dir, or repeat its settings to resume it."
                )
        if write:
            write_atomically(file, lambda f: f.write(json.dumps(manifest, indent=1).encode()))

    @property
    def chunks(self) -> Path:
        """Folder of the chunk files."""
        return self.path / "chunks"

    def chunk_file(self, number: int) -> Path:
        """File of one chunk."""
        return self.chunks / f"chunk-{number:06d}.npz"

    def finished(self, num_chunks: int) -> set[int]:
        """Chunks that are drawn already."""
        return {number for number in range(num_chunks) if self.chunk_file(number).is_file()}

    def write_chunk(self, number: int, **arrays: np.ndarray) -> None:
        """Write one chunk; it exists whole or not at all."""
        write_atomically(self.chunk_file(number), lambda file: np.savez(file, allow_pickle=False, **arrays))

    def read_chunk(self, number: int, names: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """The arrays of one chunk; of `names` alone where given, the others are not read."""
        with np.load(self.chunk_file(number), allow_pickle=False) as file:
            return {name: file[name] for name in names or file.files}

    def merge(self, num_samples: int, chunk_size: int) -> None:
        """`samples.npz` (ADM's layout; chunk by chunk, never whole in memory) and `scores.csv` out of the chunks."""
        numbers = range(-(-num_samples // chunk_size))
        first = self.read_chunk(0)
        self._merge_images("samples.npz", "images", num_samples, numbers, first)
        if "baseline_images" in first:
            self._merge_images("baseline.npz", "baseline_images", num_samples, numbers, first)
        columns = [name for name in ("index", "label", "score", "baseline_score") if name in first]

        def write(file: IO[bytes]) -> None:
            rows = [",".join(columns)]
            for number in numbers:
                chunk = self.read_chunk(number, columns)
                for row in zip(*(chunk[name] for name in columns), strict=True):
                    if int(row[0]) < num_samples:
                        rows.append(",".join(f"{v:.7g}" if isinstance(v, np.floating) else str(v) for v in row))
            file.write(("\n".join(rows) + "\n").encode())

        write_atomically(self.path / "scores.csv", write)

    def _merge_images(self, name: str, key: str, num_samples: int, numbers: range, first: dict[str, np.ndarray]) -> None:
        arrays = {"arr_0.npy": key}
        if "label" in first:
            arrays["arr_1.npy"] = "label"

        def write(file: IO[bytes]) -> None:
            with zipfile.ZipFile(file, "w") as archive:
                for member, source in arrays.items():
                    like = first[source]
                    info = zipfile.ZipInfo(member)  # a fixed date, so that equal samples are equal files
                    with archive.open(info, "w", force_zip64=True) as out:
                        header = {
                            "descr": like.dtype.str,
                            "fortran_order": False,
                            "shape": (num_samples, *like.shape[1:]),
                        }
                        np.lib.format.write_array_header_1_0(out, header)
                        left = num_samples
                        for number in numbers:
                            rows = self.read_chunk(number, [source])[source][:left]
                            out.write(np.ascontiguousarray(rows).tobytes())
                            left -= len(rows)

        write_atomically(self.path / name, write)

    def scores(self) -> dict[str, np.ndarray]:
        """The columns of `scores.csv`."""
        with open(self.path / "scores.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        return {name: np.array([float(row[name]) for row in rows]) for name in rows[0]}
