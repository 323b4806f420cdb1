"""`sgm-lightning compare`: draws methods on the same seeds, and measures them alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_only

from sgm_lightning.commands.parsing import call
from sgm_lightning.commands.predict import resolve
from sgm_lightning.compare.anchors import Anchor, Kind
from sgm_lightning.compare.comparison import Comparison, Row
from sgm_lightning.compare.drawing import Networks, Planned, draw_all, network_key, plan
from sgm_lightning.compare.measuring import Measuring, evaluate
from sgm_lightning.compare.plot import save_plot
from sgm_lightning.compare.seed_grid import save_seed_grid
from sgm_lightning.compare.settings import check_names, read_base, read_settings
from sgm_lightning.compare.tables import write_tables
from sgm_lightning.compare.timing import seconds_per_image
from sgm_lightning.compare.verbatim import Verbatim
from sgm_lightning.errors import SGMError
from sgm_lightning.evaluation.module import EvaluationModule
from sgm_lightning.files.atomic import remove_leftovers
from sgm_lightning.files.digest import weights_sha256
from sgm_lightning.images import Images, RunImages
from sgm_lightning.predict.cost import sampling_cost
from sgm_lightning.predict.module import SamplingModule
from sgm_lightning.version import __version__


def compare(
    base: Verbatim,
    settings: Verbatim,
    evaluation: EvaluationModule,
    reference: str,
    primary: str,
    realism: str,
    anchors: dict[str, Images | Anchor] | None = None,
    output: str = "runs/compare",
    num_samples: int | None = None,
    grid_images: int = 12,
    timed_images: int = 0,
) -> None:
    """Draw every setting, measure every row, write the tables, the plot and the grid. Repeating the command resumes.

    Each setting is a run of `predict` in OUTPUT/NAME; finished runs are not touched. Processes that share OUTPUT share the
    work.

    Args:
        base: Configuration shared by all settings, as for `predict`: `model`, `trainer`, `configs` (YAML files or names of
            shipped ones), and `data`, which must give num_samples, chunk_size and seed.
        settings: Settings by name, or as a list with a `name` each: `model`, `trainer` and `configs`, which override those
            of `base`.
        evaluation: Feature spaces, and the model that scores and bounds the images of all rows; as the `model` of `test`.
        reference: Name of the setting to which the paired differences of the others are taken.
        primary: The single primary endpoint: a value of every sample, in a space that no guidance saw, such as
            `imagenet/avg_knn`.
        realism: Value of every sample that the plot shows as realism, such as `classifier/density`.
        anchors: Rows to judge the measures by: real images, their tail (`RareImages`), or damaged samples (`Degraded`).
        output: Folder of the comparison.
        num_samples: Number of samples in place of that of `base`.
        grid_images: Number of columns of the grid.
        timed_images: Number of images in a batch that is timed for every setting, to write `times.csv` (on an idle
            machine only); 0 reports network evaluations alone.
    """
    shared, methods = read_base(base.content, num_samples), read_settings(settings.content)
    names = [setting.name for setting in methods]
    check_names([*names, *(anchors or {})])
    if reference not in names:
        raise SGMError(f"reference must be one of the settings ({', '.join(names)}), got {reference}; correct it.")
    known = evaluation.per_sample_names()
    for key, value in (("primary", primary), ("realism", realism)):
        if value not in known:
            raise SGMError(f"{key} must be one of what every sample has ({', '.join(known)}), got {value}; correct it.")
    for key, count, least in (("grid_images", grid_images, 1), ("timed_images", timed_images, 0)):
        if count < least:
            raise SGMError(f"{key} must be at least {least}, got {count}; set `--{key}`.")
    for anchor in (anchors or {}).values():
        if isinstance(anchor, Anchor):
            anchor.check(names, evaluation.spaces)
    folder, networks = Path(output), Networks()
    remove_leftovers(folder)
    print(f"Checking {len(methods)} settings", flush=True)
    planned = {setting.name: plan(shared, setting, folder, networks) for setting in methods}
    networks.forget()
    evaluation.check(_kinds(planned, anchors or {}))
    draw_all(list(planned.values()))

    drawn = {name: _samples(plan) for name, plan in planned.items()}
    sets: dict[str, Images] = dict(drawn)
    paired = set(drawn)
    for name, anchor in (anchors or {}).items():
        sets[name] = anchor.images(drawn, evaluation.spaces) if isinstance(anchor, Anchor) else anchor
        if isinstance(anchor, Anchor) and anchor.of is not None:
            paired.add(name)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rows = Measuring(evaluation, folder, device)(sets)
    if rank_zero_only.rank != 0:
        return
    evaluation.to("cpu")
    found = {}
    for name in [*(anchors or {}), *planned]:
        print(f"Comparing {name} with real images", flush=True)
        row = Row(evaluate(evaluation, rows[name]), name in paired)
        if name in planned:
            cli = resolve(planned[name].arguments)
            method: SamplingModule = cli.model
            backbone = networks.load(method, network_key(cli))
            row.cost = sampling_cost(backbone, method.spacing, method.sampler, method.guidance)
            if timed_images:
                row.seconds = seconds_per_image(method, planned[name].run, timed_images, device)
        found[name] = row
    comparison = Comparison(found, reference, primary, realism, _text(evaluation, planned[reference]))
    write_tables(comparison, folder)
    save_plot(folder / "plot.png", comparison)
    save_seed_grid(folder / "grid.png", drawn, grid_images)
    print(f"\n{(folder / 'table.md').read_text()}\nTables, plot.png, grid.png, differences.md: {folder.resolve()}")


def _kinds(planned: dict[str, Planned], anchors: dict[str, Images | Anchor]) -> dict[str, Kind]:
    """Return the shape and labelling of every row's images, where known."""
    settings = {name: plan.kind for name, plan in planned.items()}
    kinds = dict(settings)
    for name, anchor in anchors.items():
        own = anchor.kind(settings) if isinstance(anchor, Anchor) else Kind(anchor.shape, anchor.labels is not None)
        if own is not None:
            kinds[name] = own
    return kinds


def _samples(plan: Planned) -> Images:
    """Return the first N samples of a run, which may have been drawn further than is asked for now."""
    return RunImages(str(plan.run.path), limit=plan.num_samples, name=plan.setting.name)


def _text(evaluation: EvaluationModule, reference: Planned) -> dict[str, Any]:
    """Describe the spaces, the model and the configuration that the numbers depend on."""
    text: dict[str, Any] = {"spaces": {name: space.text for name, space in evaluation.spaces.items()}}
    if evaluation.denoiser is not None:
        text["model"] = {
            "weights": weights_sha256(evaluation.denoiser.network.state_dict()),
            "chain": f"{evaluation.denoiser.process.num_steps} steps",
            "minority_score": evaluation.score.describe(),
            "seed": evaluation.seed,
        }
    return {**text, "config": reference.config, "version": __version__}


def run(args: list[str]) -> None:
    """Run the command on its argument list."""
    call(compare, args)
