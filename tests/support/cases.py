"""Cases of a parametrised test, most of which run among the slow tests only."""

import pytest


def some(cases, every=None, often=()):
    """Mark cases as slow, except every n-th one, or those at the given places."""
    for place, case in enumerate(cases):
        kept = place % every == 0 if every else place in often
        values = case if isinstance(case, tuple) else (case,)
        yield pytest.param(*values, marks=[] if kept else [pytest.mark.slow])
