"""What was changed at the nodes of an extracted graph, biases and activations, in terms of the model it came from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from torch import nn

from deepgraph.errors import EditRefusedError
from deepgraph.graph import CachedLayeredGraph
from deepgraph.graph.grid_labels import GridLabels
from deepgraph.transform.traced import Array, sum_at

__all__ = ["Nodes"]

_ROUNDING = 2e-6
"""Biases are kept in the precision of the weights."""

_MODULES: dict[str, type[nn.Module]] = {
    "identity": nn.Identity,
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "elu": nn.ELU,
    "celu": nn.CELU,
    "softplus": nn.Softplus,
}


class Nodes:
    """The nodes of a graph against what the trace recorded of them.

    Parameters
    ----------
    graph : CachedLayeredGraph
        Of order 0; nodes may have been removed.
    name : callable
        Parameter entry, counted over all parameters -> its name in a message.

    Raises
    ------
    EditRefusedError
        If there are nodes that the trace does not know.
    """

    def __init__(self, graph: CachedLayeredGraph, name: Callable[[int], str]) -> None:
        self._graph = graph
        self._name = name
        self._before: dict[str, Any] = graph.graph["written_nodes"]
        count = len(self._before["constant"])
        self._number = np.arange(count)
        if len(graph) != count:
            self._number = self._numbers(count)

    def _numbers(self, count: int) -> Array:
        """Return the number in the trace of each node that is left, (N,) int64."""
        grids = self._graph.graph.get("grids")
        place: Callable[[Any], int] = range(count).index
        if grids is not None:
            place = GridLabels(tuple(grid) for grid in grids).position
        numbers = []
        for label in self._graph.labels():
            try:
                numbers.append(place(label))
            except (ValueError, KeyError, TypeError):
                raise EditRefusedError(
                    f"expected the {count:,} nodes of the extracted graph or some of them, got node {label!r}, which "
                    "is none of them: remove and change edges only, or compile the graph: MaskedDeepDAN.from_graph"
                ) from None
        return np.array(numbers, dtype=np.int64)

    def _label(self, position: int) -> str:
        return repr(self._graph.labels([int(position)])[0])

    def biases(self, value: Array, taken: Array) -> tuple[Array, Array]:
        """Return the parameter entries (K,) that give the biases of the graph, and their values (K,).

        Parameters
        ----------
        value : np.ndarray, shape (P,), float64
            The entries of all parameters.
        taken : np.ndarray, int64
            Entries that cannot be changed: weights were written to them, or they act in other places too.

        Raises
        ------
        EditRefusedError
            If no values do.
        """
        node, entry, factor, largest = self._shares(value)
        wanted = self._graph.node_column("bias").astype(np.float64)
        differs = np.abs(wanted - self._predicted(value)) > _ROUNDING * largest
        if not differs.any():
            return np.zeros(0, dtype=np.int64), np.zeros(0)
        mine = differs[node] & (factor != 0) & ~np.isin(entry, taken)
        without = np.setdiff1d(np.flatnonzero(differs), node[mine])
        if len(without):
            raise EditRefusedError(
                f"expected the bias of node {self._label(without[0])} to stay {self._predicted(value)[without[0]]:g}, "
                f"got {wanted[without[0]]:g} there and changes at {len(without) - 1:,} more: no parameter entry stands "
                "behind it that could be changed"
            )
        # Of several entries in a bias the first one, of the layer, or the last, of a norm behind it.
        attempts = []
        for choose, start in ((np.minimum, len(value)), (np.maximum, -1)):
            which = np.full(len(wanted), start, dtype=np.int64)
            choose.at(which, node[mine], entry[mine])
            chosen = mine & (which[node] == entry)
            step = (wanted - self._predicted(value))[node[chosen]] / factor[chosen]
            changed, one = np.unique(entry[chosen], return_index=True)
            new = value.copy()
            new[changed] += step[one]
            wrong = self._wrong(new, wanted, largest)
            if not len(wrong):
                return changed, new[changed]
            attempts.append((new, wrong[0], entry[(node == wrong[0]) & np.isin(entry, changed)]))
        new, position, shared = attempts[0]
        raise EditRefusedError(
            f"expected one change for all biases that hold {self._name(int(shared[0]))}, got {wanted[position]:g} at "
            f"node {self._label(position)}, where the others give {self._predicted(new)[position]:g}: they share one "
            "parameter entry; change all of them"
        )

    def _shares(self, value: Array) -> tuple[Array, Array, Array, Array]:
        """Return (node, entry, factor), each (S,), by position, and the largest summand of each bias (N,)."""
        position = np.full(len(self._before["constant"]), -1, dtype=np.int64)
        position[self._number] = np.arange(len(self._number))
        node = position[self._before["node"]]
        there = node >= 0
        node, entry, factor = node[there], self._before["entry"][there], self._before["factor"][there]
        largest = np.maximum(np.abs(self._before["constant"][self._number]), 1e-3)
        np.maximum.at(largest, node, np.abs(factor * value[entry]))
        return node, entry, factor, np.maximum(largest, np.abs(self._graph.node_column("bias")))

    def _predicted(self, value: Array) -> Array:
        """Return the biases that parameter entries give, (N,)."""
        share = self._before["factor"] * value[self._before["entry"]]
        total = self._before["constant"] + sum_at(self._before["node"], share, len(self._before["constant"]))
        found: Array = total[self._number]
        return found

    def _wrong(self, new: Array, wanted: Array, largest: Array) -> Array:
        """Return the positions whose biases parameter entries do not give."""
        found = self._predicted(new)
        return np.flatnonzero(np.abs(wanted - found) > 4 * _ROUNDING * np.maximum(largest, np.abs(found)))

    def activations(self, model: nn.Module) -> dict[str, nn.Module]:
        """Return the modules that take the place of others, by path.

        Parameters
        ----------
        model : nn.Module
            The model.

        Raises
        ------
        EditRefusedError
            If an activation changed that is none of a module of its own, or of some of its nodes only; or what a node
            does with its inputs changed.
        """
        before, now = self._column("activation", "activations"), self._graph.node_column("activation")
        self._check_reduce()
        changed = np.flatnonzero(before != now)
        paths = self._column("applied", "modules")
        found: dict[str, nn.Module] = {}
        for path in np.unique(paths[changed]).tolist():
            at = changed[paths[changed] == path]
            held = dict(model.named_modules()).get(path)
            made = _MODULES.get(str(now[at[0]]))
            of_module = np.flatnonzero((paths == path) & (before != "identity"))
            if held is None or made is None or not _is_plain(held, str(before[at[0]])):
                where = f"module {path!r} ({type(held).__name__})" if path else f"the model ({type(model).__name__})"
                raise EditRefusedError(
                    f"expected node {self._label(at[0])} to keep its activation {str(before[at[0]])!r}, got "
                    f"{str(now[at[0]])!r}: {where} applies it, and only plain activation modules such as nn.ReLU can "
                    f"be replaced, by one of {', '.join(_MODULES)}"
                )
            if len(at) != len(of_module) or len(set(now[at].tolist())) > 1:
                other = of_module[now[of_module] != now[at[0]]][0]
                raise EditRefusedError(
                    f"expected one activation for the {len(of_module):,} nodes of module {path!r}, got "
                    f"{str(now[at[0]])!r} at node {self._label(at[0])} and {str(now[other])!r} at node "
                    f"{self._label(other)}; change all of them"
                )
            found[path] = made().train(held.training)
        return found

    def slopes(self) -> tuple[Array, Array]:
        """Return the parameter entries (K,) whose slopes changed, and their values (K,).

        Raises
        ------
        EditRefusedError
            If no single parameter entry stands behind a slope that changed, or its nodes want different values.
        """
        recorded = self._graph.graph.get("written_slopes")
        if recorded is None:
            return np.zeros(0, dtype=np.int64), np.zeros(0)
        wanted = np.asarray(self._graph.node_column("slope"), np.float64)
        before, entry = np.asarray(recorded["slope"])[self._number], np.asarray(recorded["entry"])[self._number]
        bent = self._graph.node_column("activation") == "prelu"
        changed = np.flatnonzero(bent & (wanted != before))
        alone = changed[entry[changed] < 0]
        if len(alone):
            raise EditRefusedError(
                f"expected the slope of node {self._label(alone[0])} to stay {before[alone[0]]:g}, got "
                f"{wanted[alone[0]]:g}: no parameter entry stands behind it that could be changed"
            )
        entries, first = np.unique(entry[changed], return_index=True)
        value = wanted[changed][first]
        sharing = np.flatnonzero(bent & np.isin(entry, entries))
        other = sharing[wanted[sharing] != value[np.searchsorted(entries, entry[sharing])]]
        if len(other):
            named = self._name(int(entry[other[0]]))
            raise EditRefusedError(
                f"expected one slope for the nodes that share {named}, got {wanted[other[0]]:g} at node "
                f"{self._label(other[0])} and another elsewhere; change all of them"
            )
        return entries, value

    def _column(self, codes: str, names: str) -> Array:
        column: Array = np.array(self._before[names])[self._before[codes][self._number]]
        return column

    def _check_reduce(self) -> None:
        now = self._graph.node_column("reduce") if self._graph.has_node_column("reduce") else np.array("sum")
        changed = np.flatnonzero(self._column("reduce", "reduces") != now)
        if len(changed):
            raise EditRefusedError(
                f"expected node {self._label(changed[0])} to join its inputs as before, got another reduce there "
                f"and at {len(changed) - 1:,} more: the model has no place to write it to"
            )


def _is_plain(module: nn.Module, name: str) -> bool:
    """Return whether a module is the plain form of an activation, and nothing else."""
    kind = _MODULES.get(name)
    if kind is None or type(module) is not kind:
        return False
    return module.extra_repr().replace("inplace=True", "") == kind().extra_repr()
