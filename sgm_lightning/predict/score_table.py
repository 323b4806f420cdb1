"""The minority scores of a finished run in words: of the samples, of the unguided ones, and their paired difference."""

from __future__ import annotations

import numpy as np

from sgm_lightning.evaluation.format import plain_table, with_error
from sgm_lightning.evaluation.statistics import mean_estimate


def score_table(scores: dict[str, np.ndarray], plain: str, own: str, definition: str) -> str:
    """Return a table of mean minority scores with standard errors, and the definition of the score.

    Args:
        scores: Columns of `scores.csv`: `score`, and `baseline_score` if unguided samples were drawn from the same noise.
        plain: Title of the unguided samples.
        own: Title of the run's samples.
        definition: Definition of the score in words.
    """
    sets = [(own, scores["score"])]
    if "baseline_score" in scores:
        paired = scores["score"] - scores["baseline_score"]
        sets = [(plain, scores["baseline_score"]), *sets, ("paired difference", paired)]
    lines = [["", "mean minority score", "N"]]
    for title, values in sets:
        found = mean_estimate(values, 1)
        lines.append([title, with_error(found.value, found.standard_error), str(found.num_samples)])
    return f"{plain_table(lines)}\nThe minority score is {definition}; ± is a standard error."
