"""Finds the files that a configuration names: shipped configurations, and files beside the configuration."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import NamedTuple

# Folders that ship with the package, named as in a checkout.
CONFIGS, CHECKPOINTS = "configs", "checkpoints"
# Folders in which a command looks for bare names; by default the folder with the command's name.
_FOLDERS = {"predict": ("predict", "methods", "presets"), "estimate": ("predict", "methods", "presets")}
_SUFFIX = ".yaml"


class _Call(NamedTuple):
    """The places in which a call of the command line looks for files.

    Attributes:
        folders: Folders of its configurations.
        typed: Its arguments. A name among them is looked for in the working directory first, as the shell would.
    """

    folders: tuple[Path, ...] = ()
    typed: frozenset[str] = frozenset()


_call: ContextVar[_Call | None] = ContextVar("_call", default=None)


def shipped_root() -> Path:
    """Return the folder that holds `configs/` and `checkpoints/`: inside an installed package, else the checkout."""
    package = Path(__file__).parents[1]
    installed = package / "shipped"
    return installed if installed.is_dir() else package.parent


@contextmanager
def looking_beside(configs: Iterable[str | Path], typed: Iterable[str] = ()) -> Iterator[None]:
    """Let `locate` look beside configurations. Calls nest: the folders of the inner call come first.

    Args:
        configs: Files of the configurations.
        typed: Arguments of the command line.
    """
    outer = _call.get() or _Call()
    # Later files override earlier ones, so their folders are searched first.
    folders = tuple(dict.fromkeys(Path(file).absolute().parent for file in reversed(list(configs))))
    token = _call.set(_Call(folders + outer.folders, outer.typed | frozenset(typed)))
    try:
        yield
    finally:
        _call.reset(token)


def locate(name: str | Path) -> str:
    """Return the path of a file or folder that a configuration names.

    An absolute name is returned unchanged. Other names are looked for beside the configurations of the call (for shipped
    configurations also among the shipped files), then in the working directory, then among the shipped files. A name that
    the user has typed as an argument is looked for in the working directory first.

    Args:
        name: Name to look for.

    Returns:
        The first path that exists; the name unchanged if none exists, or if the working directory has it.
    """
    path = Path(name)
    if path.is_absolute() or not set(path.parts) - {".."}:  # only dots: no file is meant
        return str(name)
    call = _call.get() or _Call()
    here = path.exists()
    if here and str(name) in call.typed:
        return str(name)
    root = shipped_root()
    ships = path.parts[0] in (CONFIGS, CHECKPOINTS)
    for folder in call.folders:
        if (folder / path).exists():
            return str(folder / path)
        if ships and root / CONFIGS in folder.parents and (root / path).exists():
            return str(root / path)
    if not here and ships and (root / path).exists():
        return str(root / path)
    return str(name)


def shipped_configs() -> dict[str, Path]:
    """Return the shipped configurations, by names such as `predict/fashion_mnist`."""
    folder = shipped_root() / CONFIGS
    return {f"{file.parent.name}/{file.stem}": file for file in sorted(folder.glob(f"*/*{_SUFFIX}"))}


def config_folders(command: str) -> Sequence[str]:
    """Return the folders of shipped configurations in which a command looks for a bare name, in order."""
    return _FOLDERS.get(command, (command,))


def find_config(name: str, command: str = "predict") -> str | None:
    """Return the file of a configuration.

    Args:
        name: A path, from the working directory or beside the configurations of the call; or the name of a shipped
            configuration, with or without its folder, with or without `.yaml`.
        command: Command that will read the configuration.

    Returns:
        The path, or None if there is no such configuration.
    """
    given = locate(name)
    if Path(given).is_file():
        return given
    shipped = shipped_configs()
    bare = name.removeprefix(f"{CONFIGS}/").removesuffix(_SUFFIX)
    for full in (bare, *(f"{folder}/{bare}" for folder in config_folders(command))):
        if full in shipped:
            return str(shipped[full])
    return None
