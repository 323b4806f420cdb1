"""The settings of a comparison, and the arguments of `predict` for each of them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from sgm_lightning.errors import SGMError
from sgm_lightning.files.atomic import write
from sgm_lightning.files.locate import find_config

# Folders of the comparison itself, beside the settings' runs.
SETTINGS, CLAIMS = "settings", "claims"
_SHARED_DATA = ("num_samples", "chunk_size", "seed")


@dataclass(frozen=True)
class Setting:
    """One method of a comparison.

    Attributes:
        name: Name in the tables.
        configs: Paths of YAML files of `predict`, which `content` overrides.
        content: `model` and `trainer` of the setting itself.
    """

    name: str
    configs: list[str] = field(default_factory=list)
    content: dict[str, Any] = field(default_factory=dict)

    @property
    def folder(self) -> str:
        """Name of the run folder."""
        return folder_name(self.name)


def folder_name(name: str) -> str:
    """Return the folder name for the name of a row: `Self-guided, L_2` becomes `self_guided_l_2`."""
    return re.sub(r"[^a-z0-9.]+", "_", name.lower()).strip("_.")


def read_settings(settings: Any) -> list[Setting]:
    """Return the settings of a mapping by name, or of a list of mappings with a `name` each.

    Raises:
        SGMError: If there are none, or one has no name or unknown keys.
    """
    if isinstance(settings, list):
        if unnamed := [entry for entry in settings if not isinstance(entry, dict) or "name" not in entry]:
            raise SGMError(f"Every entry of a list of settings needs a `name`, got {unnamed[0]}; add one.")
        pairs = [(entry["name"], {k: v for k, v in entry.items() if k != "name"}) for entry in settings]
    else:
        pairs = list(settings.items()) if isinstance(settings, dict) else []
    if not pairs:
        raise SGMError(f"There is nothing to compare, got settings: {settings}; name at least one, `ancestral: {{}}` say.")
    return [_setting(str(name), content or {}, {"configs", "model", "trainer"}) for name, content in pairs]


def read_base(base: Any, num_samples: int | None = None) -> Setting:
    """Return the part that all settings share; its data must give the seeds.

    Args:
        base: `configs`, `model`, `trainer`, and `data`.
        num_samples: Number of samples in place of that of `data`.

    Raises:
        SGMError: If the data do not give N, chunk size and seed, which pair the settings.
    """
    given = _setting("base", base, {"configs", "model", "trainer", "data"})
    data = dict(given.content.get("data") or {})
    arguments = dict(data.get("init_args") or {})
    if num_samples is not None:
        arguments["num_samples"] = num_samples
    if missing := [key for key in _SHARED_DATA if key not in arguments]:
        raise SGMError(
            f"Settings are compared on the same seeds, so base.data.init_args must give {', '.join(_SHARED_DATA)}, got no "
            f"{missing[0]}; add it."
        )
    data = {"class_path": data.get("class_path", "sgm_lightning.predict.SampleIndices"), "init_args": arguments}
    return Setting("base", given.configs, {**given.content, "data": data})


def check_names(names: Iterable[str]) -> None:
    """Raise unless every row has a folder with a different name."""
    taken: dict[str, str] = {SETTINGS: "a folder of the comparison", CLAIMS: "a folder of the comparison"}
    for name in names:
        folder = folder_name(name)
        if not folder or folder in taken:
            raise SGMError(
                f"Settings and anchors need names with letters or digits that differ in them, got {name!r}, whose folder "
                f"{folder!r} is {taken.get(folder, 'no name')}; rename it."
            )
        taken[folder] = f"that of {name!r}"


def predict_arguments(base: Setting, setting: Setting, output: Path) -> list[str]:
    """Write the setting's YAML files into OUTPUT/settings, and return the command line of its `predict`.

    Later files override earlier ones: the base, the setting's files, the setting, and the part that pairs all settings.
    """
    pairing = {
        "model": {"baseline": False},  # the unguided samples are a separate setting
        "trainer": {"callbacks": None},  # such as `Evaluate`: all rows are measured afterwards, alike
        "data": base.content["data"],
    }
    shared = {key: value for key, value in base.content.items() if key != "data"}
    files = [
        *base.configs,
        _written(output / SETTINGS / "base.yaml", shared),
        *setting.configs,
        _written(output / SETTINGS / f"{setting.folder}.yaml", setting.content),
        _written(output / SETTINGS / "paired.yaml", pairing),
    ]
    configs = [argument for file in files for argument in ("--config", file)]
    return ["predict", *configs, "--run_dir", str(output / setting.folder)]


def _setting(name: str, content: Any, keys: set[str]) -> Setting:
    if not isinstance(content, dict) or set(content) - keys:
        wrong = min(set(content) - keys) if isinstance(content, dict) else content
        raise SGMError(
            f"Setting {name} must be a mapping of {', '.join(sorted(keys))}, got {wrong!r}; what a sample is drawn with "
            "belongs under `model`, N and seed under `base.data`."
        )
    configs = content.get("configs") or []
    files = {str(config): find_config(str(config)) for config in configs}
    if missing := [config for config, file in files.items() if file is None]:
        raise SGMError(f"Setting {name} names configs that must exist, got {missing[0]}; correct the path.")
    found = [file for file in files.values() if file is not None]
    return Setting(name, found, {key: value for key, value in content.items() if key != "configs"})


def _written(file: Path, content: dict[str, Any]) -> str:
    text = yaml.safe_dump(content, sort_keys=False).encode()
    if not file.is_file() or file.read_bytes() != text:
        write(file, text)
    return str(file)
