"""Measures every image of every row, in any number of processes, and keeps the results."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sgm_lightning.compare.settings import CLAIMS, folder_name
from sgm_lightning.evaluation import Evaluation, Results
from sgm_lightning.evaluation.data import ImageBatch
from sgm_lightning.evaluation.module import EvaluationModule
from sgm_lightning.files.atomic import remove_leftovers
from sgm_lightning.files.digest import module_settings, weights_sha256
from sgm_lightning.images import Images
from sgm_lightning.run import Claims, Parts
from sgm_lightning.run.sidecar import Sidecars

Rows = dict[str, Tensor]
Part = tuple[str, int]  # name of a row, and number of consecutive images in it


class Measuring:
    """Measures parts of the rows; a part that has been measured in the same way is not measured again.

    A part is a run of consecutive images, kept in a file in the row's folder. Processes and hosts that share the output
    claim parts, and wait for those of the others.

    Args:
        module: Spaces and the one model that scores and bounds the images of all rows, with the same draws.
        output: Folder of the comparison.
        device: Device to measure on.
        size: Number of images in a part.
    """

    def __init__(self, module: EvaluationModule, output: Path, device: torch.device, size: int = 50) -> None:
        self.module, self.output, self.device, self.size = module, output, device, size

    def __call__(self, sets: Mapping[str, Images], poll: float = 0.5) -> dict[str, Rows]:
        """Return the measured rows of every image of every set."""
        self.module.load(sets)
        self.module.to(self.device)
        claims = Claims(self.output / CLAIMS)
        claims.folder.mkdir(parents=True, exist_ok=True)
        parts = [(name, number) for name in sets for number in range(math.ceil(len(sets[name]) / self.size))]
        measured = _Measured(sets, self.output, self._key(), self.size)
        try:
            for part in Parts(parts, measured.look, claims, _claim, poll=poll):
                measured.keep(part, self._rows(part, sets))
        finally:
            claims.close()
        return {name: _joined([measured.rows[part] for part in parts if part[0] == name]) for name in sets}

    def _rows(self, part: Part, sets: Mapping[str, Images]) -> dict[str, np.ndarray]:
        """Measure one part."""
        name, number = part
        index = _indices(number, self.size, sets[name])
        print(f"Measuring {name}, images {index[0]} to {index[-1]}", flush=True)
        labels = sets[name].labels
        labels = None if labels is None else labels[index].to(self.device)
        batch = ImageBatch(0, index, sets[name].read(index.tolist()).to(self.device), labels, None)
        return {column: row.cpu().numpy() for column, row in self.module.rows(batch).items()}

    def _key(self) -> str:
        """Return a key of the measurement: equal keys mean equal rows of equal images."""
        module = self.module
        text: list[object] = [module.measurements.fingerprint(), module.seed]
        if module.denoiser is not None:
            process = module.denoiser.process
            chain = {"log_snr": torch.tensor(process.log_snr_list, dtype=torch.float64)}
            text += [weights_sha256(module.denoiser.network.state_dict()), weights_sha256(chain)]
            score = module.score
            text += [module.keep_scores, module_settings(score), [type(part).__name__ for part in score.modules()]]
        return hashlib.sha256(json.dumps(text).encode()).hexdigest()


def evaluate(module: EvaluationModule, rows: Rows) -> Results:
    """Compute every metric of one row of the table."""
    evaluation = Evaluation(module.spaces, False, module.kid_subset_size, module.measurements.reader)
    evaluation.update(rows, torch.arange(len(next(iter(rows.values())))))
    return evaluation.compute()


class _Measured:
    """Measured rows of parts, as they are kept beside the images; each file is read once.

    Args:
        sets: Images of every row, by name.
        output: Folder of the comparison.
        key: Digest of the measurement.
        size: Number of images in a part.
    """

    def __init__(self, sets: Mapping[str, Images], output: Path, key: str, size: int) -> None:
        self.sets, self.output, self.key, self.size = sets, output, key, size
        self.rows: dict[Part, dict[str, np.ndarray]] = {}
        self._files: dict[Part, Sidecars] = {}

    def look(self, part: Part) -> bool:
        """Return whether a part has been measured, by this process or another."""
        if part not in self.rows and (rows := self._file(part).read(part[1])) is not None:
            self.rows[part] = rows
        return part in self.rows

    def keep(self, part: Part, rows: dict[str, np.ndarray]) -> None:
        """Keep the rows of a part, and write them for other processes and later calls."""
        self.rows[part] = rows
        self._file(part).write(part[1], rows)

    def _file(self, part: Part) -> Sidecars:
        """Return the file of a part; its rows depend on the pixels as well as on the measurement."""
        if part not in self._files:
            name, number = part
            pixels = self.sets[name].read(_indices(number, self.size, self.sets[name]).tolist())
            folder = self.output / folder_name(name)
            remove_leftovers(folder / "measures")
            self._files[part] = Sidecars(folder, f"{self.key}-{hashlib.sha256(pixels.numpy().tobytes()).hexdigest()}")
        return self._files[part]


def _indices(number: int, size: int, images: Images) -> Tensor:
    return torch.arange(number * size, min((number + 1) * size, len(images)))


def _claim(part: Part) -> str:
    return f"measure-{folder_name(part[0])}-{part[1]:06d}"


def _joined(parts: list[dict[str, np.ndarray]]) -> Rows:
    return {column: torch.from_numpy(np.concatenate([part[column] for part in parts])) for column in parts[0]}
