"""The manifest of a run: it records what determines the results, so that no others get into the run's folder."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from sgm_lightning.errors import SGMError, reason_of
from sgm_lightning.files.atomic import write
from sgm_lightning.files.regular import read_regular
from sgm_lightning.files.values import is_whole

# Raised whenever the same settings would draw other samples.
DRAW_VERSION = 2

# Recorded, but free to change: a run may be extended, and continued with another release.
_RECORDED = {"num_samples", "version", "torch"}

# Largest number of samples of a run.
MOST_SAMPLES = 10**9

# Prefix of the digest of a file that the settings name.
FILE = "file, sha256 "


class _OtherCommand(SGMError):
    """The folder belongs to another command, whatever it holds."""


def agree(file: Path, manifest: dict[str, Any], defaults: dict[str, Any], started: bool = True) -> dict[str, Any]:
    """Record the manifest, or check it against the recorded one. The first of several processes records it.

    Args:
        file: Path of `manifest.json`.
        manifest: New manifest of JSON types. Keys of value None that `defaults` names take the recorded value.
        defaults: Values of those keys in a new run.
        started: Whether the recorded run has results, or a process that works on them. A run without has nothing to protect:
            the new manifest takes the place of one that differs, as after a first start that failed.

    Returns:
        The manifest that applies.

    Raises:
        SGMError: If the recorded run has other settings; the error gives the differing keys and both values.
    """
    new = {**manifest, **{key: value for key, value in defaults.items() if manifest[key] is None}}
    if not file.is_file() and write(file, _json(new), exclusive=True, new_folder=False):
        return new
    try:
        old = check(file, manifest, defaults)
    except _OtherCommand:
        raise
    except SGMError:
        if started:
            raise
        write(file, _json(new), new_folder=False)
        return new
    new.update({key: old[key] for key in defaults if manifest[key] is None and key in old})
    if "num_samples" in new:
        recorded = old.get("num_samples")
        new["num_samples"] = max(new["num_samples"], recorded if is_whole(recorded, MOST_SAMPLES) else 0)
    if new != old:
        write(file, _json(new), new_folder=False)
    return new


def fingerprint(manifest: dict[str, Any]) -> str:
    """Return the digest of all that determines a run's samples; each of its chunks is sealed with it."""
    determining = {key: value for key, value in manifest.items() if key not in _RECORDED}
    return hashlib.sha256(json.dumps(determining, sort_keys=True).encode()).hexdigest()


def read_manifest(file: Path) -> dict[str, Any]:
    """Return the manifest on record.

    Raises:
        SGMError: If the file is missing or damaged.
    """
    try:
        content = json.loads(read_regular(file))
    except (OSError, ValueError, RecursionError) as error:
        raise SGMError(f"{file} cannot be read ({reason_of(error)}); restore it, or choose another run_dir.") from None
    if not isinstance(content, dict):
        raise SGMError(
            f"{file} must hold the settings of a run, got {type(content).__name__}; restore it, or choose another run_dir."
        )
    return content


def check(file: Path, manifest: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """Return the recorded manifest, if `agree` would accept the new one; write nothing.

    Args:
        file: Path of `manifest.json`, which exists.
        manifest: New manifest, as for `agree`.
        defaults: Values in a new run, as for `agree`.

    Raises:
        SGMError: If the file cannot be read, or `agree` would refuse the new manifest.
    """
    old = read_manifest(file)
    commands = [content.get("command", "predict") for content in (old, manifest)]
    if commands[0] != commands[1]:
        raise _OtherCommand(
            f"run_dir {file.parent} holds a run of `{commands[0]}`, got `{commands[1]}`; choose another run_dir."
        )
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
    """Return the dotted key and both values wherever two JSON values differ."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return [] if old == new else [(key, old, new)]
    found = []
    for name in sorted({*old, *new}):
        found += _differences(old.get(name), new.get(name), f"{key}.{name}" if key else name)
    return found


def _json(manifest: dict[str, Any]) -> str:
    return json.dumps(manifest, indent=1)
