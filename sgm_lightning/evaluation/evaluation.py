"""Computes all metrics of one set of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection

from sgm_lightning.errors import SGMError
from sgm_lightning.evaluation.cautions import caution
from sgm_lightning.evaluation.loaded_space import LoadedSpace
from sgm_lightning.evaluation.measures import (
    MEASURES,
    MODEL_MEASURES,
    TRUTH,
    Measure,
    make_metrics,
    measures_of,
    named_outputs,
)
from sgm_lightning.evaluation.per_image import FEATURES, READING
from sgm_lightning.evaluation.results import Results, Value
from sgm_lightning.evaluation.statistics import FEW, mean_estimate
from sgm_lightning.metrics import FrechetDistance
from sgm_lightning.metrics.indexed import IndexedMetric, PerSample, PerSampleMetric
from sgm_lightning.metrics.neighbours import TooFew
from sgm_lightning.world import EmojiReader, Reading

# Order of the rows of tables; user-defined metrics follow.
WORLD = "world"
_PLACES = {measure.key: place for place, measure in enumerate(MEASURES)}


class _Column(PerSampleMetric):
    """A per-sample metric whose rows are its values already."""

    def values(self, rows: Tensor) -> Tensor:
        return rows


class Evaluation(nn.Module):
    """Takes measured images and computes every metric of every space.

    Args:
        spaces: Feature spaces by name.
        synchronise: Whether `compute` shares the samples among the processes of a group, all of which must call it then.
        kid_subset_size: Number of samples in each of KID's 100 subsets.
        reader: Reader of the emoji world, for the measures of truth; None for images of anything else.
    """

    def __init__(
        self,
        spaces: Mapping[str, LoadedSpace],
        synchronise: bool = True,
        kid_subset_size: int = 1000,
        reader: EmojiReader | None = None,
    ) -> None:
        super().__init__()
        self.truth = nn.ModuleDict({} if reader is None else {name: make(reader) for name, make in TRUTH.items()})
        self.spaces = dict(spaces)
        columns = [*(measure.key for measure in MODEL_MEASURES), "nelbo_error"]
        self.columns = nn.ModuleDict({name: _Column() for name in columns})
        self.kid_subset_size = kid_subset_size
        made = {}
        self.reasons: dict[str, dict[str, str]] = {}
        for name, space in self.spaces.items():
            made[name], self.reasons[name] = make_metrics(space, kid_subset_size)
        self.order = {name: list(metrics) for name, metrics in made.items()}  # which a collection does not keep
        self.metrics = nn.ModuleDict(
            {name: MetricCollection(dict(metrics), compute_groups=_groups(metrics)) for name, metrics in made.items()}
        )
        for module in self.modules():  # here, so that user-defined metrics need not forward these arguments
            if isinstance(module, Metric):
                module.sync_on_compute = module._to_sync = synchronise

    def update(self, rows: Mapping[str, Tensor], index: Tensor) -> None:
        """Add measured images (see `ImageMeasurements`), with their `minority_score` where it is known."""
        for name, column in self.columns.items():
            if name in rows:
                column.update(rows[name], index)  # type: ignore[operator]
        for metric in self.truth.values():
            metric.update(rows[READING], index)  # type: ignore[operator]
        for name, collection in self.metrics.items():
            collection.update(rows[FEATURES + name], index)  # type: ignore[operator]

    def compute(self) -> Results:
        """Compute all numbers; where one cannot be computed (too few samples), its note gives the reason."""
        results = Results(np.empty(0, dtype=np.int64))
        for name, column in self.columns.items():
            if column.index:
                _add_column(results, name, column.per_sample())  # type: ignore[operator]
        for measure in MODEL_MEASURES:
            results.measures[measure.key] = measure
            if measure.key in results.per_sample:
                results.values[measure.key] = _mean(results.per_sample[measure.key], measure)
        if self.truth:
            _compute(WORLD, dict(self.truth.items()), results)  # type: ignore[arg-type]
            results.factors = Reading.of_rows(self.truth["shares"].ordered()[1]).factors.cpu().numpy()  # type: ignore[operator]
        for name, space in self.spaces.items():
            collection: MetricCollection = self.metrics[name]  # type: ignore[assignment]
            metrics = dict(collection.items(keep_base=True, copy_state=False))
            _compute(name, {key: metrics[key] for key in self.order[name]}, results, space, self.reasons[name])
            for key, value in results.values.items():
                if value.space == name and value.value is not None:
                    value.caution = self._caution(space, results.measures[key], value)
        return results

    def _caution(self, space: LoadedSpace, measure: Measure, value: Value) -> str | None:
        real = space.text["tail"]["num_samples"] if measure.tail else len(space.real)
        dimensions = space.real.features.shape[1]
        return caution(measure.key, value.num_samples, real, dimensions, self.kid_subset_size, value.k)


def _groups(metrics: Mapping[str, Metric]) -> list[list[str]]:
    """Group the metrics so that those that store the features unchanged share one copy of them."""
    shared = [name for name, metric in metrics.items() if type(metric).update is IndexedMetric.update]
    return [[name] for name in metrics if name not in shared] + ([shared] if shared else [])


def _compute(
    name: str,
    metrics: Mapping[str, Metric],
    results: Results,
    space: LoadedSpace | None = None,
    reasons: Mapping[str, str] | None = None,
) -> None:
    """Compute the metrics of a space, or those of truth, whose place in the names a space has otherwise.

    `reasons` says of the metrics that cannot be made why.
    """
    measures = {key: measures_of(key, metric) for key, metric in metrics.items()}
    columns: dict[str, PerSample] = {}
    reasons = dict(reasons or {})
    for key, metric in metrics.items():
        try:
            if isinstance(metric, PerSampleMetric):
                columns[key] = metric.per_sample()
            elif any(measure.of == "sample" for measure in measures[key]):
                columns |= metric.per_sample()  # type: ignore[operator]
        except TooFew as error:
            reasons[key] = str(error)
    for key, column in columns.items():
        _add_column(results, f"{name}/{key}", column)
    count = len(results.index) if columns else _seen(metrics["frechet"])

    numbers: list[tuple[Measure, Value]] = []
    for key, reason in reasons.items():
        without = measures_of(key, metrics.get(key))
        numbers += [(measure, Value(None, count, note=reason)) for measure in without]
    for key, metric in metrics.items():
        if key in reasons:
            continue
        samples = [measure for measure in measures[key] if measure.of == "sample"]
        numbers += [(m, _mean(results.per_sample[f"{name}/{m.source or m.key}"], m)) for m in samples]
        if sets := [measure for measure in measures[key] if measure.of == "set"]:
            numbers += _of_set(key, metric, sets, count)
    for measure, value in numbers:
        value.space, value.k = name, measure.k
        if space is not None:
            value.reference = _reference(space, measure)
        results.values[f"{name}/{measure.key}"] = value
    in_order = sorted((measure for measure, _ in numbers), key=lambda measure: _PLACES.get(measure.key, len(_PLACES)))
    results.measures |= {f"{name}/{measure.key}": measure for measure in in_order}


def _seen(frechet: Metric) -> int:
    """Return the number of samples that this process has seen."""
    assert isinstance(frechet, FrechetDistance)
    return sum(len(part) for part in frechet.index)


def _add_column(results: Results, name: str, column: PerSample) -> None:
    results.index = column.index.cpu().numpy()
    results.per_sample[name] = column.values.cpu().numpy()


def _of_set(name: str, metric: Metric, measures: Sequence[Measure], count: int) -> list[tuple[Measure, Value]]:
    """Compute the numbers that only a whole set has."""
    try:
        computed = metric.compute()
    except SGMError as error:  # too few samples
        return [(measure, Value(None, count, note=str(error))) for measure in measures]
    outputs = dict(computed) if isinstance(computed, dict) else {name: computed}
    spread = outputs.pop("standard_error", None)
    return [
        (named, Value(float(outputs[output]), count, None if spread is None else float(spread), note=named.unit))
        for measure in measures
        for output, named in named_outputs(measure, outputs).items()
    ]


def _mean(column: np.ndarray, measure: Measure) -> Value:
    if measure.partial:
        column = column[~np.isnan(column)]
    found = mean_estimate(column if measure.averaged is None else measure.averaged(column))
    if not np.isfinite(found.value):
        unit = "" if measure.unit is None else f" ({measure.unit})"
        return Value(None, found.num_samples, note=f"no sample has a value{unit}")
    error = found.standard_error if np.isfinite(found.standard_error) else None
    interval = None if error is None else (found.low, found.high)
    few = f"the interval of fewer than {FEW} values holds less than 95 %" if found.num_samples < FEW else None
    note = "; ".join(text for text in (measure.unit, few) if text) or None
    return Value(found.value, found.num_samples, error, interval, note=note)


def _reference(space: LoadedSpace, measure: Measure) -> str:
    """Describe the real images that a measure compares with."""
    whole = space.text["reference"]
    if not measure.tail:
        return f"{whole['name']} (N = {whole['num_samples']})"
    tail = space.text["tail"]
    return f"rarest {tail['num_samples']} of {whole['name']} in {tail['chosen_in']}"
