"""Fill docs/results/methods.md from finished comparisons, and keep their pictures and numbers in docs/results/methods.

sgm-lightning compare --config fashion_mnist --output runs/compare
sgm-lightning compare --config fashion_mnist_classes --output runs/compare_classes
sgm-lightning compare --config self_guidance --output runs/compare_self_guidance
python benchmarks/methods.py
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from jsonargparse import auto_cli
from protocol import fill, markdown

from sgm_lightning.classifiers import TrainedClassifier
from sgm_lightning.diffusion.pixels import from_uint8
from sgm_lightning.images import RunImages

ROOT = Path(__file__).parent.parent
COLUMNS = {
    "classifier/avg_knn": "AvgkNN, classifier",
    "classifier/precision": "precision, classifier",
    "classifier/density": "density, classifier",
    "imagenet/precision": "precision, ImageNet",
    "imagenet/density": "density, ImageNet",
    "classifier/tail_frechet": "FD to the tail",
    "minority_score": "score",
    "nelbo": "NELBO",
}


def table(found: dict[str, Any]) -> str:
    """A line a row: what it costs, the primary endpoint with its paired difference, and what it is to be read beside."""
    primary, lines = found["primary"], []
    for name, row in found["rows"].items():
        metrics, cost = row["metrics"], row["cost"].get("evaluations")
        paired = found["differences"].get(name, {}).get(primary)
        between = "–" if paired is None else f"{paired['value']:+.2f} ({paired['low']:+.2f} … {paired['high']:+.2f})"
        cells = [_number(metrics.get(key)) for key in COLUMNS]
        lines.append([name, "–" if cost is None else f"{cost:.0f}", _number(metrics[primary]), between, *cells])
    return markdown(["", "evaluations", "AvgkNN, ImageNet", "paired (95 %)", *COLUMNS.values()], lines)


@torch.no_grad()
def shown_classes(folder: Path) -> dict[str, float]:
    """Share of each run's images that show the class asked for, by the committed classifier of classes on clean images."""
    file = ROOT / "checkpoints/fashion_mnist_class_classifiers/classes.safetensors"
    classifier = TrainedClassifier(str(file)).load().eval()
    shares = {}
    for run in sorted(file.parent for file in folder.glob("*/samples.npz")):
        images = RunImages(str(run))
        x = from_uint8(images.read(range(len(images))))
        found = classifier(x, torch.zeros(len(x), dtype=torch.long)).argmax(1)
        shares[run.name] = float((found == torch.as_tensor(images.labels)).float().mean())
    return shares


def main(
    compare: str = "runs/compare", classes: str = "runs/compare_classes", choices: str = "runs/compare_self_guidance"
) -> None:
    """Read the three comparisons, as far as they are there.

    Args:
        compare: Folder of the comparison of all methods.
        classes: Of what needs classes.
        choices: Of self-guidance's choices.
    """
    kept = ROOT / "docs/results/methods"
    kept.mkdir(exist_ok=True)
    tables = {}
    for name, folder in {"all": compare, "classes": classes, "choices": choices}.items():
        if not (Path(folder) / "table.json").is_file():
            print(f"{folder} holds no table.json: run its comparison first.")
            continue
        tables[name] = table(json.loads((Path(folder) / "table.json").read_text()))
        for file in ("plot.png", "grid.png", "table.csv", "differences.md"):
            shutil.copy(Path(folder) / file, kept / f"{name}_{file}")
    fill(ROOT / "docs/results/methods.md", tables)
    if "classes" in tables:
        print("Images of the class asked for:", shown_classes(Path(classes)))


def _number(metric: dict[str, Any] | None) -> str:
    if metric is None or metric["value"] is None:
        return "–"
    value, error = metric["value"], metric.get("standard_error")
    return f"{value:.3g}" if error is None else f"{value:.3g} ± {error:.1g}"


if __name__ == "__main__":
    auto_cli(main)
