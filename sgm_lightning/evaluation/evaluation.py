"""All metrics of one set of images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchmetrics import MetricCollection

from sgm_lightning.errors import SGMError
from sgm_lightning.evaluation.measure import FEATURES
from sgm_lightning.evaluation.spaces import LoadedSpace
from sgm_lightning.evaluation.statistics import mean_estimate
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

_UNITS = {"nelbo": "bits per dimension; higher = rarer", "minority_score": "distance; higher = rarer"}


@dataclass
class Value:
    """A number and what it hangs on.

    Attributes:
        value: The number; None if it could not be had.
        num_samples: N.
        standard_error: Of a mean over samples, or over KID's subsets.
        interval: 95 % bootstrap interval of a mean over samples.
        k: Neighbours.
        space: Name of the feature space.
        reference: Real set it was compared with, and its size.
        note: Unit, or why there is no number.
    """

    value: float | None
    num_samples: int
    standard_error: float | None = None
    interval: tuple[float, float] | None = None
    k: int | None = None
    space: str | None = None
    reference: str | None = None
    note: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Without what does not apply; `value` always."""
        return {key: value for key, value in asdict(self).items() if value is not None or key == "value"}


@dataclass
class Results:
    """What `Evaluation.compute` found.

    Attributes:
        index: (N,) sample indices.
        per_sample: (N,) columns by name.
        values: Numbers by name: `minority_score`, `nelbo`, and `SPACE/metric`.
    """

    index: np.ndarray
    per_sample: dict[str, np.ndarray] = field(default_factory=dict)
    values: dict[str, Value] = field(default_factory=dict)


class _Column(PerSampleMetric):
    """Rows that are values already."""

    def values(self, rows: Tensor) -> Tensor:
        return rows


class Evaluation(nn.Module):
    """Takes measured images, computes every metric of every space.

    Args:
        spaces: The feature spaces.
        synchronise: Whether the processes of a group share their samples when `compute` is called, by all of them then.
        kid_subset_size: Samples in each of KID's 100 subsets.
    """

    def __init__(self, spaces: Mapping[str, LoadedSpace], synchronise: bool = True, kid_subset_size: int = 1000) -> None:
        super().__init__()
        self.spaces = dict(spaces)
        options: dict[str, Any] = {"sync_on_compute": synchronise, "distributed_available_fn": _grouped}
        self.columns = nn.ModuleDict({name: _Column(**options) for name in ("minority_score", "nelbo", "nelbo_error")})
        self.metrics = nn.ModuleDict(
            {name: _space_metrics(space, kid_subset_size, options) for name, space in self.spaces.items()}
        )

    def update(self, rows: Mapping[str, Tensor], index: Tensor) -> None:
        """Take up measured images (see `Measure`), and their `minority_score` where it is known."""
        for name, column in self.columns.items():
            if name in rows:
                column.update(rows[name], index)  # type: ignore[operator]
        for name, collection in self.metrics.items():
            collection.update(rows[FEATURES + name], index)  # type: ignore[operator]

    def compute(self) -> Results:
        """All numbers; where one cannot be had (too few samples), its note says why."""
        results = Results(np.empty(0, dtype=np.int64))
        for name, column in self.columns.items():
            if not column.index:
                continue
            found = column.per_sample()  # type: ignore[operator]
            results.index = found.index.cpu().numpy()
            results.per_sample[name] = found.values.cpu().numpy()
        for name in ("minority_score", "nelbo"):
            if name in results.per_sample:
                results.values[name] = _mean(results.per_sample[name], note=_UNITS[name])
        for name, space in self.spaces.items():
            _compute_space(name, space, self.metrics[name], results)  # type: ignore[arg-type]
        return results


def _grouped() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def _space_metrics(space: LoadedSpace, kid_subset_size: int, options: dict[str, Any]) -> MetricCollection:
    real, features = space.real, space.real.features
    metrics: dict[str, Any] = {"frechet": FrechetDistance(space.moments, **options)}
    if space.tail is not None:
        metrics["frechet_tail"] = FrechetDistance(space.tail_moments, **options)
    groups = [[name] for name in metrics]
    if space.neighbours:
        rows: dict[str, Any] = {
            "avg_knn": AvgKNN(real, **options),
            "lof": LocalOutlierFactor(real, **options),
            "rarity_k3": RarityScore(real, 3, **options),
            "rarity_k5": RarityScore(real, 5, **options),
            "fidelity": PrecisionRecall(real, **options),
            "kid": KernelDistance(features, subset_size=kid_subset_size, **options),
        }
        if space.tail is not None:
            rows["fidelity_tail"] = PrecisionRecall(space.tail, **options)
        if space.training is not None and space.held_out is not None:
            rows["memorised"] = Memorised(space.training, space.held_out, **options)
        groups.append(list(rows))
        metrics |= rows
    return MetricCollection(metrics, compute_groups=groups)


# Neighbours of each metric, in the order of reports.
_NEIGHBOURS = {
    "avg_knn": 5,
    "lof": 20,
    "rarity_k3": 3,
    "outside_k3": 3,
    "rarity_k5": 5,
    "outside_k5": 5,
    "precision": 3,
    "density": 3,
    "recall": 3,
    "coverage": 3,
    "tail_precision": 3,
    "tail_recall": 3,
}


def _compute_space(name: str, space: LoadedSpace, metrics: MetricCollection, results: Results) -> None:
    known: dict[str, Any] = dict(metrics.items(keep_base=True, copy_state=False))
    count = sum(len(part) for part in known["frechet"].index)
    columns: dict[str, np.ndarray] = {}
    if space.neighbours:
        results.index, columns = _columns(known)
        count = len(results.index)
    results.per_sample |= {f"{name}/{key}": values for key, values in columns.items()}

    values = {}
    for key, column in columns.items():
        if key.startswith("rarity"):
            values[key] = _mean(column[column > 0], "mean inside the balls")
            values[key.replace("rarity", "outside")] = _mean((column == 0).astype(float), "share outside all balls")
        else:
            values[key] = _mean(column)
    values |= _of_sets(known, count)

    whole = space.text["reference"]
    for key, value in values.items():
        value.space, value.k = name, _NEIGHBOURS.get(key)
        value.reference = f"{whole['name']} (N = {whole['num_samples']})"
        if key.startswith("tail"):
            tail = space.text["tail"]
            value.reference = f"rarest {tail['num_samples']} of {whole['name']} in {tail['chosen_in']}"
        results.values[f"{name}/{key}"] = value


def per_sample_names(space: LoadedSpace) -> list[str]:
    """The metrics that have a value for every sample in this space."""
    if not space.neighbours:
        return []
    memorised = ["memorised"] if space.training is not None and space.held_out is not None else []
    return ["avg_knn", "lof", "rarity_k3", "rarity_k5", *memorised, "precision", "density"]


def _columns(known: Mapping[str, Any]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Sample indices, and the metrics that have a value for every sample."""
    found = {
        key: known[key].per_sample() for key in ("avg_knn", "lof", "rarity_k3", "rarity_k5", "memorised") if key in known
    }
    found |= known["fidelity"].per_sample()
    return found["avg_knn"].index.cpu().numpy(), {key: column.values.cpu().numpy() for key, column in found.items()}


def _of_sets(known: Mapping[str, Any], count: int) -> dict[str, Value]:
    """The metrics that only a set has."""
    values = {}

    def put(names: tuple[str, ...], compute: Callable[[], tuple[Any, ...]], error: float | None = None) -> None:
        try:
            values.update({key: Value(float(value), count) for key, value in zip(names, compute(), strict=True)})
        except SGMError as error:  # too few samples
            values.update({key: Value(None, count, note=str(error)) for key in names})

    for prefix, metric, keys in (
        ("", "fidelity", ("recall", "coverage")),
        ("tail_", "fidelity_tail", ("precision", "recall")),
    ):
        if metric in known:
            put(tuple(prefix + key for key in keys), lambda: tuple(known[metric].compute()[key] for key in keys))  # noqa: B023
    for name, metric in (("frechet", "frechet"), ("tail_frechet", "frechet_tail")):
        if metric in known:
            put((name,), lambda: (known[metric].compute(),))  # noqa: B023
    if "kid" in known:
        put(("kid",), lambda: (known["kid"].compute()["kid"],))
        if values["kid"].value is not None:
            values["kid"].standard_error = float(known["kid"].compute()["standard_error"])
    return values


def _mean(values: np.ndarray, note: str | None = None) -> Value:
    found = mean_estimate(values)
    if not np.isfinite(found.value):
        return Value(None, found.num_samples, note="no sample has a value")
    error = found.standard_error if np.isfinite(found.standard_error) else None
    return Value(found.value, found.num_samples, error, None if error is None else (found.low, found.high), note=note)
