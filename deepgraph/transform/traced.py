"""What a trace leaves behind, as arrays: the neurons, the edges with the parameter entries they came from, the ends.

Nothing here knows torch: the fusion passes work on these arrays and are tested without a model.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

__all__ = [
    "KIND_ABSORBED",
    "KIND_INPUT",
    "KIND_NEURON",
    "KIND_POOL",
    "KIND_UNIT",
    "NODE_COLUMNS",
    "NO_ORIGIN",
    "NO_SLOPE",
    "SEVERAL_ORIGINS",
    "Shares",
    "TracedGraph",
    "only_partner",
    "reorder",
    "stages",
    "sum_at",
]

Array = npt.NDArray[Any]

NODE_COLUMNS = (
    "kind",
    "bias",
    "activation",
    "reduce",
    "module",
    "approximate",
    "group",
    "result",
    "element",
    "applied",
    "slope",
    "slope_entry",
)

KIND_INPUT = 0
"""An element of an input: passes x through."""
KIND_NEURON = 1
"""A sum made by a product with weights: stays a node of its own, read or not."""
KIND_POOL = 2
"""A result that is defined without weights by many elements, such as a mean: dropped where nothing reads it."""
KIND_UNIT = 3
"""A pointwise operation on one element or on a few: a fusion pass may merge it away."""
KIND_ABSORBED = 4
"""A pointwise node that took a neuron in: a neuron from now on, which may still take in other terms of its sum."""

NO_ORIGIN = -1
"""Origin of an edge that no parameter entry stands behind."""
NO_SLOPE = 0.25
"""Slope of nodes without one: where a prelu starts."""
SEVERAL_ORIGINS = -2
"""Origin of an edge that is the sum of several, which come from different parameter entries."""


@dataclass(frozen=True)
class Shares:
    """What parameter entries have in biases: bias of node = constant + sum of factor * entry.

    Parameters
    ----------
    node, entry : np.ndarray, shape (S,), int64
        Node ids, and parameter entries counted over all parameters.
    factor : np.ndarray, shape (S,), float64
        On the entry.
    """

    node: Array
    entry: Array
    factor: Array

    @classmethod
    def none(cls) -> Shares:
        """Return no shares."""
        return cls(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))

    def moved(self, position: Array, keep: Array | None = None) -> Shares:
        """Return the shares with other ids for the nodes.

        Parameters
        ----------
        position : np.ndarray, shape (N,), int64
            New id of each node.
        keep : np.ndarray, shape (N,), bool, optional
            The nodes whose shares stay.
        """
        mine = slice(None) if keep is None else keep[self.node]
        return Shares(position[self.node[mine]], self.entry[mine], self.factor[mine])


@dataclass(frozen=True)
class TracedGraph:
    """Neurons and edges in the order in which a trace met them; two nodes may have several edges between them.

    Parameters
    ----------
    src, dst : np.ndarray, shape (E,), int32
        Edges by node id, without cycles.
    weight : np.ndarray, shape (E,), float32 or float64
        Factor on the value of src.
    origin : np.ndarray, shape (E,), int64
        Which parameter entry the weight is, counted over all parameters; -1 for none. At order 1 the number of weights
        that the edge stands for, and the weight is their norm.
    kind : np.ndarray, shape (N,), int8
        One of the KIND_ constants.
    bias : np.ndarray, shape (N,), float64
        Added to the sum of the inputs.
    activation, reduce, module : np.ndarray, shape (N,), int32
        Index into `activations`, `reduces`, `modules`.
    approximate : np.ndarray, shape (N,), bool
        True where the edges of a node are all that could be, not what is.
    group : np.ndarray, shape (N,), int32
        Nodes that one operation made side by side share a group; edges and links go from lower to higher groups.
    result : np.ndarray, shape (N,), int32
        Index into `results`: what made a node.
    element : np.ndarray, shape (N,), int64
        Which element of that result it is, flattened; at order 1 which channel.
    applied : np.ndarray, shape (N,), int32
        Index into `modules`: which one ran the activation.
    slope : np.ndarray, shape (N,), float64
        Of nodes whose activation is prelu.
    slope_entry : np.ndarray, shape (N,), int64
        The parameter entry that a slope is, counted over all parameters; -1 for none.
    inputs, outputs : np.ndarray, shape (I,) and (O,), int64
        Node ids in column order; outputs may repeat.
    links : np.ndarray, shape (L, 3), int64
        Declared distances between groups: (group, later group, stages between them at least).
    activations, reduces, modules : tuple of str
        The names behind the indices; the first is "identity", "sum" and "".
    results : tuple of (str, tuple of int)
        Operations and the shapes of their results.
    shares : Shares
        The parameter entries in the biases.
    """

    src: Array
    dst: Array
    weight: Array
    origin: Array
    kind: Array
    bias: Array
    activation: Array
    reduce: Array
    module: Array
    approximate: Array
    group: Array
    result: Array
    element: Array
    applied: Array
    slope: Array
    slope_entry: Array
    inputs: Array
    outputs: Array
    links: Array
    activations: tuple[str, ...] = ("identity",)
    reduces: tuple[str, ...] = ("sum",)
    modules: tuple[str, ...] = ("",)
    results: tuple[tuple[str, tuple[int, ...]], ...] = (("", ()),)
    shares: Shares = field(default_factory=lambda: Shares.none())

    @property
    def num_nodes(self) -> int:
        """Number of nodes, N."""
        return len(self.kind)

    @property
    def num_edges(self) -> int:
        """Number of edges, E, parallel ones counted separately."""
        return len(self.src)

    def fixed(self) -> Array:
        """Return which nodes are inputs or outputs, shape (N,) bool: no pass removes them."""
        fixed: Array = self.kind == KIND_INPUT
        fixed[self.outputs] = True
        return fixed

    def linear(self) -> Array:
        """Return which nodes are plain sums without an activation, shape (N,) bool, inputs excluded."""
        linear: Array = (self.activation == 0) & (self.reduce == 0) & (self.kind != KIND_INPUT)
        return linear


def stages(traced: TracedGraph) -> Array:
    """Return the stage of each node, shape (N,) int32: inputs 0, and all nodes of a group side by side.

    A neuron that has lost all its inputs stays in the stage of its group.

    Parameters
    ----------
    traced : TracedGraph
        Fused or not.

    Examples
    --------
    >>> from deepgraph.transform.collect import Collector
    >>> trace = Collector()
    >>> x, y = trace.add_nodes(1, kind="input"), trace.add_nodes(2, kind="neuron")
    >>> trace.add_edges(np.array([x]), np.array([y]), np.array([1.0]))
    >>> stages(trace.finish(np.array([x]), np.array([y]))).tolist()
    [0, 1, 1]
    """
    count = int(traced.group.max(initial=-1)) + 1
    pairs = sparse.coo_array(
        (np.ones(traced.num_edges, dtype=bool), (traced.group[traced.src], traced.group[traced.dst])),
        shape=(count, count),
    ).tocsr()
    before, after = pairs.nonzero()
    links = traced.links
    steps = np.concatenate([np.stack([before, after, np.ones_like(before)], axis=1), links]).astype(np.int64)
    floor = np.ones(count, dtype=np.int64)
    floor[traced.group[traced.kind == KIND_INPUT]] = 0
    stage = floor.tolist()
    # Once per pair of groups that are connected, in order of the later group: a loop over operations, not over edges.
    for early, late, distance in steps[np.argsort(steps[:, 1], kind="stable")].tolist():
        stage[late] = max(stage[late], stage[early] + distance)
    return np.array(stage, dtype=np.int32)[traced.group]


def reorder(traced: TracedGraph, position: Array) -> TracedGraph:
    """Return the same graph with its nodes in another order.

    Parameters
    ----------
    traced : TracedGraph
        N nodes.
    position : np.ndarray, shape (N,), int64
        New id of each node, a permutation.
    """
    order = np.argsort(position)
    return replace(
        traced,
        src=position[traced.src].astype(traced.src.dtype),
        dst=position[traced.dst].astype(traced.dst.dtype),
        inputs=position[traced.inputs],
        outputs=position[traced.outputs],
        **{name: getattr(traced, name)[order] for name in NODE_COLUMNS},
        shares=traced.shares.moved(position),
    )


def only_partner(of: Array, partner: Array, num_nodes: int) -> Array:
    """Return for each node its partner if all its edges have the same one, else -1, shape (N,) int64.

    Parameters
    ----------
    of, partner : np.ndarray, shape (E,), int
        Ends of the edges: `of` is the end that is asked about.
    num_nodes : int
        N.

    Examples
    --------
    >>> only_partner(np.array([0, 0, 1, 1]), np.array([2, 2, 2, 3]), 4).tolist()
    [2, -1, -1, -1]
    """
    last = np.full(num_nodes, -1, dtype=np.int64)
    last[of] = partner
    ambiguous = np.zeros(num_nodes, dtype=bool)
    ambiguous[of[last[of] != partner]] = True
    last[ambiguous] = -1
    return last


def sum_at(index: Array, values: Array, num_nodes: int) -> Array:
    """Return the sums of `values` (E,) per node of `index` (E,), shape (N,) float64, added in the order given.

    Examples
    --------
    >>> sum_at(np.array([1, 1]), np.array([2.0, 3.0]), 3).tolist()
    [0.0, 5.0, 0.0]
    """
    return np.bincount(index, weights=values, minlength=num_nodes)
