"""Pictures of the emoji world side by side, a column a set: the rarest first, each with what it shows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from sgm_lightning.evaluation.contact_sheet import save_contact_sheet
from sgm_lightning.evaluation.figures import Read
from sgm_lightning.evaluation.results import Results
from sgm_lightning.world import caption

RARITY = "world/true_rarity"


def save_side_by_side(path: Path, sets: Mapping[str, tuple[Results, Read]], count: int = 64, columns: int = 8) -> None:
    """Write the first `count` pictures of every set, sorted by true rarity; what cannot be read comes last.

    Args:
        path: PNG file to write.
        sets: For each title the results, with what a reader read, and a function that returns images by their indices.
        count: Number of pictures of a set.
        columns: Number of pictures in a line of a set.
    """
    blocks = []
    for title, (results, read) in sets.items():
        assert results.factors is not None
        rarity = results.per_sample[RARITY][:count]
        order = np.argsort(np.where(np.isnan(rarity), -np.inf, rarity), kind="stable")[::-1]
        captions = [_caption(results.factors[row], rarity[row]) for row in order]
        images = read(results.index[order].tolist()).permute(0, 2, 3, 1).numpy()
        unreadable = int(np.isnan(rarity).sum())
        mean = "" if unreadable == len(rarity) else f"mean true rarity {np.nanmean(rarity):.2f} nats, "
        blocks.append((f"{title}: {mean}{unreadable} of {len(rarity)} cannot be read", images, captions))
    save_contact_sheet(path, blocks, columns, beside=True, inch=1.0)


def _caption(factors: np.ndarray, rarity: float) -> str:
    if np.isnan(rarity):
        return "cannot be read"
    thing, turn, background, style = caption(factors.tolist()).split(", ")
    # What is usual goes without saying: upright, and the shaded style.
    words = [thing, background, turn if turn != "upright" else "", style if style.startswith("flat") else ""]
    return "\n".join([*filter(None, words), f"{rarity:.1f} nats"])
