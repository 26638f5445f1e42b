"""The nodes of a graph: slots, labels and attributes.

A node keeps its slot until the table is compacted; removed nodes leave a hole. Labels are the slots themselves as
long as nobody asks for others, so a graph of numbered nodes stores no labels at all.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator

import numpy as np

from deepgraph.errors import UnknownNodeError
from deepgraph.graph.arrays import Array
from deepgraph.graph.columns import Columns
from deepgraph.graph.grid_labels import GridLabels

__all__ = ["NodeTable"]


class NodeTable:
    """Slots 0..S-1 with labels and attributes; `holes` are slots of removed nodes."""

    def __init__(self, count: int = 0, labels: list[Hashable] | GridLabels | None = None) -> None:
        self.count = count
        self.names: list[Hashable] | GridLabels | None = labels
        self.index: dict[Hashable, int] | None = None
        self.holes: set[int] = set()
        self.columns = Columns(count)
        self.epoch = 0

    def __len__(self) -> int:
        return self.count - len(self.holes)

    def slots(self) -> Iterator[int]:
        """Yield the slots of the nodes in order."""
        if not self.holes:
            return iter(range(self.count))
        return (slot for slot in range(self.count) if slot not in self.holes)

    def labels(self) -> Iterator[Hashable]:
        """Yield the labels of the nodes in order."""
        if self.names is None:
            return self.slots()
        if not self.holes:
            return iter(self.names)
        return (label for slot, label in enumerate(self.names) if slot not in self.holes)

    def label(self, slot: int) -> Hashable:
        """Return the label of a slot."""
        return slot if self.names is None else self.names[slot]

    def slot(self, label: Hashable) -> int:
        """Return the slot of a label; KeyError where there is no such node, TypeError if it cannot be a key."""
        if self.names is None:
            # Whatever equals an integer has its hash, and finds it as in a dict: 1.0, True, numpy's integers.
            number = hash(label)
            if 0 <= number < self.count and label == number and number not in self.holes:
                return number
            raise KeyError(label)
        if isinstance(self.names, GridLabels):
            place = self.names.position(label)
            if place in self.holes:
                raise KeyError(label)
            return place
        return self._names()[label]

    def _names(self) -> dict[Hashable, int]:
        if self.index is None:
            names = self.names if self.names is not None else range(self.count)
            self.index = {label: slot for slot, label in enumerate(names) if slot not in self.holes}
        return self.index

    def add(self, label: Hashable) -> int:
        """Return the slot of a new node; the label must be new."""
        if self.names is None and not (type(label) is int and label == self.count):
            self.names = list(range(self.count))
        if isinstance(self.names, GridLabels):
            self.names = list(self.names)
        if self.names is not None:
            index = self._names()
            self.names.append(label)
            index[label] = self.count
        self.count += 1
        self.columns.rows = self.count
        return self.count - 1

    def sync(self) -> Columns:
        """Return the attribute columns, as long as the table."""
        for name, array in self.columns.arrays.items():
            if len(array) < self.count:
                longer = np.zeros(self.count, array.dtype)
                longer[: len(array)] = array
                mask = np.zeros(self.count, bool)
                mask[: len(array)] = self.columns.present.get(name, True)
                self.columns.arrays[name], self.columns.present[name] = longer, mask
        return self.columns

    def remove(self, slot: int) -> None:
        """Remove a node."""
        if self.index is not None:
            del self.index[self.label(slot)]
        table = self.sync()
        for name in list(table.keys(slot)):
            table.delete(slot, name)
        self.holes.add(slot)

    def compact(self) -> Array | None:
        """Close the holes and return the new slot of every old one (S,), -1 for holes; None if there are none."""
        if not self.holes:
            return None
        keep = np.ones(self.count, bool)
        keep[list(self.holes)] = False
        moved = np.where(keep, np.cumsum(keep) - 1, -1)
        kept = np.flatnonzero(keep)
        self.names = self.names.taken(kept) if isinstance(self.names, GridLabels) else list(self.labels())
        self.columns = self.sync().take(kept)
        for name in [n for n, mask in self.columns.present.items() if mask.all()]:
            del self.columns.present[name]
        self.count, self.index, self.holes = int(keep.sum()), None, set()
        self.epoch += 1
        return moved

    def positions(self, labels: Iterable[Hashable]) -> Array:
        """Return the positions (K,) of labels.

        Raises
        ------
        UnknownNodeError
            If a label is no node.
        """
        result = []
        for label in labels:
            try:
                result.append(self.slot(label))
            except (KeyError, TypeError):
                raise UnknownNodeError(f"expected a node of the graph, got {label!r}; list(g) names them") from None
        return np.array(result, np.int64)

    def copy(self) -> NodeTable:
        """Return an independent copy."""
        names = list(self.names) if isinstance(self.names, list) else self.names
        result = NodeTable(self.count, names)
        result.holes = set(self.holes)
        result.columns = self.sync().copy()
        return result
