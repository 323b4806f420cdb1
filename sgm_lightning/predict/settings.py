"""The part of a `predict` configuration that determines the samples; the run's manifest records it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sgm_lightning.files.digest import files_sha256
from sgm_lightning.files.locate import locate
from sgm_lightning.run.manifest import FILE

_WEIGHTS = (".safetensors", ".pt", ".pth", ".ckpt", ".bin")


def sample_settings(config: Any) -> dict[str, Any]:
    """Return the settings that determine a sample, as JSON types.

    Weights, inputs and all other files that a method reads count by their bytes, not by their paths; N, seed and chunk size
    have separate keys in the manifest.

    Args:
        config: Whole configuration of `predict`, as its parser resolves it.
    """
    plain = _plain(config)
    model = {key: value for key, value in plain["model"].items() if key not in ("threads", "backbone")}
    for part in ("sampler", "guidance", "score"):
        model[part] = _by_bytes(_without_classifier_paths(model.get(part)))
    return {
        **model,
        "backbone": _without(plain["model"]["backbone"], {"path", "url", "revision"}),
        "data": _without(plain["data"], {"num_samples", "chunk_size", "seed", "base"}),
        "precision": plain["trainer"]["precision"] or "32-true",
    }


def _by_bytes(value: Any) -> Any:
    """Replace every name of a file, or of a folder that holds weights, by a digest."""
    if isinstance(value, dict):
        return {key: inside if key == "class_path" else _by_bytes(inside) for key, inside in value.items()}
    if isinstance(value, list):
        return [_by_bytes(inside) for inside in value]
    files = _files(value) if isinstance(value, str) else []
    return FILE + files_sha256(files) if files else value


def _files(name: str) -> list[Path]:
    """Return the file of that name, or the weights in the folder of that name, if there are any."""
    try:
        path = Path(locate(name))
        if path.is_file():
            return [path]
        # The current folder and its parents are never meant as a folder of weights.
        if path.resolve() in (Path.cwd(), *Path.cwd().parents) or not path.is_dir():
            return []
        return sorted(file for file in path.rglob("*") if file.suffix in _WEIGHTS)
    except (OSError, ValueError):  # not a possible name of a file
        return []


def _without(value: Any, keys: set[str]) -> Any:
    if isinstance(value, dict):
        return {k: _without(v, keys) for k, v in value.items() if k not in keys}
    return value


def _without_classifier_paths(value: Any) -> Any:
    """Remove the paths of a guidance's classifiers, whose weights the manifest records instead."""
    if isinstance(value, list):
        return [_without_classifier_paths(v) for v in value]
    if isinstance(value, dict):
        names = ("classifier", "discriminator")
        return {k: _without(v, {"path", "url"}) if k in names else _without_classifier_paths(v) for k, v in value.items()}
    return value


def _plain(value: Any) -> Any:
    """Convert namespaces and other types to JSON types."""
    if hasattr(value, "as_dict"):
        value = value.as_dict()
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)
