"""Calibrates a reader of the emoji world: `python -m benchmarks.studies.emoji_reader --run RUN --output FOLDER`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jsonargparse import auto_cli
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from sgm_lightning.evaluation.format import markdown
from sgm_lightning.images import EmojiWorld
from sgm_lightning.world import FACTORS, EmojiReader
from sgm_lightning.world.degrade import degrade
from sgm_lightning.world.reader import FILE

_BATCH = 256


def build(run: str, output: str, count: int = 10_000) -> None:
    """Fit the temperatures, count the confusions, write the reader, and print what its card says.

    Temperatures are fitted on degraded pictures of the validation split; what is printed comes from the test split.

    Args:
        run: Run folder of `fit_reader`.
        output: Folder to write `reader.safetensors` and `confusion.md` into.
        count: Number of pictures of each split.
    """
    reader = EmojiReader(run, "uniform", unreality=False)
    logits, targets, _ = seen(reader, "validation", count, degraded=True)
    reader.temperature = torch.tensor([temperature(logits[name], targets[name]) for name in FACTORS])
    print("temperatures:", dict(zip(FACTORS, [round(float(t), 3) for t in reader.temperature], strict=True)))
    clean, _, factors = seen(reader, "test", count, degraded=False)
    for column, (name, values) in enumerate(FACTORS.items()):
        read = clean[name].argmax(1)
        counts = torch.zeros(len(values), len(values))
        counts.index_put_((factors[:, column], read), torch.ones(count), accumulate=True)
        setattr(reader, f"confusion_{name}", counts)
    logits, targets, _ = seen(reader, "test", count, degraded=True)
    lines = []
    for column, name in enumerate(FACTORS):
        scale = float(reader.temperature[column])
        right = (clean[name].argmax(1) == factors[:, column]).double().mean()
        sure = functional.softmax(clean[name] / scale, 1).max(1).values
        lines.append(
            [
                name,
                f"{right:.4f}",
                f"{(sure >= 0.8).double().mean():.4f}",
                f"{calibration_error(clean[name] / scale, functional.one_hot(factors[:, column], len(FACTORS[name]))):.4f}",
                f"{calibration_error(logits[name] / scale, targets[name]):.4f}",
                f"{calibration_error(logits[name], targets[name]):.4f}",
            ]
        )
    heads = ["factor", "accuracy", "probability ≥ 0.8", "ECE, clean", "ECE, degraded", "the same, T = 1"]
    print(markdown(heads, lines))
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: value.contiguous() for name, value in reader.state_dict().items()}, folder / FILE)
    (folder / "confusion.md").write_text(confusions(reader))


def seen(reader: EmojiReader, split: str, count: int, degraded: bool) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor]:
    """Return logits and target probabilities, (N, K) by factor, and the (N, 4) factors, of pictures of the uniform world."""
    images = EmojiWorld(split, seed=2, world="uniform", count=count)  # type: ignore[arg-type]
    factors, rng = torch.from_numpy(images.factors), np.random.default_rng(0)
    logits: dict[str, list[Tensor]] = {name: [] for name in FACTORS}
    targets: dict[str, list[Tensor]] = {name: [] for name in FACTORS}
    for rows, batch in images.batches(_BATCH):
        x = batch.float() / 127.5 - 1
        if degraded:
            damaged = degrade(x, factors[rows], rng)
            x = damaged.images
            for name, target in damaged.targets.items():
                targets[name].append(target)
        with torch.no_grad():
            found = reader.network(x)
        for name, value in found.logits.items():
            logits[name].append(value)
    return (
        {name: torch.cat(parts) for name, parts in logits.items()},
        {name: torch.cat(parts) for name, parts in targets.items()} if degraded else {},
        factors,
    )


def temperature(logits: Tensor, targets: Tensor) -> float:
    """Return the temperature that minimises the cross-entropy, by golden sections of its logarithm."""
    low, high, golden = -2.0, 2.0, (5**0.5 - 1) / 2

    def loss(power: float) -> float:
        return float(functional.cross_entropy(logits.double() / np.exp(power), targets.double()))

    for _ in range(40):
        left, right = high - golden * (high - low), low + golden * (high - low)
        low, high = (low, right) if loss(left) < loss(right) else (left, high)
    return float(np.exp((low + high) / 2))


def calibration_error(logits: Tensor, targets: Tensor, bins: int = 15) -> float:
    """Return the expected calibration error (Guo et al. 2017): |probability − target| of the likeliest value, over bins."""
    sure, value = functional.softmax(logits.double(), 1).max(1)
    right = targets.double().gather(1, value[:, None])[:, 0]
    number = (sure * bins).long().clamp(max=bins - 1)
    gaps = [(sure - right)[number == i].sum().abs() for i in range(bins)]
    return float(torch.stack(gaps).sum() / len(sure))


def confusions(reader: EmojiReader) -> str:
    """Return every confusion as a table: the true value, the value that was read, and how often."""
    lines = []
    for name, values in FACTORS.items():
        counts = getattr(reader, f"confusion_{name}")
        for true, read in counts.nonzero().tolist():
            if true != read:
                share = counts[true, read] / counts[true].sum()
                lines.append([name, values[true], values[read], f"{int(counts[true, read])}", f"{share:.4f}"])
    lines.sort(key=lambda line: -int(line[3]))
    return markdown(["factor", "is", "was read as", "times", "share"], lines) + "\n"


if __name__ == "__main__":
    auto_cli(build, as_positional=False)
