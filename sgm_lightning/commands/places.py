"""The places where values of settings were given: the file and line, or the option of the command line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from sgm_lightning.files.regular import read_regular

_CONFIG_OPTIONS = ("-c", "--config")
_TRANSPARENT = ("init_args", "dict_kwargs", "<<")  # keys of a file that are no part of a setting's name


def place_of(key: str, args: list[str], value: str | None = None, loose: bool = False) -> str | None:
    """Return where the value of a setting was given: `FILE, line 3` or `--option`, or None if that is not certain.

    Args:
        key: Dotted name of the setting, `model.guidance.scale`; the elements of a list share the list's name.
        args: Arguments of the command, starting with its name, with files in place of the names of configurations.
        value: Value of the setting as text, which tells the elements of a list apart.
        loose: Whether a file may have keys in between that the name has not, such as those of a mapping of classes.
    """
    for text, name in reversed(list(_sources(args))):
        parts, node = _parts(key), _compose(text)
        if name.startswith("--") and name not in _CONFIG_OPTIONS:
            given = _parts(name[2:])
            if given == parts or (given == parts[:-1] and _is_class(parts[-1:], node)):
                return name
            if parts[: len(given)] != given:
                continue
            parts = parts[len(given) :]
        found = list(_find(node, parts, loose, set()))
        if value is not None and (loose or len(found) > 1):
            found = [(at, content) for at, content in found if _equal(content, value)]
        if not found:
            continue
        lines = {at.start_mark.line + 1 for at, _ in found}
        if name.startswith("-"):
            return name
        return f"{name}, line {lines.pop()}" if len(lines) == 1 else None
    return None


def _sources(args: list[str]) -> Iterator[tuple[str, str]]:
    """Yield, in the order in which they apply, the text that gives settings and the name of the option or file."""
    for index, arg in enumerate(args):
        option, equals, value = arg.partition("=")
        if not option.startswith("-"):
            continue
        value = value if equals else "".join(args[index + 1 : index + 2])
        if option not in _CONFIG_OPTIONS:
            yield value, option
            continue
        try:
            yield read_regular(value).decode(), value
        except (OSError, ValueError):  # YAML itself may be given as well
            yield value, "--config"


def _parts(key: str) -> list[str]:
    return [part for part in key.removesuffix("+").split(".") if part not in _TRANSPARENT]


def _compose(text: str) -> Any:
    try:
        return yaml.compose(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        return None


def _find(node: Any, parts: list[str], loose: bool, seen: set[tuple[int, int]]) -> Iterator[tuple[Any, Any]]:
    """Yield the nodes of key and value of a setting below a node, for each element of a list on the way."""
    if (id(node), len(parts)) in seen:  # an alias may contain itself
        return
    seen.add((id(node), len(parts)))
    if isinstance(node, yaml.SequenceNode):
        for element in node.value:
            yield from _find(element, parts, loose, seen)
    if not isinstance(node, yaml.MappingNode):
        return
    for key, value in node.value:
        names = _parts(str(key.value))
        rest = parts[len(names) :]
        if names and (names == parts or (names == parts[: len(names)] and _is_class(rest, value))):
            yield key, value
        elif names == parts[: len(names)]:
            yield from _find(value, rest, loose, seen)
        elif loose:
            yield from _find(value, parts, loose, seen)


def _is_class(rest: list[str], node: Any) -> bool:
    """Return whether a value is the name of a class that may as well stand below it as `class_path`."""
    return rest == ["class_path"] and isinstance(node, yaml.ScalarNode)


def _equal(node: Any, value: str) -> bool:
    if not isinstance(node, yaml.ScalarNode):
        return False
    try:
        return node.value == value or bool(yaml.safe_load(node.value) == yaml.safe_load(value))
    except yaml.YAMLError:
        return False
