"""Passes that merge nodes of a traced graph without changing what it computes: arrays in, arrays out.

A trace makes a node of every pointwise result. Three passes bring that to neurons, `act(bias + sum of inputs)`:

- `absorb`: a linear node whose only consumer is a pointwise node becomes part of that node's sum (linear + batch norm +
  ReLU is one neuron; so is a sum of several products);
- `bypass`: a pointwise linear node with one input (a scale, a shift) goes into the edges that leave it;
- `drop_unused`: pointwise nodes and pools that nothing reads are removed.

Nodes made by products with weights are never merged into one another: a network without activations keeps its layers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse

from deepgraph.transform.traced import (
    KIND_ABSORBED,
    KIND_POOL,
    KIND_UNIT,
    NO_ORIGIN,
    NODE_COLUMNS,
    Array,
    Shares,
    TracedGraph,
    only_partner,
    sum_at,
)

__all__ = ["absorb", "bypass", "drop_unused", "fuse"]


def fuse(graph: TracedGraph) -> TracedGraph:
    """Return the graph with every pointwise node merged that can be merged exactly.

    Parameters
    ----------
    graph : TracedGraph
        As a trace left it.

    Raises
    ------
    None

    Examples
    --------
    A product of weight 3 (node 1), a scale of 2 (node 2), a ReLU (node 3): one neuron.

    >>> from deepgraph.transform.collect import Collector
    >>> trace = Collector()
    >>> x = trace.add_nodes(1, kind="input")
    >>> y = trace.add_nodes(1, kind="neuron", bias=np.array([5.0]))
    >>> scaled = trace.add_nodes(1, kind="unit")
    >>> rectified = trace.add_nodes(1, kind="unit", activation="relu")
    >>> trace.add_edges(np.array([x, y, scaled]), np.array([y, scaled, rectified]), np.array([3.0, 2.0, 1.0]))
    >>> fused = fuse(trace.finish(inputs=np.array([x]), outputs=np.array([rectified])))
    >>> fused.num_nodes, fused.weight.tolist(), fused.bias.tolist()
    (2, [6.0], [0.0, 10.0])
    """
    while True:
        before = graph.num_nodes
        graph = drop_unused(bypass(absorb(graph)))
        if graph.num_nodes == before:
            return graph


def absorb(graph: TracedGraph) -> TracedGraph:
    """Return the graph with linear nodes taken into the pointwise sum that is their only consumer.

    `relu(x) + x` stays right: x has two consumers there. Chains are merged in one go by pointer doubling.

    Parameters
    ----------
    graph : TracedGraph
        Without cycles.

    Raises
    ------
    None
    """
    consumer = only_partner(graph.src, graph.dst, graph.num_nodes)
    takes = (graph.kind >= KIND_UNIT) & (graph.reduce == 0) & ~graph.approximate
    gone = graph.linear() & ~graph.fixed() & ~graph.approximate & (consumer >= 0)
    gone &= takes[np.where(consumer >= 0, consumer, 0)]
    if not gone.any():
        return graph
    total = sum_at(graph.src, graph.weight, graph.num_nodes)
    root = np.where(gone, consumer, np.arange(graph.num_nodes))
    factor = np.where(gone, total, 1.0)
    while np.any(root[root] != root):
        factor = factor * factor[root]
        root = root[root]
    bias = sum_at(root, factor * graph.bias, graph.num_nodes)
    kind, module = _adopt(graph, gone, root)
    shares = graph.shares
    keep = ~gone[graph.src]
    dst = graph.dst[keep]
    return _remove(
        replace(
            graph,
            src=graph.src[keep],
            dst=root[dst].astype(graph.dst.dtype),
            weight=_scaled(graph.weight[keep], factor[dst]),
            origin=graph.origin[keep],
            bias=bias,
            kind=kind,
            module=module,
            shares=Shares(root[shares.node], shares.entry, shares.factor * factor[shares.node]),
        ),
        gone,
    )


def _adopt(graph: TracedGraph, gone: Array, root: Array) -> tuple[Array, Array]:
    # A pointwise node that took a neuron in is a neuron, and is known by the module of the first one it took.
    kind, module = graph.kind.copy(), graph.module.copy()
    taken = np.flatnonzero(gone & (graph.kind != KIND_UNIT))[::-1]
    module[root[taken]] = graph.module[taken]
    kind[root[taken]] = KIND_ABSORBED
    return kind, module


def bypass(graph: TracedGraph) -> TracedGraph:
    """Return the graph without pointwise linear nodes that have one input, or none: their factor goes into the edges
    that leave them, their shift into the biases of their consumers.

    A shift stays where it is read through parameter entries: in a bias it would outlive the edge, so that a graph
    without the edge would not be the model without the entry.

    Parameters
    ----------
    graph : TracedGraph
        Without cycles.

    Raises
    ------
    None
    """
    n = graph.num_nodes
    source = only_partner(graph.dst, graph.src, n)
    constant = np.ones(n, dtype=bool)
    constant[graph.dst] = False
    gone = graph.linear() & (graph.kind == KIND_UNIT) & ~graph.fixed() & ~graph.approximate
    gone &= (source >= 0) | constant
    # A product or a maximum of shifted inputs is not the shifted product or maximum.
    gone[graph.src[(graph.reduce[graph.dst] != 0) | graph.approximate[graph.dst]]] = False
    if not gone.any():
        return graph
    shifts = _Affine.of(graph, gone, source, constant).shifts(graph)
    gone[graph.src[(graph.origin != NO_ORIGIN) & shifts[graph.src]]] = False
    chains = _Affine.of(graph, gone, source, constant)
    root, factor, shift = chains.root, chains.factor, chains.shift(graph.bias)
    constant &= gone
    leaves = gone[graph.src] & ~gone[graph.dst]
    bias = graph.bias + sum_at(graph.dst[leaves], graph.weight[leaves] * shift[graph.src[leaves]], n)
    keep = ~gone[graph.dst] & ~constant[root[graph.src]]
    src = graph.src[keep]
    moved = replace(
        graph,
        src=root[src].astype(graph.src.dtype),
        dst=graph.dst[keep],
        weight=_scaled(graph.weight[keep], factor[src]),
        origin=graph.origin[keep],
        bias=bias,
        shares=_moved_shares(graph, gone, chains, leaves),
    )
    return _remove(moved, gone)


@dataclass(frozen=True)
class _Affine:
    """value(u) = factor[u] * value(root[u]) + shift[u] for nodes that go, composed along chains by pointer doubling.

    `steps` are the (root, factor) before each doubling, `fixed` the nodes (N,) whose root is a constant.
    """

    root: Array
    factor: Array
    moves: Array
    fixed: Array
    steps: list[tuple[Array, Array]]

    @classmethod
    def of(cls, graph: TracedGraph, gone: Array, source: Array, constant: Array) -> _Affine:
        moves = gone & ~constant
        root = np.where(moves, source, np.arange(graph.num_nodes))
        factor = np.where(moves, sum_at(graph.dst, graph.weight, graph.num_nodes), 1.0)
        steps = []
        while np.any(root[root] != root):
            steps.append((root, factor))
            factor = factor * factor[root]
            root = root[root]
        return cls(root, factor, moves, (constant & gone)[root], steps)

    def shift(self, bias: Array) -> Array:
        """Return the shifts (N,) that biases (N,) make."""
        shift = np.where(self.moves, bias, 0.0)
        for root, factor in self.steps:
            shift = shift + factor * shift[root]
        return shift + np.where(self.fixed, self.factor * bias[self.root], 0.0)

    def shifts(self, graph: TracedGraph) -> Array:
        """Return which nodes have a shift, or could be given one by a parameter entry, (N,) bool."""
        named = np.zeros(graph.num_nodes, dtype=bool)
        named[graph.shares.node] = True
        given: Array = (self.shift(graph.bias) != 0) | (self.fixed & named[self.root])
        named &= self.moves
        for root, _ in self.steps:
            named |= named[root]
        return given | named

    def shares(self, bias: sparse.csr_array) -> sparse.csr_array:
        """Return the same of every column of a sparse matrix (N, P)."""
        shift = sparse.diags_array(self.moves.astype(float)) @ bias
        for root, factor in self.steps:
            shift = shift + sparse.diags_array(factor) @ shift.tocsr()[root]
        fixed = sparse.diags_array(np.where(self.fixed, self.factor, 0.0))
        total: sparse.csr_array = (shift + fixed @ bias[self.root]).tocsr()
        return total


def _moved_shares(graph: TracedGraph, gone: Array, chains: _Affine, leaves: Array) -> Shares:
    """Return the shares after the shifts of nodes that go went into the biases of those that read them."""
    shares = graph.shares
    if not gone[shares.node].any():
        return shares
    entries, column = np.unique(shares.entry, return_inverse=True)
    shape = (graph.num_nodes, len(entries))
    before = sparse.csr_array((shares.factor, (shares.node, column)), shape=shape)
    brought = sparse.csr_array(
        (graph.weight[leaves].astype(float), (graph.dst[leaves], graph.src[leaves])), shape=2 * shape[:1]
    )
    after = (sparse.diags_array((~gone).astype(float)) @ before + brought @ chains.shares(before)).tocoo()
    return Shares(after.row.astype(np.int64), entries[after.col], after.data)


def drop_unused(graph: TracedGraph) -> TracedGraph:
    """Return the graph without pointwise nodes and pools that no node reads and that are no output.

    Neurons stay, read or not: a hidden neuron without consumers is part of the network.

    Parameters
    ----------
    graph : TracedGraph
        Without cycles.

    Raises
    ------
    None
    """
    kept = graph.fixed() | ~np.isin(graph.kind, (KIND_POOL, KIND_UNIT))
    while True:
        read = np.zeros(graph.num_nodes, dtype=bool)
        read[graph.src] = True
        gone = ~kept & ~read
        if not gone.any():
            return graph
        keep = ~gone[graph.dst]
        kept = kept[~gone]
        graph = _remove(
            replace(
                graph,
                src=graph.src[keep],
                dst=graph.dst[keep],
                weight=graph.weight[keep],
                origin=graph.origin[keep],
            ),
            gone,
        )


def _scaled(weight: Array, factor: Array) -> Array:
    return (weight * factor).astype(weight.dtype)


def _remove(graph: TracedGraph, gone: Array) -> TracedGraph:
    # The nodes in `gone` have no edges left; the others move up.
    keep = ~gone
    position = np.cumsum(keep) - 1
    return replace(
        graph,
        src=position[graph.src].astype(graph.src.dtype),
        dst=position[graph.dst].astype(graph.dst.dtype),
        **{name: getattr(graph, name)[keep] for name in NODE_COLUMNS},
        shares=graph.shares.moved(position, keep),
        inputs=position[graph.inputs],
        outputs=position[graph.outputs],
    )
