"""`BoundColumn`: a column whose values a module keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from deepgraph.graph.arrays import Array

if TYPE_CHECKING:
    from deepgraph.graph.history import EdgeEdit
    from deepgraph.graph.row_moves import RowMoves

__all__ = ["BoundColumn"]


class BoundColumn(Protocol):
    """A column whose values live elsewhere: in the parameter of a module."""

    def read(self) -> Array:
        """Return the values (E,), a view where that is possible."""

    def write(self, rows: Array | slice, values: Array) -> None:
        """Store `values` at `rows`."""

    def follow(self, edit: EdgeEdit, moves: RowMoves, grown: Array) -> None:
        """Move values and optimizer state along an edit; `grown` (K,) are the values of the grown edges."""
