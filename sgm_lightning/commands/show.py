"""`sgm-lightning show`: the rarest samples of a run, in a figure and a table."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sgm_lightning.commands.parsing import call
from sgm_lightning.errors import SGMError
from sgm_lightning.evaluation.contact_sheet import save_contact_sheet
from sgm_lightning.evaluation.format import plain_table
from sgm_lightning.files.atomic import make_folder
from sgm_lightning.images import RunImages
from sgm_lightning.run.run_dir import RunDir

_NOT_MEASURES = ("index", "label")
_WIDTH = 100  # characters


def show(run: str, rarest: int = 10, commonest: int = 0, by: str = "score", output: str | None = None) -> None:
    """Show the samples of a run that stand highest and lowest in a column of its `scores.csv`.

    Prints their rows and writes a figure of them.

    Args:
        run: Folder of a finished run of `predict`.
        rarest: Number of samples to show with the highest values.
        commonest: Number of samples to show with the lowest values.
        by: Column of `scores.csv` to sort by: `score` is the minority score; the callback `Evaluate` adds others.
        output: PNG file to write; by default `.figures/shown.png` in the run's folder.

    Raises:
        SGMError: If the run is not finished, has no such column, or nothing is to be shown.
    """
    images = RunImages(run)
    columns = RunDir(run).scores()
    measures = [name for name in columns if name not in _NOT_MEASURES]
    if by not in measures:
        raise SGMError(f"--by must be one of {', '.join(measures)}, the columns of {run}/scores.csv, got {by}.")
    if min(rarest, commonest) < 0 or rarest + commonest == 0:
        raise SGMError(f"--rarest and --commonest must be ≥ 0, and one of them ≥ 1, got {rarest} and {commonest}.")
    measured = np.flatnonzero(np.isfinite(columns[by]))
    order = measured[np.argsort(columns[by][measured], kind="stable")]
    if not len(order):
        raise SGMError(f"--by must be a column in which some sample has a value, got {by}; choose another.")
    blocks = []
    if min(rarest, commonest) and rarest + commonest > len(order):
        print(f"{len(order)} samples are fewer than {rarest} and {commonest} together, so each is shown at one end alone.\n")
        rarest = min(rarest, max(len(order) - commonest, (len(order) + 1) // 2))
        commonest = min(commonest, len(order) - rarest)
    for word, rows in (("highest", order[::-1][:rarest]), ("lowest", order[:commonest])):
        if len(rows):
            title = f"{len(rows)} of {len(order)} samples with the {word} {by}"
            captions = [f"sample {columns['index'][row]:.0f}\n{by} {columns[by][row]:.4g}" for row in rows]
            blocks.append((title, images.read(rows.tolist()).permute(0, 2, 3, 1).numpy(), captions))
            print(f"{title}\n\n{_table(columns, rows, by)}\n")
    file = Path(output) if output else RunDir(run).figures / "shown.png"
    make_folder(file.parent)
    save_contact_sheet(file, blocks)
    print(f"Their images: {file}")


def _table(columns: dict[str, np.ndarray], rows: np.ndarray, by: str) -> str:
    """Return index, label and `by` of the rows, and as many of the other columns as a terminal is wide."""
    first = [name for name in columns if name in _NOT_MEASURES] + [by]
    text = ""
    for count in range(len(columns) - len(first) + 1):
        shown = [*first, *[name for name in columns if name not in first][:count]]
        lines = [
            [f"{columns[n][row]:.0f}" if n in _NOT_MEASURES else f"{columns[n][row]:.4g}" for n in shown] for row in rows
        ]
        wider = plain_table([shown, *lines])
        if text and max(map(len, wider.splitlines())) > _WIDTH:
            break
        text = wider
    return text


def run(args: list[str]) -> None:
    """Run the command on its argument list."""
    call(show, args, positional=True)
