"""Kinds of values that the configuration files of other programs may hold."""

from __future__ import annotations

import math
from typing import Any


def is_number(value: Any) -> bool:
    """Return whether a value is a finite number; truth values are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def is_whole(value: Any, largest: int) -> bool:
    """Return whether a value is a whole number from 1 to `largest`; truth values are none."""
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= largest
