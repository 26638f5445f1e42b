"""`EdgeStore`: what a graph needs of its edges, whoever keeps them."""

from __future__ import annotations

import abc
from bisect import bisect_left
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from deepgraph.graph.arrays import Array
from deepgraph.graph.columns import Columns
from deepgraph.graph.history import EdgeEdit, History

if TYPE_CHECKING:
    from deepgraph.graph.edge_set import EdgeSet
    from deepgraph.graph.edge_store import FreeEdges

__all__ = ["EdgeStore", "row_of"]


def row_of(indptr: Array, dst: Array, u: int, v: int) -> int:
    """Return the row of edge (u, v) in canonical order, -1 if there is none."""
    low, high = int(indptr[u]), int(indptr[u + 1])
    at = bisect_left(dst, v, low, high)
    return at if at < high and dst[at] == v else -1


class EdgeStore(abc.ABC):
    """The edges of a graph, in slots of nodes.

    The first half serves networkx's views one edge at a time; the second half gives and takes arrays, and is called
    after `consolidate`, when slots are positions.
    """

    bound: ClassVar[bool]
    """Whether the edges belong to a module."""

    def __init__(self) -> None:
        self.label: Callable[[int], object] = int

    # -- one edge at a time -------------------------------------------------------------------------------------

    @abc.abstractmethod
    def __len__(self) -> int: ...

    @abc.abstractmethod
    def has(self, u: int, v: int) -> bool:
        """Return whether (u, v) is an edge."""

    @abc.abstractmethod
    def successors(self, u: int) -> list[int]:
        """Return the targets of u."""

    @abc.abstractmethod
    def predecessors(self, v: int) -> list[int]:
        """Return the sources of v."""

    @abc.abstractmethod
    def out_degree(self, u: int) -> int:
        """Return the number of targets of u."""

    @abc.abstractmethod
    def in_degree(self, v: int) -> int:
        """Return the number of sources of v."""

    @abc.abstractmethod
    def add(self, u: int, v: int, attributes: dict[str, Any]) -> None:
        """Add an edge, or update the attributes of an existing one."""

    @abc.abstractmethod
    def remove(self, u: int, v: int) -> None:
        """Remove an existing edge."""

    @abc.abstractmethod
    def table(self, u: int, v: int) -> tuple[Columns, int] | dict[str, Any]:
        """Return where the attributes of an edge are: a table and its row, or a dict; KeyError if it is no edge."""

    # -- arrays -------------------------------------------------------------------------------------------------

    @abc.abstractmethod
    def consolidate(self, nodes: int) -> None:
        """Bring the arrays up to date with single additions and removals, for `nodes` nodes."""

    @abc.abstractmethod
    def clear(self) -> None:
        """Remove all edges."""

    @abc.abstractmethod
    def renumber(self, moved: Array, nodes: int) -> None:
        """Give nodes new slots: `moved` (S,) is the new slot of each old one, -1 for those that went."""

    @abc.abstractmethod
    def csr(self) -> tuple[Array, Array]:
        """Return source-major `(indptr (N + 1,), dst (E,))`, read-only."""

    @abc.abstractmethod
    def csc(self) -> tuple[Array, Array, Array]:
        """Return target-major `(indptr (N + 1,), src (E,), edge (E,))`, read-only."""

    @abc.abstractmethod
    def pairs(self) -> tuple[Array, Array]:
        """Return `(src, dst)`, each (E,), in canonical order, read-only."""

    @abc.abstractmethod
    def names(self) -> list[str]:
        """Return the names of the columns."""

    @abc.abstractmethod
    def column(self, name: str, default: Any = None) -> Array:
        """Return a column (E,), read-only."""

    @abc.abstractmethod
    def set_column(self, name: str, array: Any) -> None:
        """Store a column (E,)."""

    @abc.abstractmethod
    def history(self) -> History:
        """Return the edits, oldest first."""

    @abc.abstractmethod
    def edit(
        self, drop: Any = None, grow: Any = None, step: int | None = None, reason: str = "", **columns: Any
    ) -> EdgeEdit:
        """Drop and grow edges at once, or raise and change nothing; return the edit."""

    @abc.abstractmethod
    def undo(self) -> EdgeEdit:
        """Take the newest edit back and return it."""

    @abc.abstractmethod
    def redo(self) -> EdgeEdit:
        """Make the edit that was undone last again and return it."""

    @abc.abstractmethod
    def repeat(self, edit: EdgeEdit) -> EdgeEdit:
        """Make the edit of another graph, with its step, reason and columns, and return the new one."""

    @abc.abstractmethod
    def edge_set(self) -> EdgeSet:
        """Return all edges as one edge set: for reading."""

    @abc.abstractmethod
    def copy(self) -> FreeEdges:
        """Return an independent copy that belongs to no module, history included."""

    @property
    @abc.abstractmethod
    def nbytes(self) -> int:
        """Bytes of pairs, columns and indexes."""

    @abc.abstractmethod
    def layers(self) -> Array:
        """Return the layer of every node (N,), read-only; computed at the first call, then kept through edits.

        Raises
        ------
        CycleError
            If the graph has a directed cycle; the message names one.
        """
