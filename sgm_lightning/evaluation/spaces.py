"""Feature spaces in which samples are compared with real images, as they are configured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from torchmetrics import Metric

from sgm_lightning.errors import SGMError
from sgm_lightning.evaluation.loaded_space import LoadedSpace
from sgm_lightning.evaluation.measures import check_metrics
from sgm_lightning.features import FeatureExtractor, Reference
from sgm_lightning.metrics import RealFeatures


@dataclass
class Space:
    """A feature space, and the real images in it.

    Args:
        extractor: Feature extractor, from images to features.
        reference: Real images that samples are compared with.
        tail_from: Name of another space, in which the rarest images of the reference (by AvgkNN) are chosen as the real
            tail.
        tail_share: Share of the reference that forms the tail.
        training: Images that the model was trained on, for the memorised share.
        held_out: Images that the model never saw, for the memorised share.
        measures: Usual metrics to compute: `all`, or `frechet` for the distance of distributions alone, as for sFID.
        metrics: User-defined metrics by name. Each is a `PerSampleMetric` (or another metric with the same `update`) by its
            class path; its first argument, the real features, is filled in.
    """

    extractor: FeatureExtractor
    reference: Reference
    tail_from: str | None = None
    tail_share: float = 0.1
    training: Reference | None = None
    held_out: Reference | None = None
    measures: Literal["all", "frechet"] = "all"
    metrics: dict[str, Callable[[RealFeatures], Metric]] | None = None


def load_spaces(spaces: Mapping[str, Space]) -> dict[str, LoadedSpace]:
    """Read or extract the reference features of all spaces.

    Raises:
        SGMError: If a reference does not fit its extractor, a tail's space does not fit, or a metric cannot be made.
    """
    loaded: dict[str, LoadedSpace] = {}
    for name, space in spaces.items():
        features, reference = space.reference.features(space.extractor)
        if len(features) < 2:
            raise SGMError(
                f"The reference of space {name} needs at least 2 real images, got {len(features)}; give thousands."
            )
        if (space.training is None) != (space.held_out is None):
            raise SGMError(f"Space {name} needs both `training` and `held_out` for the memorised share, got one of them.")
        loaded[name] = LoadedSpace(
            space.extractor,
            RealFeatures(features),
            {"features": space.extractor.describe(), "dimensions": features.shape[1], "reference": reference},
            space.measures == "all",
            training=None if space.training is None else space.training.features(space.extractor)[0],
            held_out=None if space.held_out is None else space.held_out.features(space.extractor)[0],
            metrics=dict(space.metrics or {}),
        )
        check_metrics(name, loaded[name])
    for name, space in spaces.items():
        if space.tail_from is not None:
            _choose_tail(name, space, loaded)
    return loaded


def _choose_tail(name: str, space: Space, loaded: dict[str, LoadedSpace]) -> None:
    other = loaded.get(space.tail_from or "")
    if other is None or space.tail_from == name:
        raise SGMError(
            f"The tail of space {name} must be chosen in another space ({', '.join(sorted(set(loaded) - {name})) or 'none'}"
            f"), or one could not tell rarity from the extractor's own errors, got tail_from: {space.tail_from}."
        )
    own = loaded[name]
    if own.text["reference"]["sha256"] != other.text["reference"]["sha256"]:
        raise SGMError(
            f"Spaces {name} and {space.tail_from} must share their reference images to choose a tail, got "
            f"{own.text['reference']['name']} and {other.text['reference']['name']}."
        )
    if not 0 < space.tail_share < 1:
        raise SGMError(f"tail_share must lie between 0 and 1, got {space.tail_share}; a tenth is usual.")
    own.tail_from, own.tail_share = other.real, space.tail_share
    count = own.real.tail_size(space.tail_share)
    own.text["tail"] = {"chosen_in": space.tail_from, "by": "AvgkNN, k = 5", "num_samples": count}
