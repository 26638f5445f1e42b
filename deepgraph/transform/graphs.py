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
from deepgraph.transform.merging import MergedEdges, merge_norms, merge_parallel
from deepgraph.transform.provenance import Provenance
from deepgraph.transform.records import record_entries, record_nodes, scales
from deepgraph.transform.rules_cells import CellCall
from deepgraph.transform.rules_graph import ProgramCall
from deepgraph.transform.traced import KIND_INPUT, Array, Shares, TracedGraph, stages

__all__ = [
    "build_channel_graph",
    "build_graph",
    "labelled_graph",
    "program_graph",
    "program_order",
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
    columns = {"weight": edges.weight, "parameter": parameter, "entry": entry, **scales(edges, provenance)}
    graph = CachedLayeredGraph.from_arrays(edges.src, edges.dst, traced.num_nodes, **columns)
    if len(several):
        parameter, entry = split_origin(edges.several_origin, provenance.starts)
        listed = {"edge": number, "parameter": parameter, "entry": entry}
        graph.graph["merged_entries"] = {name: column.tolist() for name, column in listed.items()}
    record_entries(graph, edges, provenance)
    _set_columns(graph, traced, edges.weight.dtype)
    modules = np.array(traced.modules)[traced.applied]
    record_nodes(graph, traced.bias, traced.shares, modules, provenance.values().numpy())
    _set_slopes(graph, traced.slope, traced.slope_entry, edges.weight.dtype)
    return graph


def _set_columns(graph: CachedLayeredGraph, traced: TracedGraph, dtype: Any) -> None:
    graph.set_node_column("bias", traced.bias.astype(dtype))
    graph.set_node_column("element", traced.element)
    _set_common_columns(graph, traced)


def _set_slopes(graph: CachedLayeredGraph, slope: Array, entry: Array, dtype: Any) -> None:
    """Set the node column `slope` where nodes have one, and record the parameter entries behind it for write-back."""
    if (graph.node_column("activation") == "prelu").any():
        graph.set_node_column("slope", slope.astype(dtype))
        graph.graph["written_slopes"] = {"slope": slope.astype(dtype), "entry": entry}


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
    edges = MergedEdges.single(topology.src, topology.dst, call.weight, call.origin)
    record_entries(graph, edges, provenance)
    at = np.flatnonzero(call.bias_origin >= 0)
    shares = Shares(at, call.bias_origin[at], np.ones(len(at)))
    record_nodes(graph, call.bias, shares, graph.node_column("module"), provenance.values().numpy())
    _set_slopes(graph, call.slope, call.slope_origin, call.weight.dtype)
    return graph


def cell_graph(call: CellCall) -> CachedLayeredGraph:
    """Return the graph that a model of cells was made from, with its labels and its weights of now."""
    facts, layer = call.engine.facts, call.engine.layer
    src, dst = layer.edge_set.pairs()
    graph = labelled_graph(
        src, dst, facts.num_nodes, facts.table.names, weight=layer.edges.values().cpu().numpy(),
        count=np.full(len(src), int(np.prod(layer.kernel_shape))),
    )  # fmt: skip
    names = np.array([activation(int(code)).name for code in facts.activation])
    graph.set_node_column("role", facts.table.columns.array("role", ""))
    graph.set_node_column("stage", facts.stage)
    graph.set_node_column("activation", np.where(facts.is_input, "identity", names))
    graph.set_node_column("module", np.where(facts.is_input, "", np.array([call.module])))
    graph.graph["inputs"], graph.graph["outputs"] = facts.inputs.tolist(), facts.outputs.tolist()
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
