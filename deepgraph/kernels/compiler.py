"""Whether there is a compiler for loops."""

from __future__ import annotations

from importlib.util import find_spec

__all__ = ["has_numba"]


def has_numba() -> bool:
    """Return whether numba can be imported.

    Examples
    --------
    >>> isinstance(has_numba(), bool)
    True
    """
    return find_spec("numba") is not None
