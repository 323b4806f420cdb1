"""Turns what the parser says of an argument that it does not accept into one sentence."""

from __future__ import annotations

import difflib
import inspect
import re
from argparse import ArgumentError
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path

import yaml

from sgm_lightning.commands.named import named, parameters
from sgm_lightning.commands.places import place_of
from sgm_lightning.errors import MalformedCommand, told

_ROOMS = (
    "backbones",
    "classifiers",
    "features",
    "guidance",
    "images",
    "samplers",
    "scores",
)  # whose classes have short names
_PLACE = re.compile(r'^Parser key "([^"]*)":')
_CLASS = re.compile(r"Problem with given class_path '([^']*)'")
_BASE = re.compile(r"Subtypes: \[(?:list\[)?(?:<class ')?([\w.]+)")
_UNKNOWN = re.compile(r"(?:Option|does not accept option) '([^']*)'")
_TYPE = re.compile(r"Expected a (?:<class ')?([\w.]+)(?:'>)?\. Got value: (.*)", re.DOTALL)
_CHOICE = re.compile(r"Expected a typing\.Literal\[(.*)\]\. Got value: (.*)", re.DOTALL)
_TYPES = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "text"}


def malformed(error: ArgumentError, known: Iterable[str], args: list[str], files: Iterable[str]) -> Exception:
    """Return the error to raise in place of the parser's.

    Args:
        error: Error of the parser. Each of its causes says the same of a smaller part, the last one of the part itself.
        known: Dotted names of the options of the command.
        args: Arguments of the command, starting with its name.
        files: Configurations among them, of which the sentence names file and line.
    """
    if (ours := told(error)) is not None:
        return ours
    texts = _causes(error)
    place, owner, reason = _place(texts), _owner(texts), " ".join(texts[-1].split())
    command = f"sgm-lightning {args[0]}"

    def line(key: str, value: str | None = None) -> str:  # options have their place's name
        found = place_of(key, args, value) or place_of(key, args, value, loose=True)
        return "" if found is None or found.startswith("-") else f" ({found})"

    if unknown := _UNKNOWN.search(reason):
        name = unknown[1]
        candidates = list(known) if owner is None else parameters(named(owner))
        taken = f"`{command}`" if owner is None else f"{owner.rpartition('.')[2]} of {place}"
        says = f"{taken} takes no option `{name}`{line(f'{place}.{name}' if owner else name)}{_nearest(name, candidates)}"
    elif reason.startswith("unrecognized arguments:"):
        name = (reason.partition(":")[2].split() or [""])[0]  # a key may be empty, or of spaces
        says = f"`{command}` takes no option `{name}`{_nearest(name.lstrip('-').partition('=')[0], known, '--')}"
    elif reason.startswith("the following arguments are required:"):
        needed = reason.partition(":")[2].strip().replace(f"{args[0]}.", "")
        says = f"{owner.rpartition('.')[2]} of {place} needs {needed}" if owner else f"`{command}` needs {needed}"
        says += "" if owner else "; give them, or a configuration that does (`sgm-lightning configs` lists some)"
    elif reason.startswith("Expected a dot import path string:"):
        name = reason.partition(":")[2].strip()
        says = f"{place} takes no class `{name}`{line(f'{place}.class_path', name)}{_nearest(name, _subclasses(texts))}"
    elif (wrong := _TYPE.search(reason)) or (wrong := _CHOICE.search(reason)):
        rule = _TYPES.get(wrong[1], "one of " + wrong[1].replace("'", "") if "Literal" in reason else wrong[1])
        says = f"{place} must be {rule}, got {wrong[2]}{line(place, wrong[2])}"
    elif any(text.startswith("Problems parsing config:") for text in texts):
        says = f"{_unreadable(files) or 'The configuration'} must be YAML ({reason})"
    else:
        says = f"{place or 'An argument'} is not accepted{line(place)}: {reason[:300]}"
    return MalformedCommand(f"{says}; see `{command} --help`.")


def _causes(error: BaseException) -> list[str]:
    texts: list[str] = []
    current: BaseException | None = error
    while current is not None:
        text = re.sub(r"^argument [^:]*: ", "", str(current)).strip()
        if not texts or texts[-1] != text:
            texts.append(text)
        current = current.__cause__
    return texts


def _place(texts: list[str]) -> str:
    """Return the dotted name of the part that is not accepted."""
    parts: list[str] = []
    for text in texts:
        match = _PLACE.match(text)
        if match and (not parts or parts[-1] != match[1]):
            parts.append(match[1])
    return ".".join(parts)


def _owner(texts: list[str]) -> str | None:
    """Return the class path of the innermost class that does not accept the part."""
    found = [match[1] for text in texts if (match := _CLASS.match(text))]
    return found[-1] if found else None


def _subclasses(texts: list[str]) -> list[str]:
    """Return the names of the classes that would be accepted: ours that have been imported."""
    bases = [match[1] for text in texts if (match := _BASE.search(text))]
    if not bases:
        return [name for room in _ROOMS for name in import_module(f"sgm_lightning.{room}").__all__]
    left = [named(bases[-1])]
    names = []
    while left:
        kind = left.pop()
        if isinstance(kind, type):
            names += [] if inspect.isabstract(kind) else [kind.__name__]
            left += kind.__subclasses__()
    return names


def _nearest(name: str, candidates: Iterable[str], prefix: str = "") -> str:
    """Return a question whether the most similar name was meant, and without one the names that there are."""
    names = sorted(set(candidates))
    if near := difflib.get_close_matches(name, names, 1, 0.6):
        return f" (did you mean `{prefix}{near[0]}`?)"
    return f"; it takes {', '.join(names)}" if 0 < len(names) <= 12 else ""


def _unreadable(files: Iterable[str]) -> str | None:
    for file in files:
        try:
            yaml.safe_load(Path(file).read_text(encoding="utf-8"))
        except (OSError, ValueError, yaml.YAMLError):
            return file
    return None
