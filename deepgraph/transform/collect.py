"""The collector: nodes and edges of a trace, kept in chunks, counted against a limit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from tqdm.auto import tqdm

from deepgraph.transform.traced import (
    KIND_INPUT,
    KIND_NEURON,
    KIND_POOL,
    KIND_UNIT,
    NO_ORIGIN,
    NO_SLOPE,
    Array,
    Shares,
    TracedGraph,
)

__all__ = ["Collector", "Names"]

_KINDS = {"input": KIND_INPUT, "neuron": KIND_NEURON, "pool": KIND_POOL, "unit": KIND_UNIT}
_BAR_FROM = 2_000_000
"""Edges from which on a progress bar is shown."""


class Names:
    """Names and their numbers, in order of first use.

    Parameters
    ----------
    first : str
        The name of number 0.
    """

    def __init__(self, first: str) -> None:
        self._numbers = {first: 0}

    def number(self, name: str) -> int:
        """Return the number of a name, a new one if it is new."""
        return self._numbers.setdefault(name, len(self._numbers))

    def all(self) -> tuple[str, ...]:
        """Return the names in order of their numbers."""
        return tuple(self._numbers)


class Collector:
    """Nodes and edges as they are found, in chunks of arrays.

    Parameters
    ----------
    max_edges : int or None
        Beyond this many edges nothing is kept any more, only counted; 0 counts from the start, None keeps all.
    dtype : numpy dtype
        Of the edge weights, float32 or float64.
    progress : bool
        Whether to show a progress bar once there are millions of edges.
    """

    def __init__(self, max_edges: int | None = None, dtype: Any = np.float32, progress: bool = False) -> None:
        self.num_nodes = 0
        self.num_edges = 0
        self.counting_only = max_edges == 0
        self.activations = Names("identity")
        self.reduces = Names("sum")
        self.modules = Names("")
        self._max_edges = max_edges
        self._dtype = np.dtype(dtype)
        self._progress = progress
        self._bar: Any = None
        self._node_chunks: list[tuple[int, int, int, int, bool, int]] = []
        self._results: dict[tuple[str, tuple[int, ...]], int] = {}
        self._elements: list[Array] = []
        self._activations: list[Array] = []
        self._biases: list[Array] = []
        self._slopes: list[tuple[Array, Array]] = []
        self._groups: list[Array] = []
        self._shares: list[Shares] = []
        self._num_groups = 0
        self._links: list[tuple[int, int, int]] = []
        self._edges: list[tuple[Array, Array, Array, Array]] = []

    def add_nodes(
        self,
        count: int,
        kind: Literal["input", "neuron", "pool", "unit"],
        *,
        bias: Array | None = None,
        entries: Array | None = None,
        activation: str | Array = "identity",
        reduce: str = "sum",
        module: str = "",
        approximate: bool = False,
        group: Array | None = None,
        operation: str = "",
        shape: Sequence[int] = (),
        element: Array | None = None,
        slope: tuple[Array, Array] | None = None,
    ) -> int:
        """Return the id of the first of `count` new nodes, which get consecutive ids.

        Parameters
        ----------
        count : int
            How many, 0 or more.
        kind : {"input", "neuron", "pool", "unit"}
            What made them, see `traced`; a fusion pass may merge units away.
        bias : np.ndarray, shape (count,), optional
            Added to the sums; default 0.
        entries : np.ndarray, shape (count,), int64, optional
            The parameter entries that are in the biases, -1 for none.
        activation : str or np.ndarray, shape (count,), int
            The same for all of them, or numbers from `activations`.
        reduce, module : str
            The same for all of them.
        approximate : bool
            Whether their edges are only an upper bound.
        group : np.ndarray, shape (count,), int, optional
            Groups from `add_groups`; default: a new one for all of them.
        operation : str
            Name of what made them.
        shape : sequence of int
            Shape of its result for one sample.
        element : np.ndarray, shape (count,), int, optional
            Which elements of the flattened result they are; at order 1 which channels. Default: 0, 1, ...
        slope : pair of np.ndarray, shape (count,), optional
            Slopes of nodes whose activation is prelu, and the parameter entries that they are, -1 for none.
        """
        start = self.num_nodes
        self.num_nodes += count
        if count and not self.counting_only:
            result = self._results.setdefault((operation, tuple(shape)), len(self._results))
            self._node_chunks.append(
                (count, _KINDS[kind], self.reduces.number(reduce), self.modules.number(module), approximate, result)
            )
            self._elements.append(np.arange(count) if element is None else element)
            number = self.activations.number(activation) if isinstance(activation, str) else activation
            self._activations.append(np.broadcast_to(np.asarray(number, dtype=np.int32), count))
            self._biases.append(np.zeros(count) if bias is None else bias.astype(np.float64).reshape(count))
            self._groups.append(np.full(count, self.add_groups(1)) if group is None else group)
            bent = (NO_SLOPE, NO_ORIGIN) if slope is None else (part.reshape(count) for part in slope)
            self._slopes.append(tuple(np.broadcast_to(part, count) for part in bent))  # type: ignore[arg-type]
            if entries is not None:
                self._add_shares(start, entries.reshape(count))
        return start

    def _add_shares(self, start: int, entries: Array) -> None:
        at = np.flatnonzero(entries >= 0)
        self._shares.append(Shares(start + at, entries[at], np.ones(len(at))))

    def biases(self, nodes: Array) -> Array:
        """Return the biases of nodes so far, float64 of their shape; zeros once edges are only counted.

        Parameters
        ----------
        nodes : np.ndarray, int
            Their ids.
        """
        if self.counting_only:
            return np.zeros(nodes.shape)
        # One piece from now on: the next call need not join it again.
        self._biases = [np.concatenate([np.zeros(0), *self._biases])]
        found: Array = self._biases[0][nodes]
        return found

    def add_groups(self, count: int) -> int:
        """Return the number of the first of `count` new groups of nodes that lie side by side.

        Parameters
        ----------
        count : int
            How many.
        """
        first = self._num_groups
        self._num_groups += count
        return first

    def link_groups(self, early: int, late: int, distance: int) -> None:
        """Declare that a group lies at least `distance` stages after an earlier one.

        Parameters
        ----------
        early, late : int
            Groups, early < late.
        distance : int
            1 or more.
        """
        self._links.append((early, late, distance))

    def room_for(self, count: int) -> bool:
        """Return whether `count` edges will be kept; if not they are counted here and need not be made.

        Parameters
        ----------
        count : int
            How many edges are about to be added.
        """
        if not self.counting_only and self._max_edges is not None and self.num_edges + count > self._max_edges:
            self.counting_only = True
            self._edges.clear()
            self._node_chunks.clear()
            self._activations.clear()
            self._biases.clear()
            self._groups.clear()
            self._slopes.clear()
            self._elements.clear()
            self._shares.clear()
        if self.counting_only:
            self.num_edges += count
        return not self.counting_only

    def add_edges(self, src: Array, dst: Array, weight: Array, origin: Array | None = None) -> None:
        """Keep edges, unless they are only counted by now.

        Parameters
        ----------
        src, dst : np.ndarray, shape (E,), int
            Node ids.
        weight : np.ndarray, shape (E,), float
            Factors.
        origin : np.ndarray, shape (E,), int64, optional
            Parameter entries, at order 1 numbers of weights; default -1, none.
        """
        if not self.room_for(len(src)):
            return
        if origin is None:
            origin = np.full(len(src), NO_ORIGIN, dtype=np.int64)
        self._edges.append((src.astype(np.int32), dst.astype(np.int32), weight.astype(self._dtype), origin))
        self.num_edges += len(src)
        self._show(len(src))

    def _show(self, count: int) -> None:
        if self._bar is None and self._progress and self.num_edges >= _BAR_FROM:
            self._bar = tqdm(
                desc="extract", unit=" edges", unit_scale=True, initial=self.num_edges - count, leave=False
            )
        if self._bar is not None:
            self._bar.update(count)

    def _all_shares(self) -> Shares:
        parts = [Shares.none(), *self._shares]
        columns = ([getattr(part, name) for part in parts] for name in ("node", "entry", "factor"))
        return Shares(*(np.concatenate(column) for column in columns))

    def close(self) -> None:
        """Remove the progress bar, if there is one."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def finish(self, inputs: Array, outputs: Array) -> TracedGraph:
        """Return everything collected as one set of arrays.

        Parameters
        ----------
        inputs, outputs : np.ndarray, shape (I,) and (O,), int
            Node ids in column order.
        """
        none = (np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros(0, self._dtype), np.zeros(0, np.int64))
        src, dst, weight, origin = (np.concatenate(parts) for parts in zip(none, *self._edges, strict=True))
        self._edges.clear()
        slopes = [(np.zeros(0), np.zeros(0, np.int64)), *self._slopes]
        slope, slope_entry = (np.concatenate(parts) for parts in zip(*slopes, strict=True))
        table = np.array(self._node_chunks, dtype=np.int64).reshape(-1, 6)
        kind, reduce, module, approximate, result = (np.repeat(column, table[:, 0]) for column in table[:, 1:].T)
        return TracedGraph(
            src=src,
            dst=dst,
            weight=weight,
            origin=origin,
            kind=kind.astype(np.int8),
            bias=np.concatenate([np.zeros(0), *self._biases]),
            activation=np.concatenate([np.zeros(0, np.int32), *self._activations]),
            reduce=reduce.astype(np.int32),
            module=module.astype(np.int32),
            approximate=approximate.astype(bool),
            result=result.astype(np.int32),
            element=np.concatenate([np.zeros(0, np.int64), *self._elements]),
            group=np.concatenate([np.zeros(0, np.int32), *self._groups]).astype(np.int32),
            links=np.array(self._links, dtype=np.int64).reshape(-1, 3),
            inputs=np.asarray(inputs, dtype=np.int64),
            outputs=np.asarray(outputs, dtype=np.int64),
            activations=self.activations.all(),
            reduces=self.reduces.all(),
            modules=self.modules.all(),
            results=tuple(self._results),
            applied=module.astype(np.int32),
            shares=self._all_shares(),
            slope=slope,
            slope_entry=slope_entry,
        )
