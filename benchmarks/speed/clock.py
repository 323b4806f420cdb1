"""How long something takes: in turns with what it is compared to, or as parts of one program."""

from __future__ import annotations

import cProfile
import pstats
import time
from collections.abc import Callable, Mapping

Work = Callable[[], object]


def seconds(work: Work) -> float:
    """Call it once."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def in_turns(works: Mapping[str, Work], rounds: int) -> dict[str, list[float]]:
    """Call each once a round, so that what slows the machine slows all of them; seconds by name and round."""
    found: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            found[name].append(seconds(work))
    return found


def parts(work: Work, functions: Mapping[str, Callable[..., object]]) -> dict[str, float]:
    """Seconds that pass inside of functions while `work` runs in this thread, by Python's own profiler.

    The profiler makes Python's calls slower, and what the network computes not: shares of the rest are upper bounds.
    """
    profiler = cProfile.Profile()
    profiler.runcall(work)
    stats = pstats.Stats(profiler).stats  # type: ignore[attr-defined]
    codes = {name: function.__code__ for name, function in functions.items()}  # type: ignore[attr-defined]
    places = {name: (code.co_filename, code.co_firstlineno, code.co_name) for name, code in codes.items()}
    return {name: stats[place][3] if place in stats else 0.0 for name, place in places.items()}
