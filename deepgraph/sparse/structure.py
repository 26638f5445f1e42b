"""`Structure`: what compiling reads from a graph, checked once; and putting a graph together again."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import networkx as nx
import numpy as np

from deepgraph.errors import DtypeError, StructureError, UnsupportedOperationError
from deepgraph.graph import CachedLayeredGraph
from deepgraph.graph.arrays import Array
from deepgraph.graph.node_table import NodeTable
from deepgraph.kernels.activations import PRELU_SLOPE, activation
from deepgraph.kernels.reductions import REDUCTIONS
from deepgraph.sparse.layer import EdgeLayer

__all__ = ["Structure", "assemble"]


@dataclass(frozen=True, eq=False)
class Structure:
    """The facts of a graph that a module needs.

    Attributes
    ----------
    src, dst : (E,) int32
    weight : (E,) float or None
    bias : (N,) float
    slope : (N,) float
        Of nodes whose activation is prelu: the node column `slope`, .25 where it says nothing.
    stage : (N,) int32
    inputs, outputs : (I,), (O,) int64
        Positions, in the order of the columns.
    activation, reduce : (N,) uint8
        Codes.
    table : NodeTable
        Labels and node columns, `stage` and `role` declared.
    attributes : dict
        Graph attributes.
    """

    src: Array
    dst: Array
    weight: Array | None
    bias: Array
    slope: Array
    stage: Array
    inputs: Array
    outputs: Array
    activation: Array
    reduce: Array
    table: NodeTable
    attributes: dict[str, Any]

    @property
    def num_nodes(self) -> int:
        """Number of nodes, N."""
        return len(self.stage)

    @property
    def is_input(self) -> Array:
        """Which nodes pass x through (N,) bool."""
        mask = np.zeros(self.num_nodes, bool)
        mask[self.inputs] = True
        return mask

    @property
    def has_slope(self) -> Array:
        """Which nodes have a slope of their own (N,) bool."""
        codes = [code for code in np.unique(self.activation).tolist() if activation(code).has_slope]
        return np.isin(self.activation, codes) & ~self.is_input

    @property
    def output_shape(self) -> tuple[int, ...] | None:
        """Shape of one sample's result, where recorded."""
        shape = self.attributes.get("output_shape")
        return None if shape is None else tuple(shape)

    def distinct(self, which: str) -> Array:
        """Return the inputs or outputs in column order, each position once."""
        ends: Array = self.inputs if which == "inputs" else self.outputs
        _, first = np.unique(ends, return_index=True)
        return ends[np.sort(first)]

    def nodes(self) -> dict[str, Any]:
        """Return what a topology takes besides edges."""
        return {
            "num_nodes": self.num_nodes, "stage": self.stage, "inputs": self.inputs, "outputs": self.outputs,
            "activation": self.activation, "reduce": self.reduce, "labels": self.table.names,
        }  # fmt: skip

    @classmethod
    def of(cls, graph: Any, default_activation: str, *, linear_outputs: bool, any_order: bool = False) -> Structure:
        """Return the facts of a graph.

        Parameters
        ----------
        graph : CachedLayeredGraph or nx.DiGraph
        default_activation : str
            Of neurons without an own one.
        linear_outputs : bool
            Whether outputs without an own activation are linear.
        any_order : bool
            Whether nodes may be channels or module calls: a cell says what they compute.

        Raises
        ------
        DtypeError
            If `graph` is no directed graph.
        StructureError
            If it cannot be compiled; the message says why.
        CycleError
            If it has a cycle.
        """
        g = _directed(graph)
        if len(g) == 0:
            raise StructureError("expected a graph with nodes, got an empty graph; add nodes first")
        if not any_order:
            _check_order(g.graph.get("order", 0))
        stage = np.array(g.stage_array(), np.int32)
        inputs, outputs = g.input_positions(), g.output_positions()
        if not len(inputs) or not len(outputs):
            raise StructureError(
                f"expected inputs and outputs, got {len(inputs)} and {len(outputs)}; declare the node column 'role'"
            )
        _check_output_shape(g.graph.get("output_shape"), len(outputs))
        src, dst = g.edge_arrays()
        role = _roles(len(g), inputs, outputs)
        table = g._arrays().nodes.copy()
        table.columns.put("stage", stage)
        table.columns.put("role", role)
        return cls(
            src=src, dst=dst, weight=_weights(g), bias=_biases(g), slope=_slopes(g), stage=stage,
            inputs=np.array(inputs), outputs=np.array(outputs), reduce=_reductions(g, inputs), table=table,
            activation=_codes(g, default_activation, outputs if linear_outputs else None), attributes=dict(g.graph),
        )  # fmt: skip


def _directed(graph: Any) -> CachedLayeredGraph:
    if isinstance(graph, nx.Graph) and (not graph.is_directed() or graph.is_multigraph()):
        raise DtypeError(
            f"expected a directed graph without parallel edges, got {type(graph).__name__}; "
            "orient it first: deepgraph.from_networkx(G, seed=...)"
        )
    if not isinstance(graph, nx.DiGraph):
        raise DtypeError(f"expected a CachedLayeredGraph or nx.DiGraph, got {type(graph).__name__}")
    return graph if isinstance(graph, CachedLayeredGraph) else CachedLayeredGraph(graph)


def _check_order(order: Any) -> None:
    if order != 0:
        raise UnsupportedOperationError(
            f"expected a graph of neurons (order 0), got one of order {order}, whose nodes are channels or module "
            "calls; say what a node computes with cell=, for example cell=deepgraph.cells.Conv2d(3), extract it with "
            "order=0, or set g.graph['order'] = 0 to use its structure for neurons"
        )


def _roles(count: int, inputs: Array, outputs: Array) -> Array:
    role = np.full(count, "hidden", dtype="<U12")
    role[inputs] = "input"
    is_output = np.zeros(count, bool)
    is_output[outputs] = True
    role[is_output & (role == "hidden")] = "output"
    role[is_output & (role == "input")] = "input/output"
    return role


def _check_output_shape(shape: Any, outputs: int) -> None:
    if shape is not None and math.prod(shape) != outputs:
        raise StructureError(
            f"output_shape: expected a shape of {outputs} elements, one per output, got {tuple(shape)}"
        )


def _reductions(g: CachedLayeredGraph, inputs: Array) -> Array:
    """Return the codes (N,) of the node column `reduce`: 0 for a sum, and for inputs."""
    codes = np.zeros(len(g), np.uint8)
    if g.has_node_column("reduce"):
        names = g.node_column("reduce", "sum")
        for code, name in enumerate(REDUCTIONS):
            codes[names == name] = code
        other = np.flatnonzero(~np.isin(names, (*REDUCTIONS, "")))
        if other.size:
            raise UnsupportedOperationError(
                f"node column 'reduce': expected one of {', '.join(REDUCTIONS)}, got {names[other[0]]!r} at "
                f"{other.size} nodes, first {g.labels(other[:1])[0]!r}"
            )
        codes[inputs] = 0
    return codes


def _weights(g: CachedLayeredGraph) -> Array | None:
    if not g.has_column("weight"):
        return None
    weight = np.asarray(g.column("weight"), np.float64)
    if not np.isfinite(weight).all():
        bad = np.flatnonzero(~np.isfinite(weight))
        src, dst = g.edge_arrays()
        edge = tuple(g.labels([int(src[bad[0]]), int(dst[bad[0]])]))
        raise StructureError(f"expected finite weights, got {weight[bad[0]]} at edge {edge} and {bad.size - 1} more")
    return weight


def _biases(g: CachedLayeredGraph) -> Array:
    if not g.has_node_column("bias"):
        return np.zeros(len(g))
    bias = np.asarray(g.node_column("bias", 0.0), np.float64)
    if not np.isfinite(bias).all():
        raise StructureError("expected finite biases, got NaN or infinity in the node column 'bias'")
    return bias


def _slopes(g: CachedLayeredGraph) -> Array:
    if not g.has_node_column("slope"):
        return np.full(len(g), PRELU_SLOPE)
    slope = np.asarray(g.node_column("slope", PRELU_SLOPE), np.float64)
    if not np.isfinite(slope).all():
        raise StructureError("expected finite slopes, got NaN or infinity in the node column 'slope'")
    return slope


def _codes(g: CachedLayeredGraph, default: str, linear: Array | None) -> Array:
    codes = np.full(len(g), activation(default).code, np.uint8)
    if linear is not None:
        codes[linear] = activation("identity").code
    if g.has_node_column("activation"):
        names = g.node_column("activation", "")
        for name in np.unique(names):
            if name:
                codes[names == name] = activation(str(name)).code
    return codes


def assemble(
    graph: CachedLayeredGraph,
    facts: Structure,
    before: tuple[EdgeLayer, Array] | None,
    behind: tuple[EdgeLayer, Array] | None,
) -> CachedLayeredGraph:
    """Return a free graph of a structure with a stem before it and a head behind it.

    Parameters
    ----------
    graph : CachedLayeredGraph
        The live graph of the structure.
    facts : Structure
    before, behind : (EdgeLayer, positions)
        The stem with the structure's inputs, and the head with its outputs.
    """
    n_in = before[0].edge_set.num_sources if before is not None else 0
    n_out = behind[0].edge_set.num_targets if behind is not None else 0
    n = facts.num_nodes
    src, dst = graph.edge_arrays()
    pieces = [(src.astype(np.int64) + n_in, dst.astype(np.int64) + n_in, graph.column("weight"))]
    bias = [np.zeros(n_in), graph.node_column("bias"), np.zeros(n_out)]
    if before is not None:
        u, v = before[0].edge_set.pairs()
        pieces.append((u.astype(np.int64), before[1][v] + n_in, before[0].edge_set.weight))
    if behind is not None:
        u, v = behind[0].edge_set.pairs()
        pieces.append((behind[1][u] + n_in, v.astype(np.int64) + n_in + n, behind[0].edge_set.weight))
        if behind[0].bias is not None:
            bias[2] = behind[0].bias.detach().cpu().double().numpy()
    whole = CachedLayeredGraph.from_arrays(
        np.concatenate([p[0] for p in pieces]),
        np.concatenate([p[1] for p in pieces]),
        n_in + n + n_out,
        weight=np.concatenate([p[2] for p in pieces]),
    )
    low = int(facts.stage.min()) - (1 if n_in else 0)
    top = int(facts.stage.max()) + 1
    whole.set_node_column("stage", np.concatenate([[low] * n_in, facts.stage, [top] * n_out]).astype(np.int32) - low)
    inner = _roles(
        n, np.empty(0, np.int64) if n_in else facts.inputs, np.empty(0, np.int64) if n_out else facts.outputs
    )
    whole.set_node_column("role", np.concatenate([np.repeat("input", n_in), inner, np.repeat("output", n_out)]))
    whole.set_node_column("bias", np.concatenate(bias))
    names = np.array([activation(int(code)).name for code in facts.activation])
    outer = np.repeat("identity", n_in), np.repeat("identity", n_out)
    whole.set_node_column("activation", np.concatenate([outer[0], names, outer[1]]))
    if graph.has_node_column("slope"):
        slopes = [np.full(n_in, PRELU_SLOPE), graph.node_column("slope", PRELU_SLOPE), np.full(n_out, PRELU_SLOPE)]
        whole.set_node_column("slope", np.concatenate(slopes))
    if facts.reduce.any():
        reduce = np.concatenate([np.zeros(n_in, int), facts.reduce, np.zeros(n_out, int)])
        whole.set_node_column("reduce", np.array(REDUCTIONS)[reduce])
    return whole
