"""Formats numbers and tables as text for terminals, Markdown and JSON."""

from __future__ import annotations

import json
import math
from typing import Any

ABSENT = "–"


def to_json(value: Any) -> str:
    """Return readable JSON, with null for NaN and infinity, which JSON does not allow."""
    return json.dumps(finite(value), indent=1, ensure_ascii=False, allow_nan=False)


def finite(value: Any) -> Any:
    """Return the value with None in place of every NaN and infinity inside."""
    if isinstance(value, dict):
        return {key: finite(inside) for key, inside in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(inside) for inside in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def fixed(value: float | None) -> str:
    """Format a number with three decimals, or with one if it is large."""
    if value is None:
        return ABSENT
    return _unsigned_zero(f"{value:.3f}" if abs(value) < 100 else f"{value:.1f}")


def short(value: float | None) -> str:
    """Format a positive number with three digits, or as an integer from 100 on."""
    if value is None:
        return ABSENT
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def with_error(value: float | None, standard_error: float | None) -> str:
    """Format a number and its standard error, to two digits of the standard error."""
    if value is None:
        return ABSENT
    if standard_error is None or not math.isfinite(standard_error):
        return f"{value:.3g}"
    digits = error_digits(standard_error)
    return f"{_unsigned_zero(f'{value:.{digits}f}')} ± {standard_error:.{digits}f}"


def difference(value: float, standard_error: float) -> str:
    """Format a difference with its sign, and its standard error if there is one."""
    if not math.isfinite(value):
        return ABSENT
    return f"{value:+.3g}" + (f" ± {standard_error:.2g}" if math.isfinite(standard_error) else "")


def _unsigned_zero(text: str) -> str:
    return text if float(text) else text.replace("-", "")


def error_digits(error: float) -> int:
    """Return the number of decimals that show two digits of a standard error.

    Example:
        >>> error_digits(0.0123)
        3
    """
    return max(0, 1 - math.floor(math.log10(error))) if math.isfinite(error) and error > 0 else 3


def markdown(heads: list[str], lines: list[list[str]]) -> str:
    """Format a Markdown table; all columns but the first are right-aligned."""

    def row(cells: list[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    return "\n".join([row(heads), row(["---", *["--:"] * (len(heads) - 1)]), *map(row, lines)])


def plain_table(lines: list[list[str]]) -> str:
    """Format a table for a terminal; all columns but the first are right-aligned."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]

    def padded(line: list[str]) -> str:
        cells = (cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))
        return "  ".join([line[0].ljust(widths[0]), *cells]).rstrip()

    return "\n".join(padded(line) for line in lines)
