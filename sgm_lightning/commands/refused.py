"""Adds to an error of a constructor where the value was given that it refuses."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from traceback import walk_tb
from typing import Any

from jsonargparse import Namespace

from sgm_lightning.commands.named import named, parameters
from sgm_lightning.commands.places import place_of
from sgm_lightning.errors import SGMError, told

_RULE = re.compile(r"(?:[\w.]*\.)?(\w+) must\b.*?, got ", re.DOTALL)


@contextmanager
def placed(config: Any, args: list[str], making: bool = True, function: Callable[..., Any] | None = None) -> Iterator[None]:
    """Add file and line, or the option, to an error that the values of a configuration cause; add nothing if unsure.

    Args:
        config: Configuration, with the values that the parser accepted.
        args: Arguments of the command, as for `place_of`.
        making: Whether the classes of the configuration are being made, so that their values cause whatever is wrong.
        function: Function that takes the configuration as its arguments, if there is one.
    """
    try:
        yield
    except Exception as raised:
        if (error := told(raised)) is not None:
            error.args = (_with_place(error, config, args, making, function),)
        raise


def _with_place(error: SGMError, config: Any, args: list[str], making: bool, function: Callable[..., Any] | None) -> str:
    text, parts = str(error), list(_parts(config))
    places = [place_of(key, args) for key in _spoken_paths(text, parts)]
    for owner in _owners(error, function):
        own = [(path, values) for kind, path, values in parts if _belongs(kind, path, values, owner)]
        refused = [(path, values, end) for path, values in own if (end := _end_of_value(text, values)) is not None]
        if len(refused) == 1:
            path, values, end = refused[0]
            name = _refused(text)
            place = place_of(f"{path}{name}", args, str(values[name]))
            known = place is None or f"`{place.lstrip('-')}`" in text
            return text if known else f"{text[:end]} ({place}){text[end:]}"
        if making and own:
            places = places or [_place_of_part(*part, args) for part in own]
            break
    if len(places) != 1 or places[0] is None:
        return text
    return f"{text.removesuffix('.')} ({places[0]})."


def _owners(error: BaseException, function: Callable[..., Any] | None) -> Iterator[Any]:
    """Yield the classes whose methods were at work, the innermost first, and the function."""
    frames = [frame for frame, _ in walk_tb(error.__traceback__)]
    for frame in reversed(frames):
        if "self" in frame.f_locals:
            yield type(frame.f_locals["self"])
    if function is not None:
        yield function


def _parts(tree: Any, path: str = "", kind: str | None = None) -> Iterator[tuple[str | None, str, Mapping[str, Any]]]:
    """Yield the class path, the name with a dot behind it, and the values of every part of a configuration."""
    if isinstance(tree, list):
        for element in tree:
            yield from _parts(element, path)
    values = vars(tree) if isinstance(tree, Namespace) else tree
    if not isinstance(values, dict):
        return
    if isinstance(values.get("class_path"), str):
        yield from _parts(values.get("init_args") or {}, path, values["class_path"])
        return
    yield kind, path, values
    for key, value in values.items():
        yield from _parts(value, f"{path}{key}.")


def _belongs(kind: str | None, path: str, values: Mapping[str, Any], owner: Any) -> bool:
    """Return whether a part of a configuration holds the arguments of a class or function."""
    if kind is not None:
        return named(kind) is owner
    if inspect.isclass(owner):
        return bool(values) and set(values) <= set(parameters(owner))
    return not path


def _refused(text: str) -> str:
    """Return the name in a message `NAME must …, got VALUE`; empty in others."""
    rule = _RULE.match(text)
    return "" if rule is None else rule[1][0].lower() + rule[1][1:]


def _end_of_value(text: str, values: Mapping[str, Any]) -> int | None:
    """Return where in a message `NAME must …, got VALUE; …` the value ends, if NAME alone is refused and has this value."""
    rule = _RULE.match(text)
    if rule is None or _refused(text) not in values:
        return None
    value, said = values[_refused(text)], text[rule.end() :]
    for form in {str(value), repr(value), f"{value:g}" if isinstance(value, float) else str(value)}:
        if said.startswith(form) and re.match(r"[;.]?( (?!and\b)|$)", said[len(form) :]):
            return rule.end() + len(form)
    return None


def _spoken_paths(text: str, parts: list[tuple[str | None, str, Mapping[str, Any]]]) -> list[str]:
    """Return the names of the settings whose values are paths that a message speaks of."""
    return [
        f"{path}{name}"
        for _, path, values in parts
        for name, value in values.items()
        if isinstance(value, str) and "/" in value and value in text
    ]


def _place_of_part(path: str, values: Mapping[str, Any], args: list[str]) -> str | None:
    """Return where a part stands, if one file gives all of it."""
    own = place_of(f"{path}class_path", args) or place_of(path.removesuffix("."), args)
    places = [own, *(place_of(f"{path}{name}", args) for name in values)]
    sources = {place.partition(", line ")[0] for place in places if place is not None}
    return own if len(sources) == 1 else None
