"""What is measured of every image of every row, by any number of processes, and kept."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from sgm_lightning.compare.settings import CLAIMS, folder_name
from sgm_lightning.evaluation import Evaluation, Results
from sgm_lightning.evaluation.data import ImageBatch
from sgm_lightning.evaluation.module import EvaluationModule
from sgm_lightning.files.atomic import remove_leftovers
from sgm_lightning.files.digest import module_settings, weights_sha256
from sgm_lightning.images import Images
from sgm_lightning.run import Claims
from sgm_lightning.run.sidecar import Sidecars

Rows = dict[str, Tensor]


class Measuring:
    """Measures parts of the rows; a part that has been measured alike is not measured again.

    Each part of consecutive images is a file in the row's folder. Processes and hosts that share the output claim parts,
    and wait for one another's.

    Args:
        judge: Spaces and the one model that scores and bounds the images of all rows, with the same draws.
        output: Folder of the comparison.
        device: Where to.
        part: Images a part.
    """

    def __init__(self, judge: EvaluationModule, output: Path, device: torch.device, part: int = 50) -> None:
        self.judge, self.output, self.device, self.part = judge, output, device, part

    def __call__(self, sets: Mapping[str, Images], poll: float = 0.5) -> dict[str, Rows]:
        """Rows of every image of every set."""
        self.judge.load(sets)
        self.judge.to(self.device)
        key = self._key()
        claims = Claims(self.output / CLAIMS)
        claims.folder.mkdir(parents=True, exist_ok=True)
        parts = {name: range(-(-len(images) // self.part)) for name, images in sets.items()}
        left = [(name, number) for name, numbers in parts.items() for number in numbers]
        found: dict[tuple[str, int], Rows] = {}
        try:
            while left:
                waiting = []
                for name, number in left:
                    rows = self._part(key, name, number, sets[name], claims)
                    if rows is None:
                        waiting.append((name, number))
                    else:
                        found[name, number] = rows
                if len(waiting) == len(left):
                    time.sleep(poll)
                left = waiting
        finally:
            claims.close()
        return {
            name: _joined([found[name, n] for n in range(-(-len(images) // self.part))]) for name, images in sets.items()
        }

    def _part(self, key: str, name: str, number: int, images: Images, claims: Claims) -> Rows | None:
        """As kept, or measured now; None while another process measures it."""
        index = torch.arange(number * self.part, min((number + 1) * self.part, len(images)))
        pixels = images.read(index.tolist())
        digest = hashlib.sha256(pixels.numpy().tobytes()).hexdigest()
        folder = self.output / folder_name(name)
        folder.mkdir(exist_ok=True)
        remove_leftovers(folder / "measures")
        kept = Sidecars(folder, f"{key}-{digest}")
        claim = f"measure-{folder.name}-{number:06d}"
        if (rows := kept.read(number)) is None:
            if not claims.take(claim):
                return None
            try:
                if (rows := kept.read(number)) is None:  # measured between the look and the claim
                    print(f"Measuring {name}, images {index[0]} to {index[-1]}", flush=True)
                    labels = None if images.labels is None else images.labels[index].to(self.device)
                    batch = ImageBatch(0, index, pixels.to(self.device), labels, None)
                    rows = {column: row.cpu().numpy() for column, row in self.judge.rows(batch).items()}
                    kept.write(number, rows)
            finally:
                claims.release(claim)
        return {column: torch.from_numpy(row) for column, row in rows.items()}

    def _key(self) -> str:
        """Equal keys, equal rows of equal images."""
        judge = self.judge
        text: list[object] = [judge.measure.fingerprint(), judge.seed]
        if judge.denoiser is not None:
            process = judge.denoiser.process
            chain = {"alphas_cumprod": process.at("alphas_cumprod", torch.arange(process.num_steps))}
            text += [weights_sha256(judge.denoiser.network.state_dict()), weights_sha256(chain)]
            text += [judge.scorer.perturb_index(process, 0), judge.score_draws]
            text += [module_settings(judge.score_distance), [type(part).__name__ for part in judge.score_distance.modules()]]
        return hashlib.sha256(json.dumps(text).encode()).hexdigest()


def evaluate(judge: EvaluationModule, rows: Rows) -> Results:
    """Every metric of one row of the table."""
    evaluation = Evaluation(judge.spaces, False, judge.kid_subset_size)
    evaluation.update(rows, torch.arange(len(next(iter(rows.values())))))
    return evaluation.compute()


def _joined(parts: list[Rows]) -> Rows:
    return {column: torch.cat([part[column] for part in parts]) for column in parts[0]}
