"""From the arrays of a trace to a `CachedLayeredGraph` with all its columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from deepgraph.errors import TooLargeError
from deepgraph.graph import CachedLayeredGraph, EdgeSet
from deepgraph.graph.edge_store import FreeEdges
from deepgraph.graph.node_table import NodeTable
from deepgraph.kernels.activations import activation
from deepgraph.transform.fusion import MergedEdges, merge_norms, merge_parallel
from deepgraph.transform.provenance import Provenance
from deepgraph.transform.rules_graph import ProgramCall
from deepgraph.transform.traced import (
    KIND_INPUT,
    NO_ORIGIN,
    SEVERAL_ORIGINS,
    Array,
    Shares,
    TracedGraph,
    stages,
    sum_at,
)

__all__ = [
    "build_channel_graph",
    "build_graph",
    "labelled_graph",
    "program_graph",
    "program_order",
    "record_nodes",
    "roles",
    "split_origin",
]


def build_graph(traced: TracedGraph, provenance: Provenance) -> CachedLayeredGraph:
    """Return the graph of a trace: nodes in the order of the trace, edges in canonical order, all columns set.

    Parameters
    ----------
    traced : TracedGraph
        Fused or not.
    provenance : Provenance
        Knows the parameters.

    Raises
    ------
    TooLargeError
        If there are more nodes than positions of 32 bits.
    """
    if traced.num_nodes >= 2**31:
        raise TooLargeError(f"expected fewer than 2**31 nodes, got {traced.num_nodes}; extract a part of the model")
    edges = merge_parallel(traced)
    parameter, entry = split_origin(edges.origin, provenance.starts)
    several, number = np.unique(edges.several_edge, return_inverse=True)
    entry[several] = np.arange(len(several))
    columns = {"weight": edges.weight, "parameter": parameter, "entry": entry, **_scales(edges, provenance)}
    graph = CachedLayeredGraph.from_arrays(edges.src, edges.dst, traced.num_nodes, **columns)
    if len(several):
        parameter, entry = split_origin(edges.several_origin, provenance.starts)
        listed = {"edge": number, "parameter": parameter, "entry": entry}
        graph.graph["merged_entries"] = {name: column.tolist() for name, column in listed.items()}
    _record_entries(graph, edges, provenance)
    _set_columns(graph, traced, edges.weight.dtype)
    modules = np.array(traced.modules)[traced.applied]
    record_nodes(graph, traced.bias, traced.shares, modules, provenance.values().numpy())
    return graph


def _scales(edges: MergedEdges, provenance: Provenance) -> dict[str, Array]:
    """Return the column `scale`, weight = scale * parameter entry, if it is not 1 everywhere; 0 where unknown."""
    known = edges.origin >= 0
    value = np.zeros(len(known))
    value[known] = provenance.values().numpy()[edges.origin[known]]
    if np.array_equal(edges.weight[known], value[known].astype(edges.weight.dtype)):
        return {}
    scale = np.ones(len(known))
    np.divide(edges.weight, value, out=scale, where=value != 0)
    # An entry of value 0 does not tell: the other inputs of the neuron were scaled alike.
    given = known & (value != 0)
    of_target = np.zeros(int(edges.dst.max(initial=-1)) + 1)
    of_target[edges.dst[given]] = scale[given]
    open_ = known & (value == 0)
    scale[open_] = of_target[edges.dst[open_]]
    return {"scale": scale}


def _record_entries(graph: CachedLayeredGraph, edges: MergedEdges, provenance: Provenance) -> None:
    """Record how many edges each parameter entry has, and the weights of edges that no single entry stands behind.

    Write-back compares with them.
    """
    single = edges.origin[edges.origin >= 0]
    count = np.bincount(single, minlength=provenance.num_entries)
    count += np.bincount(edges.several_origin, minlength=provenance.num_entries)
    graph.graph["entry_edges"] = count.astype(np.int32)
    graph.graph["fixed_weights"] = edges.weight[edges.origin == NO_ORIGIN]
    graph.graph["merged_weights"] = edges.weight[edges.origin == SEVERAL_ORIGINS]


def record_nodes(graph: CachedLayeredGraph, bias: Array, shares: Shares, modules: Array, values: Array) -> None:
    """Record what write-back compares the nodes with: how biases follow from parameter entries, and the activations.

    Parameters
    ----------
    graph : CachedLayeredGraph
        With its node columns.
    bias : np.ndarray, shape (N,), float64
        Biases before rounding.
    shares : Shares
        The parameter entries in them.
    modules : np.ndarray, shape (N,), str
        Which module applied the activation of each node.
    values : np.ndarray, shape (P,), float64
        The entries of all parameters.

    Raises
    ------
    None
    """
    names, used = np.unique(graph.node_column("activation"), return_inverse=True)
    paths, applied = np.unique(modules, return_inverse=True)
    reduce = graph.node_column("reduce") if graph.has_node_column("reduce") else np.full(len(graph), "sum")
    kinds, kind = np.unique(reduce, return_inverse=True)
    graph.graph["written_nodes"] = {
        "node": shares.node.astype(np.int32),
        "entry": shares.entry,
        "factor": shares.factor,
        "constant": bias - sum_at(shares.node, shares.factor * values[shares.entry], len(bias)),
        "activation": used.astype(np.int16),
        "activations": names.tolist(),
        "applied": applied.astype(np.int16),
        "modules": paths.tolist(),
        "reduce": kind.astype(np.int8),
        "reduces": kinds.tolist(),
    }


def _set_columns(graph: CachedLayeredGraph, traced: TracedGraph, dtype: Any) -> None:
    graph.set_node_column("bias", traced.bias.astype(dtype))
    graph.set_node_column("element", traced.element)
    _set_common_columns(graph, traced)


def build_channel_graph(traced: TracedGraph) -> CachedLayeredGraph:
    """Return the graph of a trace at order 1: edges carry the number of weights that they stand for, and their norm.

    Parameters
    ----------
    traced : TracedGraph
        Fused or not; the origin of an edge is its number of weights.

    Raises
    ------
    None
    """
    edges = merge_norms(traced)
    graph = CachedLayeredGraph.from_arrays(
        edges.src, edges.dst, traced.num_nodes, weight=edges.weight, count=edges.origin
    )
    graph.set_node_column("channel", traced.element)
    _set_common_columns(graph, traced)
    return graph


def _set_common_columns(graph: CachedLayeredGraph, traced: TracedGraph) -> None:
    graph.set_node_column("role", roles(traced.num_nodes, traced.inputs, traced.outputs))
    graph.set_node_column("stage", stages(traced))
    graph.set_node_column("result", traced.result)
    graph.graph["results"] = list(traced.results)
    graph.set_node_column("activation", np.array(traced.activations)[traced.activation])
    graph.set_node_column("module", np.array(traced.modules)[traced.module])
    if traced.reduce.any():
        graph.set_node_column("reduce", np.array(traced.reduces)[traced.reduce])
    if traced.approximate.any():
        graph.set_node_column("approximate", traced.approximate)
    graph.graph["inputs"] = traced.inputs.tolist()
    graph.graph["outputs"] = traced.outputs.tolist()


def program_graph(call: ProgramCall, provenance: Provenance) -> CachedLayeredGraph:
    """Return the graph that a program computes, with its own positions and labels.

    Parameters
    ----------
    call : ProgramCall
        The only operation of a model.
    provenance : Provenance
        Knows the parameters.

    Raises
    ------
    None
    """
    topology = call.topology
    parameter, entry = split_origin(call.origin, provenance.starts)
    graph = labelled_graph(
        topology.src,
        topology.dst,
        topology.num_nodes,
        topology.labels,
        weight=call.weight,
        parameter=parameter,
        entry=entry,
    )
    names = np.array([activation(int(code)).name for code in np.arange(int(topology.activation.max()) + 1)])
    graph.set_node_column("role", roles(topology.num_nodes, topology.inputs, topology.outputs))
    graph.set_node_column("stage", topology.stage)
    graph.set_node_column("bias", call.bias.astype(call.weight.dtype))
    graph.set_node_column("activation", np.where(topology.is_input, "identity", names[topology.activation]))
    graph.set_node_column("module", np.where(topology.is_input, "", np.array([call.module])))
    graph.graph["inputs"] = topology.inputs.tolist()
    graph.graph["outputs"] = topology.outputs.tolist()
    none = np.zeros(0, dtype=np.int64)
    edges = MergedEdges(topology.src, topology.dst, call.weight, call.origin, none, none)
    _record_entries(graph, edges, provenance)
    at = np.flatnonzero(call.bias_origin >= 0)
    shares = Shares(at, call.bias_origin[at], np.ones(len(at)))
    record_nodes(graph, call.bias, shares, graph.node_column("module"), provenance.values().numpy())
    return graph


def program_order(calls: Sequence[ProgramCall], traced: TracedGraph) -> Array | None:
    """Return new ids (N,) that put the nodes of each program in the program's own order, None if they are so already.

    The inputs of a program are computed by what comes before it; they take their place among its nodes.

    Parameters
    ----------
    calls : sequence of ProgramCall
        In order of execution.
    traced : TracedGraph
        As a trace left it.

    Raises
    ------
    None
    """
    position = np.arange(traced.num_nodes)
    moved = np.zeros(traced.num_nodes, dtype=bool)
    for call in calls:
        rows = call.nodes.numpy()
        rows = rows[(rows >= 0).all(axis=1)]
        if len(rows) != 1:
            continue
        nodes = rows[0]
        distinct = len(np.unique(nodes)) == len(nodes)
        if distinct and not moved[nodes].any() and not (traced.kind[nodes] == KIND_INPUT).any():
            position[nodes] = np.sort(nodes)
            moved[nodes] = True
    return position if moved.any() else None


def labelled_graph(
    src: Array, dst: Array, num_nodes: int, labels: Sequence[Any] | None, **columns: Array
) -> CachedLayeredGraph:
    """Return a graph from arrays whose nodes have labels.

    Parameters
    ----------
    src, dst : np.ndarray, shape (E,)
        Positions.
    num_nodes : int
        N.
    labels : sequence of hashable, length N, or None
        In order of positions; None for the positions themselves.
    **columns : np.ndarray, shape (E,)
        Edge columns.

    Raises
    ------
    EdgeError
        If an edge occurs twice.

    Examples
    --------
    >>> list(labelled_graph(np.array([0]), np.array([1]), 2, ["a", "b"]).edges)
    [('a', 'b')]
    """
    if labels is None:
        return CachedLayeredGraph.from_arrays(src, dst, num_nodes, **columns)
    edges = EdgeSet.from_pairs(src, dst, num_nodes, num_nodes, columns, name="graph")
    return CachedLayeredGraph._from_parts(NodeTable(num_nodes, list(labels)), FreeEdges(edges), {})


def roles(num_nodes: int, inputs: Array, outputs: Array) -> Array:
    """Return the role of each node, shape (N,) str.

    Parameters
    ----------
    num_nodes : int
        N.
    inputs, outputs : np.ndarray, int
        Positions.

    Raises
    ------
    None

    Examples
    --------
    >>> roles(4, np.array([0, 1]), np.array([1, 3, 3])).tolist()
    ['input', 'input/output', 'hidden', 'output']
    """
    role = np.full(num_nodes, "hidden", dtype="<U12")
    role[outputs] = "output"
    reads = np.zeros(num_nodes, dtype=bool)
    reads[inputs] = True
    return np.where(reads & (role == "output"), "input/output", np.where(reads, "input", role))


def split_origin(origin: Array, starts: Sequence[int]) -> tuple[Array, Array]:
    """Return the parameter of each entry (int32) and its flat index in it (int64); -1 for none, -2 for several.

    Parameters
    ----------
    origin : np.ndarray, shape (E,), int64
        Entries counted over all parameters.
    starts : sequence of int
        Where each parameter begins.

    Raises
    ------
    None

    Examples
    --------
    >>> split_origin(np.array([0, 5, -1]), [0, 4])
    (array([ 0,  1, -1], dtype=int32), array([ 0,  1, -1]))
    """
    begin = np.asarray(starts, dtype=np.int64)
    parameter = np.searchsorted(begin, origin, side="right") - 1
    known = origin >= 0
    entry = np.where(known, origin - begin[np.where(known, parameter, 0)], origin) if len(begin) else origin
    return np.where(known, parameter, origin).astype(np.int32), entry
