"""Tensors that compiled loops read by address, so that one call takes any number of them.

Importing this file imports numba and compiles nothing.
"""

from __future__ import annotations

from typing import Any

from numba import (  # type: ignore[attr-defined]
    carray,
    types,
)
from numba.extending import intrinsic

from deepgraph.kernels.numba_compile import compiled

__all__ = ["at_address", "matrix_at_address"]


def _pointer(typing: Any, address: Any, like: Any) -> Any:
    """The address as a pointer to elements of the dtype of `like`."""

    def codegen(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(sig.return_type))

    return types.CPointer(like.dtype)(types.int64, like), codegen


pointer: Any = intrinsic(_pointer)


def _at_address_loop(address: Any, like: Any, size: Any) -> Any:
    """Return the (size,) elements at an address, of the dtype of `like`."""
    return carray(pointer(address, like), (size,))


def _matrix_at_address_loop(address: Any, like: Any, rows: Any, columns: Any) -> Any:
    """Return the (rows, columns) elements at an address, of the dtype of `like`."""
    return carray(pointer(address, like), (rows, columns))


at_address = compiled(_at_address_loop)
"""(address, like, size): the elements at an address, of the dtype of the array `like`."""

matrix_at_address = compiled(_matrix_at_address_loop)
"""(address, like, rows, columns): the same as a matrix."""
