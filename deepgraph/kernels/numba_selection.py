"""The compiled loop of `selection`. Importing this file imports numba and compiles nothing."""

from __future__ import annotations

from typing import Any

from deepgraph.kernels.numba_compile import compiled

__all__ = ["at_least"]

# Entries tested together: most groups hold nothing, and a test without branches is vectorised.
GROUP = 32


def _at_least_loop(array: Any, limit: Any, places: Any) -> int:
    """Write the places of the entries >= limit to `places`, ascending, and return their number."""
    count, whole = 0, array.shape[0] - array.shape[0] % GROUP
    for start in range(0, whole, GROUP):
        hit = 0
        for i in range(start, start + GROUP):
            hit += array[i] >= limit
        if hit:
            for i in range(start, start + GROUP):
                places[count] = i
                count += array[i] >= limit
    for i in range(whole, array.shape[0]):
        if array[i] >= limit:
            places[count] = i
            count += 1
    return count


at_least = compiled(_at_least_loop)
"""(array (S,), limit, places (S,)) -> count: fills places[:count] with the places of entries >= limit, ascending."""
