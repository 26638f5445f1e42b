"""How the package compiles its loops: lazily, without the GIL, cached on disk. Importing this file imports numba."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba

__all__ = ["compiled"]


def compiled(function: Callable[..., Any], any_order: bool = False) -> Any:
    """Return the function compiled on first use, cached on disk where some directory can be written.

    With `any_order` sums may be taken in any order, for functions whose last bits do not matter.

    Examples
    --------
    >>> compiled(lambda a, b: a / b)(1.0, 4.0)
    0.25
    """
    # Division as in numpy: Python's test for zero would keep LLVM from vectorising the loops.
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
    if any_order:
        options["fastmath"] = True
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:
        return numba.njit(**options)(function)
