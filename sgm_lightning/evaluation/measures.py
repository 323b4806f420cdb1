"""The table of measures: every number of an evaluation, its text in reports, and the metric that computes it.

A user-defined metric needs no row here: a space lists it (`Space.metrics`), and it provides its `label`, `unit` and `k`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np
from torchmetrics import Metric

from sgm_lightning.errors import SGMError
from sgm_lightning.evaluation.loaded_space import LoadedSpace
from sgm_lightning.metrics import (
    AvgKNN,
    FrechetDistance,
    KernelDistance,
    LocalOutlierFactor,
    Memorised,
    PrecisionRecall,
    RarityScore,
)
from sgm_lightning.metrics.indexed import PerSampleMetric
from sgm_lightning.metrics.neighbours import TooFew
from sgm_lightning.metrics.truth import FactorShares, HeldOutPairs, Rarest, TrueRarity, Unreadable, Unreality
from sgm_lightning.world import FACTORS, EmojiReader


@dataclass(frozen=True)
class Measure:
    """A number that describes a set of images, and its presentation in reports.

    Attributes:
        key: Name of the number in files.
        label: Name in tables and figures, with `{k}` for the number of neighbours; None leaves it out of them.
        of: `sample`: the mean of a column that has a value for every image; `set`: an output of the metric's `compute`.
        metric: Name in `METRICS` of the metric that computes it; None if the model computes it, not a metric of features.
        source: Name of that column or output, if it is not `key`.
        unit: Unit or description of the number, for metrics.json.
        k: Number of neighbours, taken from the metric.
        tail: Whether the images are compared with the tail of the real images.
        histogram: Whether the column has a panel among the histograms.
        partial: Whether images without a value (NaN) are left out of means and differences.
        averaged: Function from the column to the values that are averaged; None averages the column itself.
        lower: Whether lower values are more real, where the measure is one of realism.
    """

    key: str
    label: str | None
    of: Literal["sample", "set"]
    metric: str | None = None
    source: str | None = None
    unit: str | None = None
    k: int | None = None
    tail: bool = False
    histogram: bool = False
    partial: bool = False
    averaged: Callable[[np.ndarray], np.ndarray] | None = None
    lower: bool = False

    @property
    def text(self) -> str:
        """The label with its number of neighbours filled in."""
        return (self.label or self.key).replace("{k}", str(self.k))


def _inside(rarity: np.ndarray) -> np.ndarray:
    return rarity[rarity > 0]


def _outside(rarity: np.ndarray) -> np.ndarray:
    return (rarity == 0).astype(float)


_MEAN, _SHARE = "mean inside the balls", "share outside all balls"
_NATS = "−ln p of readable images, nats; higher = rarer"
_DISTANCE = "total variation distance from the world's table, 0 to 1; lower = closer"

# In the order of tables.
MEASURES = (
    Measure("minority_score", "minority score", "sample", unit="distance; higher = rarer", histogram=True),
    Measure("nelbo", "NELBO (bits/dim)", "sample", unit="bits per dimension; higher = rarer", histogram=True),
    Measure("true_rarity", "true rarity (nats)", "sample", "true_rarity", unit=_NATS, histogram=True, partial=True),
    Measure("rarest", "share of the rarest tenth", "sample", "rarest", unit="share"),
    Measure("unreadable", "share unreadable", "sample", "unreadable", unit="share; lower = more real", lower=True),
    Measure(
        "unreality", "unreality (grey levels)", "sample", "unreality", unit="lower = more real", partial=True, lower=True
    ),
    Measure("held_out_pairs", "share of held-out pairs", "sample", "held_out_pairs", unit="share"),
    *(Measure(f"shares_{name}", f"shares: {name}", "set", "shares", name, unit=_DISTANCE) for name in FACTORS),
    Measure("avg_knn", "AvgkNN (k={k})", "sample", "avg_knn", histogram=True),
    Measure("lof", "LOF (k={k})", "sample", "lof", histogram=True),
    Measure("rarity_k3", "rarity (k={k})", "sample", "rarity_k3", unit=_MEAN, averaged=_inside),
    Measure("outside_k3", "outside all balls", "sample", "rarity_k3", "rarity_k3", unit=_SHARE, averaged=_outside),
    Measure("rarity_k5", None, "sample", "rarity_k5", unit=_MEAN, averaged=_inside),
    Measure("outside_k5", None, "sample", "rarity_k5", "rarity_k5", unit=_SHARE, averaged=_outside),
    Measure("precision", "precision (k={k})", "sample", "fidelity"),
    Measure("density", "density", "sample", "fidelity"),
    Measure("recall", "recall", "set", "fidelity"),
    Measure("coverage", "coverage", "set", "fidelity"),
    Measure("memorised", "memorised share", "sample", "memorised"),
    Measure("frechet", "Fréchet distance", "set", "frechet"),
    Measure("kid", "KID", "set", "kid"),
    Measure("tail_frechet", "Fréchet to the tail", "set", "tail_frechet", tail=True),
    Measure("tail_precision", "precision, tail", "set", "tail_fidelity", "precision", tail=True),
    Measure("tail_recall", "recall, tail", "set", "tail_fidelity", "recall", tail=True),
)
MODEL_MEASURES = tuple(measure for measure in MEASURES if measure.metric is None)


class _Usual(NamedTuple):
    """A usual metric: `make` makes it for a space and KID's subset size, `needs` checks that the space has its inputs."""

    make: Callable[[LoadedSpace, int], Metric]
    needs: Callable[[LoadedSpace], bool]


def _always(space: LoadedSpace) -> bool:
    return True


def _neighbours(space: LoadedSpace) -> bool:
    return space.neighbours


def _tail(space: LoadedSpace) -> bool:
    return space.tail_from is not None


def _memorised(space: LoadedSpace, _: int) -> Metric:
    assert space.training is not None and space.held_out is not None
    return Memorised(space.training, space.held_out)


def _tail_fidelity(space: LoadedSpace, _: int) -> Metric:
    assert space.tail is not None
    return PrecisionRecall(space.tail)


# So many real images are enough for the usual numbers of neighbours.
_MAY_BE_TOO_FEW = 64

# In the order of files.
METRICS: dict[str, _Usual] = {
    "avg_knn": _Usual(lambda space, _: AvgKNN(space.real), _neighbours),
    "lof": _Usual(lambda space, _: LocalOutlierFactor(space.real), _neighbours),
    "rarity_k3": _Usual(lambda space, _: RarityScore(space.real, 3), _neighbours),
    "rarity_k5": _Usual(lambda space, _: RarityScore(space.real, 5), _neighbours),
    "memorised": _Usual(_memorised, lambda space: space.neighbours and space.training is not None),
    "fidelity": _Usual(lambda space, _: PrecisionRecall(space.real), _neighbours),
    "tail_fidelity": _Usual(_tail_fidelity, lambda space: _neighbours(space) and _tail(space)),
    "frechet": _Usual(lambda space, _: FrechetDistance(space.moments), _always),
    "tail_frechet": _Usual(lambda space, _: FrechetDistance(space.tail_moments), _tail),
    "kid": _Usual(lambda space, subset_size: KernelDistance(space.real, subset_size=subset_size), _neighbours),
}


# Those that a reader of the emoji world allows, in the order of files.
TRUTH: dict[str, Callable[[EmojiReader], Metric]] = {
    "true_rarity": lambda reader: TrueRarity(reader.world),
    "rarest": lambda reader: Rarest(reader.world),
    "unreadable": lambda _: Unreadable(),
    "unreality": lambda _: Unreality(),
    "held_out_pairs": lambda _: HeldOutPairs(),
    "shares": FactorShares,
}


def make_metrics(space: LoadedSpace, kid_subset_size: int) -> tuple[dict[str, Metric], dict[str, str]]:
    """Make all metrics of a space by name: the usual ones that the space allows, then its user-defined ones.

    Returns:
        The metrics, and for those of which the space has too few real images the reason.
    """
    made: dict[str, Metric] = {}
    reasons: dict[str, str] = {}
    for name, metric in METRICS.items():
        if metric.needs(space):
            try:
                made[name] = metric.make(space, kid_subset_size)
            except TooFew as error:
                reasons[name] = str(error)
    return made | {name: make(space.real) for name, make in space.metrics.items()}, reasons


def check_subset_size(kid_subset_size: int) -> None:
    """Raise unless an unbiased distance of subsets of this size exists."""
    if kid_subset_size < 2:
        raise SGMError(f"kid_subset_size must be at least 2, got {kid_subset_size}; 1000 is usual.")


def measures_of(name: str, metric: Metric | None) -> list[Measure]:
    """Return the measures that a metric gives: from the table, or for a user-defined metric from its attributes."""
    k = getattr(metric, "k", None)
    if name in METRICS or name in TRUTH:
        return [replace(measure, k=k) for measure in MEASURES if measure.metric == name]
    label, unit = getattr(metric, "label", None) or name, getattr(metric, "unit", None)
    if isinstance(metric, PerSampleMetric) and type(metric).compute is PerSampleMetric.compute:
        return [Measure(name, label, "sample", name, unit=unit, k=k, histogram=True)]
    return [Measure(name, label, "set", name, unit=unit, k=k)]


def named_outputs(measure: Measure, outputs: Mapping[str, Any]) -> dict[str, Measure]:
    """Return the measure of each output of `compute`; each of several outputs of a user-defined metric gets a measure."""
    if measure.metric in METRICS or measure.metric in TRUTH:
        return {measure.source or measure.key: measure}
    if len(outputs) == 1:
        return dict.fromkeys(outputs, measure)
    return {name: replace(measure, key=f"{measure.key}_{name}", label=f"{measure.label}, {name}") for name in outputs}


def column_names(space: LoadedSpace) -> list[str]:
    """Return the columns of a space that have a value for every sample, which are known before images are measured."""
    metrics = make_metrics(space, 2)[0]
    if len(space.real) <= _MAY_BE_TOO_FEW:
        metrics = {name: metric for name, metric in metrics.items() if _has_enough(metric, space)}
    usual = [
        measure.source or measure.key
        for name in metrics
        if name in METRICS
        for measure in MEASURES
        if measure.metric == name and measure.of == "sample"
    ]
    elsewhere = [name for name in space.metrics if isinstance(metrics.get(name), PerSampleMetric)]
    return list(dict.fromkeys([*usual, *elsewhere]))


def _has_enough(metric: Metric, space: LoadedSpace) -> bool:
    """Return whether the real images are enough for the values of samples, which a small set of them has to show."""
    try:
        if isinstance(metric, PerSampleMetric):
            metric.values(space.real.features[:1])
        elif isinstance(metric, PrecisionRecall):
            metric.real.radii(metric.k)
    except TooFew:
        return False
    return True


def truth_columns() -> list[str]:
    """Return the columns with a value for every image that a reader allows."""
    return [measure.key for measure in MEASURES if measure.metric in TRUTH and measure.of == "sample"]


def check_metrics(space_name: str, space: LoadedSpace) -> None:
    """Raise unless the user-defined metrics of a space can be made and their names are free."""
    usual = {*METRICS, *TRUTH, *(measure.key for measure in MEASURES)}
    for name, make in space.metrics.items():
        if not name.isidentifier() or name in usual:
            raise SGMError(
                f"A metric's name must be a word of letters, digits and _ that no usual metric has, got {name} in space "
                f"{space_name}; rename it."
            )
        try:
            metric = make(space.real)
        except (TypeError, AttributeError) as error:
            raise SGMError(
                f"Metric {name} of space {space_name} must be made from the real features alone, got {type(error).__name__} "
                f"({error}); let its first argument be `real: RealFeatures`, and give the others in `init_args`."
            ) from error
        if not isinstance(metric, Metric):
            raise SGMError(
                f"Metric {name} of space {space_name} must be a torchmetrics.Metric, got {type(metric).__name__}; subclass "
                "`PerSampleMetric`."
            )
