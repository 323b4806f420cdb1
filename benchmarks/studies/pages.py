"""Fills the pages of docs/results: a table for every marked block, from finished comparisons.

As a command, docs/results/methods.md from three of them, whose pictures and numbers are kept:

    sgm-lightning compare --config fashion_mnist --output runs/compare
    sgm-lightning compare --config fashion_mnist_classes --output runs/compare_classes
    sgm-lightning compare --config self_guidance --output runs/compare_self_guidance
    python -m benchmarks.studies.pages
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jsonargparse import auto_cli

from sgm_lightning.classifiers import TrainedClassifier
from sgm_lightning.commands.parsing import arguments, command_line
from sgm_lightning.compare import Anchor
from sgm_lightning.compare.command import compare
from sgm_lightning.compare.measuring import Measuring, Rows, evaluate
from sgm_lightning.compare.settings import folder_name, read_settings
from sgm_lightning.diffusion.pixels import from_uint8
from sgm_lightning.evaluation import Results
from sgm_lightning.evaluation.format import markdown
from sgm_lightning.evaluation.module import EvaluationModule
from sgm_lightning.images import Images, RunImages

DOCS = Path("docs/results")
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


@dataclass
class Opened:
    """A comparison that `compare` has finished, with what is known of every image.

    Attributes:
        evaluation: What was measured with.
        sets: Images of every row, the settings' after the anchors'.
        rows: What was measured of each image of a set.
    """

    evaluation: EvaluationModule
    sets: dict[str, Images]
    rows: dict[str, Rows]

    def results(self, rows: Rows) -> Results:
        """The numbers of a set."""
        return evaluate(self.evaluation, rows)


def opened(config: str | Path, output: str | Path, num_samples: int | None = None) -> Opened:
    """Open a comparison with the arguments that it was made with; rows that are not kept are measured again."""
    with command_line(["compare", "--config", str(config)]) as args:
        given = arguments(compare, args)
    names = [setting.name for setting in read_settings(given["settings"].content)]
    count = num_samples or given["base"].content["data"]["init_args"]["num_samples"]
    drawn: dict[str, Images] = {name: RunImages(str(Path(output, folder_name(name))), limit=count) for name in names}
    anchors = {
        name: anchor.images(drawn, given["evaluation"].spaces) if isinstance(anchor, Anchor) else anchor
        for name, anchor in (given["anchors"] or {}).items()
    }
    sets = {**anchors, **drawn}
    return Opened(given["evaluation"], sets, Measuring(given["evaluation"], Path(output), torch.device("cpu"))(sets))


def fill(page: Path, made: Mapping[str, str]) -> None:
    """Put each table between its markers in the page; print one that has none."""
    text = page.read_text()
    for name, table in made.items():
        start, end = f"<!-- {name} -->\n", f"<!-- end {name} -->"
        if start not in text:
            print(f"\n{name}\n{table}")
            continue
        before, _, rest = text.partition(start)
        text = before + start + table + "\n" + end + rest.partition(end)[2]
    page.write_text(text)


def number(value: float | None, error: float | None = None) -> str:
    """Three digits, and one of the standard error."""
    if value is None:
        return "–"
    return f"{value:.3g}" if error is None else f"{value:.3g} ± {error:.1g}"


def overview(found: dict[str, Any]) -> str:
    """A line a row: what it costs, the primary endpoint with its paired difference, and what it is to be read beside."""
    primary, lines = found["primary"], []
    for name, row in found["rows"].items():
        metrics, cost = row["metrics"], row["cost"].get("evaluations")
        paired = found["differences"].get(name, {}).get(primary)
        between = "–" if paired is None else f"{paired['value']:+.2f} ({paired['low']:+.2f} … {paired['high']:+.2f})"
        values = [metrics.get(key) or {"value": None} for key in (primary, *COLUMNS)]
        cells = [number(value["value"], value.get("standard_error")) for value in values]
        lines.append([name, "–" if cost is None else f"{cost:.0f}", cells[0], between, *cells[1:]])
    return markdown(["", "evaluations", "AvgkNN, ImageNet", "paired (95 %)", *COLUMNS.values()], lines)


@torch.no_grad()
def shown_classes(folder: Path) -> dict[str, float]:
    """Share of each run's images that show the class asked for, by the committed classifier of classes on clean images."""
    classifier = TrainedClassifier("checkpoints/fashion_mnist_class_classifiers/classes.safetensors").load().eval()
    shares = {}
    for run in sorted(file.parent for file in folder.glob("*/samples.npz")):
        images = RunImages(str(run))
        x = from_uint8(images.read(range(len(images))))
        found = classifier(x, torch.zeros(len(x), dtype=torch.long)).argmax(1)
        shares[run.name] = float((found == torch.as_tensor(images.labels)).float().mean())
    return shares


def methods(
    compare: str = "runs/compare", classes: str = "runs/compare_classes", choices: str = "runs/compare_self_guidance"
) -> None:
    """Read the three comparisons, as far as they are there.

    Args:
        compare: Folder of the comparison of all methods.
        classes: Of what needs classes.
        choices: Of self-guidance's choices.
    """
    kept = {"png": DOCS / "methods", "csv": Path("benchmarks/results/methods"), "md": Path("benchmarks/results/methods")}
    tables = {}
    for name, folder in {"all": compare, "classes": classes, "choices": choices}.items():
        if not Path(folder, "table.json").is_file():
            print(f"{folder} holds no table.json: run its comparison first.")
            continue
        tables[name] = overview(json.loads(Path(folder, "table.json").read_text()))
        for file in ("plot.png", "grid.png", "table.csv", "differences.md"):
            shutil.copy(Path(folder, file), kept[file.rpartition(".")[2]] / f"{name}_{file}")
    fill(DOCS / "methods.md", tables)
    if "classes" in tables:
        print("Images of the class asked for:", shown_classes(Path(classes)))


if __name__ == "__main__":
    auto_cli(methods)
