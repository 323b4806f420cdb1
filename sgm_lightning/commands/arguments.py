"""Arguments of a command line before they are parsed: finds and reads the configurations among them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from sgm_lightning.commands.renamed import moved_config
from sgm_lightning.errors import MalformedCommand
from sgm_lightning.files.locate import CONFIGS, config_folders, find_config, shipped_root
from sgm_lightning.files.regular import read_regular

_OPTIONS = ("-c", "--config")


def with_config_files(args: list[str]) -> list[str]:
    """Return the arguments with the path of a file in place of every configuration's name.

    Args:
        args: Arguments of a command, starting with its name.

    Raises:
        MalformedCommand: If a configuration is neither a file nor shipped.
    """
    found = list(args)
    for index, (start, value) in _configs(args).items():
        if not isinstance(_plain(value), dict):  # YAML itself may be given as well
            found[index] = start + _file(value, args[0])
    return found


def config_contents(args: list[str]) -> dict[str, dict[str, Any]]:
    """Return the contents of a command line's configurations, by file; the parser reports those that are no YAML.

    Raises:
        MalformedCommand: If a configuration is no file of text, or nested deeper than the parser bears.
    """
    contents = {}
    for _, value in _configs(args).values():
        content = _plain(value)
        content = content if isinstance(content, dict) else _plain(_text(value))
        if isinstance(content, dict):
            contents[value] = content
    return contents


def config_files(args: list[str]) -> list[str]:
    """Return the files of a command line's configurations."""
    return [value for _, value in _configs(args).values() if not isinstance(_plain(value), dict)]


def _configs(args: list[str]) -> dict[int, tuple[str, str]]:
    """Return, by index of the argument, the text before the configuration in that argument, and the configuration."""
    found = {}
    for index, arg in enumerate(args):
        option, equals, value = arg.partition("=")
        if option in _OPTIONS and equals:
            found[index] = (f"{option}=", value)
        elif arg in _OPTIONS and index + 1 < len(args):
            found[index + 1] = ("", args[index + 1])
    return found


def _plain(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return None
    except RecursionError:
        raise MalformedCommand(f"A configuration is nested too deeply, got {text[:40]} …; correct it.") from None


def _text(file: str) -> str:
    try:
        return read_regular(file).decode()
    except OSError as error:
        raise MalformedCommand(f"The configuration {file} cannot be read ({error.strerror}); give a YAML file.") from None
    except UnicodeDecodeError:
        raise MalformedCommand(f"The configuration {file} must be text in UTF-8; give a YAML file.") from None


def _file(name: str, command: str) -> str:
    file = find_config(name, command)
    if file is not None:
        return file
    if new := moved_config(name):
        raise MalformedCommand(f"The configuration {name} is now {CONFIGS}/{new}.yaml; give `--config {new}`.")
    folders = ", ".join(f"{folder}/" for folder in config_folders(command))
    raise MalformedCommand(
        f"There is no configuration {name}: no such file in {Path.cwd()}, and no such name in {folders} of "
        f"{shipped_root() / CONFIGS}; `sgm-lightning configs` lists what is shipped."
    )
