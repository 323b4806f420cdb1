"""Do rare samples help a classifier's rare classes? Fashion-MNIST, imbalance 100.

    python -m benchmarks.studies.augmentation

The diffusion model and every classifier are trained on the imbalanced split alone. The classifier in `checkpoints/`, which
has seen balanced data, only judges what finished samples show. Repeat the command to go on where it was stopped.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from jsonargparse import auto_cli

from benchmarks.studies.train_classifier import fit_classifier
from sgm_lightning.cli import main
from sgm_lightning.features import FashionMNISTClassifier, Normalise
from sgm_lightning.images import FashionMNIST, LongTail, RunImages

Pools = dict[str, tuple[torch.Tensor, torch.Tensor]]  # images and labels by method
TAIL = [5, 6, 7, 8, 9]
STEPS, INTERVAL, DRAWS = 50, 5, 4
GUIDED_COST = STEPS + 2 * STEPS // INTERVAL  # a guided step costs one more forward, and a backward that costs as much
CHOSEN_COST = STEPS + DRAWS  # the score's forwards
BATCH = 128


def augmentation(
    output: str = "runs/augmentation",
    per_class: int = 250,
    unconditional: int = 350,
    seeds: int = 3,
    epochs: int = 5,
    threads: int = 1,
) -> None:
    """Train, sample, augment, compare.

    Args:
        output: Folder of all runs.
        per_class: Self-guided images of each of the five rare classes; the other methods get as many network calls.
        unconditional: Self-guided images drawn without a class, to see who is in them.
        seeds: Classifiers of every kind.
        epochs: Passes over the imbalanced split; classifiers of augmented data take as many steps.
        threads: CPU threads.
    """
    torch.set_num_threads(threads)
    root = Path(output)
    model = root / "model"
    run(["fit", "--config", "long_tail", "--run_dir", str(model)])
    backbone = {"class_path": "TrainedCheckpoint", "init_args": {"path": str(model)}}
    free = {"class_path": "DiffusersCheckpoint", "init_args": {"path": str(root / "unconditional")}}
    if not (root / "unconditional").is_dir():
        source = ["--backbone", "TrainedCheckpoint", "--backbone.path", str(model)]
        run(["convert", *source, "--unconditional", "true", "--output", str(root / "unconditional")])
    pools = {}
    for name, origin, count, labels in (
        ("rare_classes", backbone, per_class * len(TAIL), TAIL),
        ("no_class", free, unconditional, "none"),
    ):
        ancestral = draw(root / f"{name}_ancestral", origin, count * GUIDED_COST // STEPS, labels, False, threads)
        guided = draw(root / f"{name}_guided", origin, count, labels, True, threads)
        pools[name] = methods(ancestral, guided, count)
    shares = who(pools["no_class"])
    fidelity = {name: np.mean(judge(images) == labels.numpy()) for name, (images, labels) in pools["rare_classes"].items()}
    found = classify(root / "accuracy.json", pools["rare_classes"], seeds, epochs)
    table = report(found, shares, fidelity)
    (root / "table.md").write_text(table)
    print(table)


def run(args: list[str]) -> None:
    if status := main(args):
        raise SystemExit(status)


def draw(folder: Path, backbone: dict[str, Any], count: int, labels: object, guided: bool, threads: int) -> RunImages:
    """One run of `predict`."""
    score = {"level": {"ratio": 0.8}}
    arguments = {"scale": 0.5, "window": {"interval": INTERVAL}, "score": score}
    guidance = {"class_path": "SelfGuidance", "init_args": arguments} if guided else None
    config = {
        "model": {
            "backbone": backbone, "spacing": STEPS, "guidance": guidance, "threads": threads,
            "score": {**score, "num_draws": 1 if guided else DRAWS},
        },
        "data": {"class_path": "SampleIndices", "init_args": {
            "num_samples": count, "chunk_size": 50, "seed": int(guided), "labels": labels}},
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    file = folder.with_suffix(".yaml")
    file.write_text(yaml.safe_dump(config))
    run(["predict", "--config", str(file), "--run_dir", str(folder)])
    return RunImages(str(folder))


def methods(ancestral: RunImages, guided: RunImages, count: int) -> Pools:
    """Images and labels of each method, at equal cost."""

    def labels(images: RunImages) -> torch.Tensor:
        return torch.full((len(images),), -1) if images.labels is None else images.labels

    assert ancestral.scores is not None
    kinds = len(labels(ancestral).unique())
    pool = count * GUIDED_COST // CHOSEN_COST // kinds
    kept = []
    for kind in labels(ancestral).unique():
        rows = (labels(ancestral) == kind).nonzero()[:pool, 0]
        kept.append(rows[ancestral.scores[rows].argsort(descending=True)[: count // kinds]])
    best = torch.cat(kept)
    return {
        "ancestral": (ancestral.images, labels(ancestral)),
        "best-of-K": (ancestral.images[best], labels(ancestral)[best]),
        "self-guided": (guided.images, labels(guided)),
    }


def judge(images: torch.Tensor) -> np.ndarray:
    """Class that a classifier of balanced data sees."""
    return FashionMNISTClassifier().classes(images).argmax(1).numpy()


def who(pools: Pools) -> dict[str, np.ndarray]:
    return {name: np.bincount(judge(images), minlength=10) / len(images) for name, (images, _) in pools.items()}


def classify(file: Path, pools: Pools, seeds: int, epochs: int) -> dict[str, list[list[float]]]:
    """Test accuracy by class, of every arm and seed."""
    train = FashionMNIST("train")
    split = LongTail(train, 100.0)
    assert train.labels is not None
    rows = torch.from_numpy(split.indices)
    images, labels = train.images[rows], train.labels[rows]
    steps = epochs * len(images) // BATCH
    found = json.loads(file.read_text()) if file.is_file() else {}
    for seed in range(seeds):
        for arm in ("none", "oversampling", *pools):
            if len(found.get(arm, [])) > seed:
                continue
            torch.manual_seed(seed)
            x, y = images, labels
            if arm in pools:
                x, y = torch.cat([x, pools[arm][0]]), torch.cat([y, pools[arm][1]])
            if arm == "oversampling":
                order = torch.multinomial((1 / labels.bincount())[labels], steps * BATCH, replacement=True)
            else:
                order = torch.cat([torch.randperm(len(x)) for _ in range(steps * BATCH // len(x) + 1)])[: steps * BATCH]
            found.setdefault(arm, []).append(accuracies(fit_classifier(x, y, order.split(BATCH), steps)))
            file.write_text(json.dumps(found))
            print(f"{arm}, seed {seed}: rare classes {np.mean(np.array(found[arm][-1])[TAIL]):.4f}", flush=True)
    return found


@torch.no_grad()
def accuracies(network: torch.nn.Module) -> list[float]:
    test, prepare = FashionMNIST("test"), Normalise(channels=1)
    said = torch.cat([network(prepare(images)).argmax(1) for _, images in test.batches(500)])
    return [float((said[test.labels == kind] == kind).double().mean()) for kind in range(10)]


def report(found: dict[str, list[list[float]]], shares: dict[str, np.ndarray], fidelity: dict[str, float]) -> str:
    """The tables, in Markdown."""
    lines = [
        "| training set | rare classes (5 … 9) | all classes | rare, minus none | label seen by the judge |",
        "|---|---|---|---|---|",
    ]
    plain = np.array(found["none"])
    for arm, rows in found.items():
        values = np.array(rows)
        rare, every = values[:, TAIL].mean(1), values.mean(1)
        gain = rare - plain[:, TAIL].mean(1)
        judged = f"{fidelity[arm]:.3f}" if arm in fidelity else ""
        lines.append(f"| {arm} | {spread(rare)} | {spread(every)} | {spread(gain) if arm != 'none' else ''} | {judged} |")
    lines += ["", "| drawn without a class | " + " | ".join(map(str, range(10))) + " | 5 … 9 |", "|---" * 12 + "|"]
    counts = np.bincount(np.asarray(LongTail(FashionMNIST("train"), 100.0).labels))
    for name, share in {"training split": counts / counts.sum(), **shares}.items():
        cells = " | ".join(f"{100 * value:.1f}" for value in share)
        lines.append(f"| {name} | {cells} | {100 * share[TAIL].sum():.1f} |")
    return "\n".join(lines) + "\n"


def spread(values: np.ndarray) -> str:
    """Mean and standard error over seeds."""
    return f"{values.mean():.4f} ± {values.std(ddof=1) / len(values) ** 0.5:.4f}" if len(values) > 1 else f"{values[0]:.4f}"


if __name__ == "__main__":
    auto_cli(augmentation)
