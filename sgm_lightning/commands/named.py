"""Classes by their import path, and what their constructors take."""

from __future__ import annotations

import inspect
from importlib import import_module
from typing import Any


def named(path: str) -> Any:
    """Return what an import path names, or None if there is no such thing."""
    module, _, name = path.rpartition(".")
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError):
        return None


def parameters(kind: Any) -> list[str]:
    """Return the names of the parameters of a class, those that it passes on to its bases included."""
    found: dict[str, None] = {}
    for base in getattr(kind, "__mro__", ()):
        if "__init__" in vars(base):
            own = inspect.signature(base.__init__).parameters.values()
            found.update(dict.fromkeys(p.name for p in own if p.name != "self" and p.kind != p.VAR_KEYWORD))
            if not any(p.kind == p.VAR_KEYWORD for p in own):
                break
    return list(found)
