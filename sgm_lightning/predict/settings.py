"""The part of a `predict` configuration that determines the samples; the run's manifest records it."""

from __future__ import annotations

from typing import Any

from sgm_lightning.run.settings import by_bytes, plain, without


def sample_settings(config: Any) -> dict[str, Any]:
    """Return the settings that determine a sample, as JSON types.

    Weights, inputs and all other files that a method reads count by their bytes, not by their paths; N, seed and chunk size
    have separate keys in the manifest.

    Args:
        config: Whole configuration of `predict`, as its parser resolves it.

    Raises:
        SGMError: If a number among them is NaN.
    """
    given = {key: plain(config[key], key) for key in ("model", "data")}
    model = {key: value for key, value in given["model"].items() if key not in ("threads", "backbone")}
    for part in ("sampler", "guidance", "score"):
        model[part] = by_bytes(_without_classifier_paths(model.get(part)))
    return {
        **model,
        "backbone": without(given["model"]["backbone"], {"path", "url", "revision"}),
        "data": without(given["data"], {"num_samples", "chunk_size", "seed", "base"}),
        "precision": config["trainer"]["precision"] or "32-true",
    }


def _without_classifier_paths(value: Any) -> Any:
    """Remove the paths of a guidance's classifiers, whose weights the manifest records instead."""
    if isinstance(value, list):
        return [_without_classifier_paths(v) for v in value]
    if isinstance(value, dict):
        names = ("classifier", "discriminator")
        return {k: without(v, {"path", "url"}) if k in names else _without_classifier_paths(v) for k, v in value.items()}
    return value
