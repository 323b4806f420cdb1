"""Kinds of values that files of other programs may hold, and how errors show them."""

from __future__ import annotations

import math
import reprlib
from typing import Any

from torch import Tensor


def is_number(value: Any) -> bool:
    """Return whether a value is a finite number that a float can hold; truth values are none."""
    try:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:
        return False


def is_whole(value: Any, largest: int, smallest: int = 1) -> bool:
    """Return whether a value is a whole number from `smallest` to `largest`; truth values are none."""
    return isinstance(value, int) and not isinstance(value, bool) and smallest <= value <= largest


def one_line(name: str) -> str:
    """Return a name in one line without control characters, of 150 characters at most."""
    return repr(name[:150])[1:-1]


def shown(value: Any) -> str:
    """Return a value in one short line, whatever its type, size and depth are."""
    return _SHORT.repr(value)


class _Short(reprlib.Repr):
    """Shows the first few parts of a value, to a small depth."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxlist, self.maxtuple, self.maxdict, self.maxstring, self.maxother = 2, 3, 3, 3, 60, 60

    def repr_int(self, x: int, level: int) -> str:
        return repr(x) if x.bit_length() < 200 else f"a whole number of {x.bit_length()} bits"

    def repr_instance(self, x: Any, level: int) -> str:
        if isinstance(x, (float, complex, bool, bytes, type(None))):
            return repr(x)[: self.maxother]
        return f"a tensor of {x.dtype}" if isinstance(x, Tensor) else f"a {type(x).__name__}"


_SHORT = _Short()
