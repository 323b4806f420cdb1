"""Advice to compile, where a run is long enough. It is said, not done: a sample may not depend on its run's length."""

from __future__ import annotations

from sgm_lightning.progress import duration

# Of the committed network on two CPU cores (docs/results/performance.md): how many times as fast exact guidance is when it
# is compiled, 1.41 / 1.19 to the release, and the longest time that its two graphs take on an idle machine.
_TIMES_AS_FAST = 1.18
_COMPILING_SECONDS = 120
# Seconds of drawing after which compiling has paid for itself, 13 minutes, and from which on it is worth another start:
# a busy machine takes several times as long to compile.
BREAK_EVEN_SECONDS = _COMPILING_SECONDS / (1 - 1 / _TIMES_AS_FAST)
_WORTH_SECONDS = 4 * BREAK_EVEN_SECONDS


def advice_to_compile(seconds_left: float) -> str | None:
    """Return a line that advises to compile, or None where that does not pay.

    Args:
        seconds_left: Time that the rest of the run takes each process on a CPU, uncompiled.
    """
    if seconds_left < _WORTH_SECONDS:
        return None
    return (
        f"The rest takes about {duration(seconds_left)}: long enough for compiling to pay. In another run_dir, "
        f"`--model.execution.compile true` draws about {_TIMES_AS_FAST:.1f} times as fast, after minutes of compiling, the "
        "same samples within one grey level."
    )
