"""Which sampler finds what is rare, where the truth is known?

`python -m benchmarks.studies.known_frequencies draw` runs a comparison in one of the two worlds, with the network of that
world; it resumes. `… report` fills the tables of docs/results/known_frequencies.md from what is finished.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import yaml
from jsonargparse import auto_cli

from benchmarks.studies.pages import fill, number
from sgm_lightning.cli import main
from sgm_lightning.errors import SGMError
from sgm_lightning.evaluation.format import markdown
from sgm_lightning.files.atomic import write
from sgm_lightning.files.locate import find_config

CONFIGS = {
    "strengths": "benchmarks/studies/emoji_strengths.yaml",
    "methods": "compare/emoji_world",
    "finalists": "benchmarks/studies/emoji_finalists.yaml",
}
NETWORKS = {"normal": "checkpoints/emoji_world_32", "reversed": "checkpoints/emoji_world_32_reversed"}
PAGE = Path("docs/results/known_frequencies.md")
RARITY, RAREST, UNREADABLE, UNREALITY = (f"world/{name}" for name in ("true_rarity", "rarest", "unreadable", "unreality"))
# Written down before any result: by how much a method may be less real than plain sampling, with 95 % confidence.
MARGINS = {UNREADABLE: 0.03, UNREALITY: 2.0}


def draw(
    comparison: Literal["strengths", "methods", "finalists"] = "methods",
    world: Literal["normal", "reversed"] = "normal",
    output: str = "runs/known_frequencies",
    num_samples: int | None = None,
) -> None:
    """Draw and measure a comparison in a world.

    Args:
        comparison: Settings to compare.
        world: World of the network, the truth and the real pictures.
        output: Folder; each comparison has one of its own inside.
        num_samples: Number of samples of each setting; default: that of the configuration.
    """
    file = find_config(CONFIGS[comparison])
    if file is None:
        raise SGMError(f"The comparison {comparison} needs {CONFIGS[comparison]}; start from the repository's root.")
    content = in_world(yaml.safe_load(Path(file).read_text()), world)
    folder = Path(output, f"{comparison}_{world}")
    config = Path(output, f"{comparison}_{world}.yaml")
    write(config, yaml.safe_dump(content, sort_keys=False))
    more = [] if num_samples is None else ["--num_samples", str(num_samples)]
    raise SystemExit(main(["compare", "--config", str(config), "--output", str(folder), *more]))


def in_world(content: dict[str, Any], world: str) -> dict[str, Any]:
    """Return the comparison with network, reader and real pictures of a world."""
    content["base"]["model"]["backbone"]["init_args"]["path"] = NETWORKS[world]
    content["evaluation"]["reader"]["init_args"]["world"] = world
    for anchor in content["anchors"].values():
        if anchor["class_path"].endswith("EmojiWorld"):
            anchor["init_args"]["world"] = world
    return content


def report(output: str = "runs/known_frequencies") -> None:
    """Fill the page's tables.

    Args:
        output: Folder of `draw`.
    """
    tables = {}
    for comparison in CONFIGS:
        for world in NETWORKS:
            file = Path(output, f"{comparison}_{world}", "table.json")
            if file.is_file():
                tables[f"{comparison}, {world}"] = table(json.loads(file.read_text()))
    fill(PAGE, tables)


def table(found: dict[str, Any]) -> str:
    """Return a line for every row: cost, rarity and realism, the paired differences, and whether it keeps the margins."""
    heads = ["", "N", "evaluations", "true rarity", "paired", "rarest tenth", "unreadable", "paired", "unreality", "paired"]
    lines = []
    for name, row in found["rows"].items():
        cost, differences = row["cost"].get("evaluations"), found["differences"].get(name, {})
        cells = [str(row["num_samples"]), "–" if cost is None else f"{cost:.0f}"]
        for key in (RARITY, RAREST, UNREADABLE, UNREALITY):
            value = row["metrics"][key]
            cells.append(number(value["value"], value.get("standard_error")))
            if key != RAREST:
                cells.append(paired(differences.get(key)))
        lines.append([name, *cells, verdict(differences)])
    return markdown([*heads, "rarer, inside the margins"], lines)


def paired(difference: dict[str, Any] | None) -> str:
    """Return a paired difference with its standard error."""
    return "–" if difference is None else f"{difference['value']:+.2f} ± {difference['standard_error']:.2f}"


def verdict(differences: dict[str, Any]) -> str:
    """Return whether rarity rises by five standard errors while the upper bounds of both realisms keep the margins."""
    if RARITY not in differences:
        return "–"
    value, error = differences[RARITY]["value"], differences[RARITY]["standard_error"]
    rise = value / error if value else 0.0  # a method that changes no factor of any picture has no error either
    real = all(differences[key]["high"] <= margin for key, margin in MARGINS.items())
    return f"{'yes' if rise > 5 and real else 'no'} ({rise:+.1f} s.e.; {'inside' if real else 'outside'})"


if __name__ == "__main__":
    auto_cli([draw, report], as_positional=False)
