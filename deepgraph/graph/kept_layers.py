"""`KeptLayers`: the layers of a graph, kept up to date through its edits."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from deepgraph.errors import CycleError
from deepgraph.graph.arrays import Array, read_only
from deepgraph.graph.layer_updates import critical_counts, updated_layers
from deepgraph.graph.layers import layer_index

if TYPE_CHECKING:
    from deepgraph.graph.history import EdgeEdit

__all__ = ["KeptLayers"]

Rows = tuple[Array, Array]


class KeptLayers:
    """The layers of the edges at one moment, which a number of the edges' version names.

    Attributes
    ----------
    version : int
        Version of the edges that the layers belong to, -1 where there are none.
    layer : (N,) int32
        Read-only.
    critical : (N,) int32 or None
        What `critical_counts` gives; made when the first edit needs it.
    """

    def __init__(self) -> None:
        self.version = -1
        self.layer: Array = np.empty(0, np.int32)
        self.critical: Array | None = None

    def keep(self, version: int, layer: Array, critical: Array | None = None) -> None:
        """Take the layers of another moment."""
        self.version, self.layer, self.critical = version, read_only(layer), critical

    def at(self, version: int, rows: Rows, label: Callable[[int], object]) -> Array:
        """Return the layers (N,), read-only, of edges in compressed rows; computed unless they are those kept.

        Raises
        ------
        CycleError
            If the graph has a directed cycle; the message names one.
        """
        if self.version != version:
            self.keep(version, layer_index(*rows, len(rows[0]) - 1, label))
        return self.layer

    def after(self, before: Rows, edit: EdgeEdit, rows: Rows, label: Callable[[int], object]) -> Rows:
        """Return layers and critical counts, each (N,), after an edit that leads from `before` to `rows`.

        Raises
        ------
        CycleError
            If the edit closes a cycle.
        """
        if self.critical is None:
            self.critical = critical_counts(*before, self.layer)
        return updated_layers(self.layer, self.critical, edit.dropped, edit.grown, *rows, label)

    def after_if_known(self, version: int, before: Rows, edit: EdgeEdit, rows: Rows) -> Rows | None:
        """Return `after(...)`, or None if layers were not asked for or the edit closes a cycle."""
        if self.version != version:
            return None
        try:
            # Nobody reads what the error says, and labels may have moved ahead of the edges.
            return self.after(before, edit, rows, int)
        except CycleError:
            return None

    def widen(self, version: int, count: int) -> None:
        """Append nodes without edges, up to `count`; `version` names the edges then."""
        missing = np.zeros(count - len(self.layer), np.int32)
        critical = None if self.critical is None else np.concatenate([self.critical, missing])
        self.keep(version, np.concatenate([self.layer, missing]), critical)

    def copy(self, version: int) -> KeptLayers:
        """Return the same layers for a copy of the edges, which has a version of its own; arrays are shared."""
        result = KeptLayers()
        result.keep(version, self.layer, self.critical)
        return result
