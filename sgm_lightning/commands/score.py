"""`sgm-lightning score`: computes the minority scores of a data set, in parts that survive any stop."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sgm_lightning.backbones import Checkpoint
from sgm_lightning.commands.parsing import call
from sgm_lightning.diffusion import Condition, Denoiser, NoiseLevel, SampleNoise
from sgm_lightning.diffusion.noise import Purpose, generator
from sgm_lightning.errors import SGMError, reason_of
from sgm_lightning.files.atomic import make_folder, remove_leftovers
from sgm_lightning.files.digest import module_settings, weights_sha256
from sgm_lightning.images import Images
from sgm_lightning.images.cache import Broken, square_or_reason
from sgm_lightning.images.crop import Square
from sgm_lightning.images.levels import Levels, identity, level_of, thresholds
from sgm_lightning.progress import Progress
from sgm_lightning.run import DRAW_VERSION, Claims, Parts, RunDir
from sgm_lightning.run.chunk_file import DamagedChunk
from sgm_lightning.scores import LPIPS, MinorityScore
from sgm_lightning.signals import stop_signals


def score(
    backbone: Checkpoint,
    source: Images,
    output: str,
    score: MinorityScore | None = None,
    spacing: str | int | None = "100",
    num_levels: int = 100,
    channels: int | None = None,
    value_range: tuple[float, float] | None = None,
    max_broken: int = 0,
    batch_size: int = 50,
    part_size: int = 500,
    seed: int = 0,
    device: str = "auto",
) -> None:
    """Score every picture by the model, and assign it one of the minority levels (Um, Lee & Ye, ICLR 2024).

    The score of a picture is its mean distance to the model's reconstruction after noising. The work is done in parts, which
    are kept beside the output in `OUTPUT.parts`: repeating the command resumes, and several processes may share the work.

    Args:
        backbone: Model that scores the pictures.
        source: Pictures to score.
        output: `.safetensors` file to write, which `images.MinorityLevels` reads.
        score: Minority score of a picture; default as released: `LPIPS` on VGG, noise level at the ratio 0.6 of the chain,
            mean of 5 draws, x0_hat clipped.
        spacing: Steps of the chain.
        num_levels: Number of levels; the last one is the rarest.
        channels: Number of channels, 1 or 3, to convert to; by default the pictures must have as many as the model.
        value_range: Pixel values that become −1 and 1; default: the full range of the type.
        max_broken: Number of unreadable pictures that may be left without a score, in all parts together.
        batch_size: Number of pictures that are denoised at once.
        part_size: Number of pictures in a part.
        seed: Seed of the noise; the noise of picture i depends only on the seed and on i.
        device: Device to compute on: `auto` for a GPU if there is one, or torch's name of a device.

    Raises:
        SGMError: If an argument is out of its range, or the parts on the disk have other settings.
    """
    target = Path(output)
    _check(target, {"batch_size": batch_size, "part_size": part_size})
    remove_leftovers(target.parent)
    on = _device(device)
    denoiser = backbone.load().denoiser(spacing).to(on)
    if score is None:
        score = MinorityScore(LPIPS("vgg"), NoiseLevel(ratio=0.6), num_draws=5, clip=True)
    score = score.to(on).eval()
    score.check(denoiser)
    prepare = Square(denoiser.image_shape[1], channels or denoiser.image_shape[0], value_range=value_range)
    settings = {
        "draw_version": DRAW_VERSION,
        "weights": weights_sha256(denoiser.network.state_dict()),
        "score": module_settings(score),
        "source": identity(source),
        "prepare": {"channels": prepare.channels, "value_range": list(value_range or ()), "crop": "center"},
        "spacing": str(spacing),
        "seed": seed,
    }
    parts = RunDir(target.with_name(target.name + ".parts"))
    manifest = {**settings, "part_size": part_size, "device": on.type, "num_samples": len(source)}
    parts.open(manifest)
    work = _Scoring(denoiser, source, prepare, score, seed, batch_size, max_broken)
    scores = work.all(parts, part_size)
    if scores is None:
        print("Other processes have the rest in hand; the last one writes the levels.")
        return
    good = torch.isfinite(scores)
    at = thresholds(scores[good], num_levels)
    levels = torch.where(good, level_of(scores.nan_to_num(), at), -1)
    Levels(scores, levels, at, {**settings, "num_levels": num_levels}).write(target)
    low, middle, high = (float(scores[good].quantile(q)) for q in (0.0, 0.5, 1.0))
    print(
        f"Wrote {int(good.sum())} scores ({low:.4g} to {high:.4g}, median {middle:.4g}) in {num_levels} levels to {target}."
    )


class _Scoring:
    """Computes the scores of a source by rows."""

    def __init__(
        self,
        denoiser: Denoiser,
        source: Images,
        prepare: Square,
        score: MinorityScore,
        seed: int,
        batch_size: int,
        max_broken: int,
    ) -> None:
        self.denoiser, self.source, self.prepare, self.score = denoiser, source, prepare, score
        self.seed, self.batch_size = seed, batch_size
        self.broken = Broken(max_broken, "max_broken")
        self.progress: Progress | None = None
        self.counted: set[int] = set()  # finished parts whose broken pictures are noted
        self.labels = None if denoiser.num_classes is None else source.labels
        if denoiser.num_classes is not None and self.labels is None:
            raise SGMError(
                f"The model is conditional on {denoiser.num_classes} classes, but the pictures have none; use a source with "
                "labels."
            )

    def all(self, parts: RunDir, size: int) -> Tensor | None:
        """Return (N,) scores, or None while other processes have parts in hand."""
        total = len(self.source)
        count = math.ceil(total / size)
        claims = Claims(parts.claims)
        stop_signals.deferred = True
        try:
            missing = sorted(set(range(count)) - parts.discard_torn())
            self.progress = Progress("Scoring", total, "images", total - min(len(missing) * size, total))
            left = Parts(missing, parts.has, claims, lambda number: f"part-{number:06d}", wait=False)
            for number in left:
                self._count_broken(parts, size)
                scores = self.rows(range(number * size, min((number + 1) * size, total)))
                parts.write_chunk(number, score=scores.numpy())
        finally:
            stop_signals.deferred = False
            claims.close()
            if self.progress is not None:
                self.progress.close()
        if len(parts.finished(count)) < count:
            return None
        self._count_broken(parts, size)
        return torch.from_numpy(np.concatenate([self._scores(parts, number) for number in range(count)]))

    def _count_broken(self, parts: RunDir, size: int) -> None:
        """Count the unreadable pictures of earlier calls and other processes, which have no score in finished parts."""
        for number in sorted(parts.finished(math.ceil(len(self.source) / size)) - self.counted):
            self.counted.add(number)
            for row in np.flatnonzero(np.isnan(self._scores(parts, number))):
                self.broken.add(number * size + int(row), f"picture {number * size + int(row)} was not scored")

    @staticmethod
    def _scores(parts: RunDir, number: int) -> np.ndarray:
        try:
            found: np.ndarray = parts.read_chunk(number)["score"]
        except DamagedChunk:
            raise SGMError(f"A part in {parts.chunks} fails its checksum; remove that folder and score again.") from None
        return found

    def rows(self, rows: range) -> Tensor:
        """Return (n,) float32 scores, NaN where a picture cannot be read."""
        scores = torch.full((len(rows),), float("nan"))
        squares: list[tuple[int, np.ndarray]] = []
        for row in rows:
            square = square_or_reason(self.source, self.prepare, row)
            if isinstance(square, str):
                self.broken.add(row, square)
                continue
            if square.shape[2] != self.denoiser.image_shape[0]:
                raise SGMError(
                    f"The model has {self.denoiser.image_shape[0]} channels, got pictures of {square.shape[2]}; set "
                    "`channels`."
                )
            squares.append((row, self.prepare.tensor(square, generator(self.seed, row, Purpose.SCORE))))
        for start in range(0, len(squares), self.batch_size):
            stop_signals.check()
            batch = squares[start : start + self.batch_size]
            indices = [row for row, _ in batch]
            scores[[row - rows.start for row in indices]] = self._batch(indices, np.stack([x for _, x in batch]))
            if self.progress is not None:
                self.progress.advance(len(batch))
        return scores

    def _batch(self, indices: list[int], images: np.ndarray) -> Tensor:
        device = next(self.denoiser.network.parameters()).device
        x_0 = self.denoiser.model.codec.encode(torch.from_numpy(images).to(device))
        noise = SampleNoise(self.seed, indices, x_0.shape[1:], device)
        condition = None if self.labels is None else Condition(self.labels[indices].to(device))
        with torch.no_grad():
            return self.score(self.denoiser, x_0, noise, condition).cpu()


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise SGMError(
            f"device must be one that torch has here, got {name} ({reason_of(error)}); set `--device auto`."
        ) from None
    return device


def _check(target: Path, counts: dict[str, int]) -> None:
    if target.suffix != ".safetensors":
        raise SGMError(f"output must be a .safetensors file, got {target}; choose such a name.")
    for name, value in counts.items():
        if value < 1:
            raise SGMError(f"{name} must be at least 1, got {value}.")
    make_folder(target.parent, "choose another `output`")


def run(args: list[str]) -> None:
    """Run the command on its argument list."""
    call(score, args)
