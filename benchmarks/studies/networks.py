"""How good is the committed Fashion-MNIST network? `python -m benchmarks.studies.networks`.

Ancestral samples of every network against real images, and the likelihood bound of held-out ones under it. Repeat the
command to go on where it was stopped. With `--training '[RUN_DIR, …]'`, the curves of that training are drawn, too.
"""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from jsonargparse import auto_cli
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from sgm_lightning.cli import main

MEASURE = ["test", "--config", "fashion_mnist"]
NETWORKS = {"fashion_mnist_28": "checkpoints/fashion_mnist_28"}
COLUMNS = {"FD": "frechet", "precision": "precision", "density": "density", "recall": "recall", "AvgkNN": "avg_knn"}


def measure(
    networks: dict[str, str] = NETWORKS,
    output: str = "runs/networks",
    num_samples: int = 2000,
    spacing: int = 100,
    threads: int = 1,
    training: list[str] | None = None,
) -> None:
    """Draw, measure, print the table.

    Args:
        networks: Folders in diffusers' layout by name.
        output: Folder of all runs.
        num_samples: Samples of every network, and held-out images.
        spacing: Steps of the sampling chain.
        threads: CPU threads.
        training: Run folders of a training, part after part, whose curves are drawn to `training.png`.
    """
    torch.set_num_threads(threads)
    root = Path(output)
    root.mkdir(parents=True, exist_ok=True)
    if training:
        curves([Path(part) for part in training], root / "training.png")
    real = metrics_of(root / "real", [*held_out(num_samples), "--model.backbone", "null"])
    print("| | N | held-out NELBO (bits/dim) | " + " | ".join(COLUMNS) + " |\n|---|--:|--:|" + "--:|" * len(COLUMNS))
    print(row(f"{num_samples} other real images", num_samples, None, real), flush=True)
    for name, path in networks.items():
        folder = root / name
        draw(folder, path, num_samples, spacing)
        drawn = metrics_of(folder / "test", ["--data.images", str(folder), "--model.backbone", "null"])
        chosen = ["--model.backbone.init_args.path", path, "--model.spaces", "null", "--model.score", "null"]
        bound = metrics_of(folder / "held_out", [*held_out(num_samples), *chosen])["nelbo"]
        print(row(name, num_samples, bound, drawn), flush=True)


def draw(folder: Path, path: str, num_samples: int, spacing: int) -> None:
    """Ancestral samples into a run folder."""
    plain = ["--model.guidance", "null", "--model.baseline", "false", "--model.score.num_draws", "1"]
    size = ["--data.num_samples", str(num_samples), "--data.chunk_size", "100", "--model.spacing", str(spacing)]
    run(["predict", "--config", "fashion_mnist", "--run_dir", str(folder), "--trainer.callbacks", "null",
         "--model.backbone.init_args.path", path, *plain, *size])  # fmt: skip


def held_out(count: int) -> list[str]:
    """The first test images as the set to measure."""
    images = {"class_path": "sgm_lightning.images.FashionMNIST", "init_args": {"part": "test", "limit": count}}
    return ["--data.sets", json.dumps({"real": images})]


def metrics_of(folder: Path, arguments: list[str]) -> dict[str, dict[str, float]]:
    """The metrics of the one set in question; taken once."""
    file = folder / "metrics.json"
    if not file.is_file():
        run([*MEASURE, *arguments, "--output", str(folder)])
    (found,) = json.loads(file.read_text())["sets"].values()
    return found["metrics"]


def row(name: str, count: int, bound: dict[str, float] | None, metrics: dict[str, dict[str, float]]) -> str:
    """One line of the table, in the classifier's space."""
    told = "" if bound is None else f"{bound['value']:.3f} ± {bound['standard_error']:.3f}"
    values = [f"{metrics[f'classifier/{key}']['value']:.3g}" for key in COLUMNS.values()]
    return f"| {name} | {count} | {told} | " + " | ".join(values) + " |"


def curves(parts: list[Path], file: Path) -> None:
    """Loss, held-out loss by quarter of the chain, and the bound, over the steps."""
    points: dict[str, dict[int, float]] = {}
    begin = 0
    for part in parts:
        for events in sorted((part / "tensorboard").glob("events*")):
            accumulator = EventAccumulator(str(events), size_guidance={"scalars": 0}).Reload()
            for tag in accumulator.Tags()["scalars"]:
                found = {begin + event.step + 1: event.value for event in accumulator.Scalars(tag)}
                points.setdefault(tag, {}).update(found)
        begin = max(points["train/simple"])
    figure, axes = plt.subplots(1, 3, figsize=(11, 3), layout="constrained")
    axes[0].plot(*zip(*sorted(points["train/simple"].items()), strict=True), color="0.75", label="training batch")
    axes[0].plot(*zip(*sorted(points["held_out/loss"].items()), strict=True), marker="o", label="held out, EMA")
    for quarter in range(1, 5):
        values = sorted(points[f"held_out/loss_quarter_{quarter}"].items())
        axes[1].plot([s for s, _ in values], [v / values[0][1] for _, v in values], marker="o", label=f"quarter {quarter}")
    axes[2].plot(*zip(*sorted(points["held_out/nelbo"].items()), strict=True), marker="o", label="held out, EMA")
    for axis, label in zip(
        axes,
        ("squared error of the noise", "held out, by quarter, over its first", "NELBO (bits/dim)"),
        strict=True,
    ):
        axis.set_xlabel("step")
        axis.set_title(label, fontsize=10)
        axis.legend(fontsize=8)
    figure.savefig(file, dpi=110)
    plt.close(figure)


def run(arguments: list[str]) -> None:
    if status := main(arguments):
        raise SystemExit(status)


if __name__ == "__main__":
    auto_cli(measure)
