"""Finds what a configuration names: configurations that ship with the package, and files beside the configuration."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import NamedTuple

# What ships, by the names that it has in a checkout.
CONFIGS, CHECKPOINTS = "configs", "checkpoints"
# A command looks for bare names in the folder of its own name, unless it says otherwise here.
_FOLDERS = {"predict": ("predict", "methods", "presets"), "estimate": ("predict", "methods", "presets")}
_SUFFIX = ".yaml"


class _Call(NamedTuple):
    """Where a call of the command line looks for files.

    Attributes:
        folders: Folders of its configurations.
        typed: Its arguments, which mean what they mean to the shell: names in the working directory.
    """

    folders: tuple[Path, ...] = ()
    typed: frozenset[str] = frozenset()


_call: ContextVar[_Call | None] = ContextVar("_call", default=None)


def shipped_root() -> Path:
    """The folder that holds `configs/` and `checkpoints/`: inside an installed package, else the checkout."""
    package = Path(__file__).parents[1]
    installed = package / "shipped"
    return installed if installed.is_dir() else package.parent


@contextmanager
def looking_beside(configs: Iterable[str | Path], typed: Iterable[str] = ()) -> Iterator[None]:
    """Let `locate` look beside configurations. Calls nest: the inner one's folders come first.

    Args:
        configs: Files of the configurations.
        typed: Arguments of the command line.
    """
    outer = _call.get() or _Call()
    # Later files win where they meet, so what lies beside them is meant first.
    folders = tuple(dict.fromkeys(Path(file).absolute().parent for file in reversed(list(configs))))
    token = _call.set(_Call(folders + outer.folders, outer.typed | frozenset(typed)))
    try:
        yield
    finally:
        _call.reset(token)


def locate(name: str | Path) -> str:
    """The path of a file or folder that a configuration names.

    An absolute name stands for itself. Others are looked for beside the configurations of the call (for shipped ones: in
    what ships), then in the working directory, then in what ships. A name that the user has typed as an argument is looked
    for in the working directory first.

    Args:
        name: The name.

    Returns:
        The path of the first that exists; the name as it was given if there is none, or if the working directory has it.
    """
    path = Path(name)
    if path.is_absolute() or not set(path.parts) - {".."}:  # the current folder and those above are no one's files
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
    """The configurations that ship, by names such as `predict/fashion_mnist`."""
    folder = shipped_root() / CONFIGS
    return {f"{file.parent.name}/{file.stem}": file for file in sorted(folder.glob(f"*/*{_SUFFIX}"))}


def config_folders(command: str) -> Sequence[str]:
    """The folders of shipped configurations in which a command looks for a bare name, in order."""
    return _FOLDERS.get(command, (command,))


def find_config(name: str, command: str = "predict") -> str | None:
    """The file of a configuration.

    Args:
        name: A path, from the working directory or beside the configurations of the call; or the name of a shipped one, with
            its folder or without, with `.yaml` or without.
        command: The command that will read it.

    Returns:
        The path; None if there is none.
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
