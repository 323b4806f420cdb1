"""What determines the samples of a run, on record so that nothing else is drawn into its folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sgm_lightning.errors import SGMError
from sgm_lightning.files.atomic import write

# Raised whenever the same settings would draw other samples.
DRAW_VERSION = 2

# On record, but free to change: a run may be extended, and continued with another release.
_RECORDED = {"num_samples", "version", "torch"}

# Stands before the digest of a file that the settings name.
FILE = "file, sha256 "


def agree(file: Path, manifest: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """Record the manifest, or check it against the one on record. The first of several processes records.

    Args:
        file: `manifest.json`.
        manifest: JSON types only. Keys of value None that `defaults` names take the value on record.
        defaults: Their values in a new run.

    Returns:
        The manifest that holds.

    Raises:
        SGMError: If the run on record has other settings; the differing keys and both values are named.
    """
    new = {**manifest, **{key: value for key, value in defaults.items() if manifest[key] is None}}
    if not file.is_file() and write(file, _json(new), exclusive=True, new_folder=False):
        return new
    old = check(file, manifest, defaults)
    new.update({key: old[key] for key in defaults if manifest[key] is None and key in old})
    new["num_samples"] = max(new["num_samples"], old.get("num_samples", 0))
    if new != old:
        write(file, _json(new), new_folder=False)
    return new


def check(file: Path, manifest: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """The manifest on record; writes nothing.

    Args:
        file: `manifest.json`, which exists.
        manifest: See `agree`.
        defaults: See `agree`.

    Raises:
        SGMError: If it cannot be read, or `agree` would refuse.
    """
    try:
        old: dict[str, Any] = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise SGMError(f"{file} cannot be read ({error}); restore it, or choose another run_dir.") from None
    drawn_by = old.get("draw_version", 1)
    if "draw_version" in manifest and drawn_by != manifest["draw_version"]:
        raise SGMError(
            f"run_dir {file.parent} holds a run of draw version {drawn_by}, and this release draws other noise "
            f"from the same seed (draw version {manifest['draw_version']}); choose another run_dir, or finish it with "
            f"sgm_lightning {old.get('version', 'of before')}."
        )
    new = {**manifest, **{key: old.get(key) for key in defaults if manifest[key] is None}}
    differing = [
        f"{key}: {before!r} → {now!r}" for key, before, now in _differences(old, new) if key.split(".")[0] not in _RECORDED
    ]
    if differing:
        raise SGMError(
            f"run_dir {file.parent} holds a run with other settings ({'; '.join(differing)[:600]}); choose another "
            "run_dir, or repeat its settings to resume it."
        )
    return old


def _differences(old: Any, new: Any, key: str = "") -> list[tuple[str, Any, Any]]:
    """Dotted key and both values wherever two JSON values differ."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return [] if old == new or _names_file(old, new) else [(key, old, new)]
    found = []
    for name in sorted({*old, *new}):
        found += _differences(old.get(name), new.get(name), f"{key}.{name}" if key else name)
    return found


def _names_file(old: Any, new: Any) -> bool:
    """Whether a file has a digest now, but only a name on record, as in runs of before files were counted."""
    texts = isinstance(old, str) and isinstance(new, str)
    return texts and new.startswith(FILE) and not old.startswith(FILE)


def _json(manifest: dict[str, Any]) -> str:
    return json.dumps(manifest, indent=1)
