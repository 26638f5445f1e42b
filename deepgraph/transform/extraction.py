"""`extract` and `estimate`: a model -> the graph of its neurons, or its size."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from deepgraph.errors import ArgumentError, TooLargeError
from deepgraph.graph import CachedLayeredGraph
from deepgraph.sparse.cell_operator import cells_as_nodes
from deepgraph.transform.calls import module_graph
from deepgraph.transform.coordinates import grids_of
from deepgraph.transform.fusion import fuse as fuse_graph
from deepgraph.transform.graphs import build_channel_graph, build_graph, cell_graph, program_graph, program_order
from deepgraph.transform.trace import Trace, run_trace
from deepgraph.transform.traced import reorder
from deepgraph.transform.tracer import Settings, Tracer

__all__ = ["Estimate", "estimate", "extract"]

_BYTES_PER_EDGE = 4 + 4 + 4 + 4 + 8
"""Target, weight, parameter, entry, and a source while the graph is built."""
_BYTES_PER_NODE = 8 + 4 + 4 + 4 * (12 + 8 + 16)
"""Index, stage and bias; role, activation and module as text."""


@dataclass(frozen=True)
class Estimate:
    """How large the graph of a model would be, before nodes are merged.

    Parameters
    ----------
    nodes, edges : int
        Counts of the trace; merging only makes them smaller.
    bytes : int
        Memory of the graph, in bytes.
    order : int
        The order that was asked for.
    """

    nodes: int
    edges: int
    bytes: int
    order: int

    def __str__(self) -> str:
        """Return the size in one line."""
        return f"order {self.order}: {self.nodes:,} nodes, {self.edges:,} edges, about {self.bytes / 2**20:,.1f} MiB"


def extract(
    model: Callable[..., Any],
    *inputs: Any,
    kwargs: Mapping[str, Any] | None = None,
    order: int = 0,
    threshold: float = 0.0,
    density: float | None = None,
    unknown: Literal["error", "dense"] = "error",
    fuse: bool = True,
    max_edges: int = 20_000_000,
    batch_dim: int | None = 0,
    channel_dim: int | None = None,
    labels: Literal["number", "grid"] = "number",
) -> CachedLayeredGraph:
    """Return the graph of neurons that a model computes for one sample, found by following one forward pass.

    The model runs in eval mode, without gradients; modes, buffers and random states are as before afterwards.

    Parameters
    ----------
    model : callable
        Any nn.Module, or a function of tensors.
    *inputs : object
        Arguments of the model; of every tensor among them, nested ones too, the first sample is used.
    kwargs : mapping, optional
        Keyword arguments of the model.
    order : int
        0: a node per element of an activation; 1: a node per channel (feature) of each result, found without building
        the neurons; 2: a node per call of a module.
    threshold : float
        Of weights without a declared support (a mask, a pattern, a program of ours) those with |w| <= threshold are no
        edges; 0 or more.
    density : float, optional
        Fraction in (0, 1] of each such weight to keep instead, the largest by magnitude.
    unknown : {"error", "dense"}
        An operation without a rule is an error, or an all-to-all connection whose nodes are marked `approximate`.
    fuse : bool
        Whether to merge pointwise operations into the neurons they belong to (linear + batch norm + ReLU is one).
    max_edges : int
        Refuse beyond this many edges.
    batch_dim : int or None
        The dimension of the samples; None if the whole input is one sample.
    channel_dim : int, optional
        Order 1: the dimension of the input's channels. By default that of an image is the first after the samples, of
        a sequence the last (the first before a convolution or a batch norm); integers are one channel.
    labels : {"number", "grid"}
        Nodes are numbered (a compiled graph keeps its labels), or at order 0 labelled (module, channel, row, column).

    Returns
    -------
    CachedLayeredGraph
        Inputs first, unused ones too, then nodes as they were computed. Node columns `role`, `stage`, `bias`,
        `activation`, `module` (path), `result` and `element` (which entry of which of ``graph.graph["results"]``).
        Edge columns `weight`, `parameter` (index into ``graph.graph["parameters"]``, -1 for none, -2 for several) and
        `entry` (index into the flattened parameter); at order 1 `count` (how many weights) and `weight` (their L2
        norm). In ``graph.graph``: `support` (the rule by which edges were chosen), `exact` (whether the graph carries
        the function), `inexact` (why not), `input_dependent`. The guide to extraction lists everything.

    Raises
    ------
    ArgumentError
        If an argument is out of range, the inputs hold no tensor, or grid labels are asked of a compiled graph.
    TooLargeError
        If there are more than `max_edges` edges; the message holds the estimate.
    UnsupportedOperationError
        If an operation has no rule or mixes samples, or the order is not supported.

    Examples
    --------
    >>> import torch
    >>> model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.ReLU(), torch.nn.Linear(2, 1))
    >>> graph = extract(model, torch.randn(1, 3))
    >>> len(graph), graph.number_of_edges(), graph.node_column("activation").tolist()
    (6, 8, ['identity', 'identity', 'identity', 'relu', 'relu', 'identity'])
    >>> channels = extract(torch.nn.Conv2d(3, 2, 5), torch.randn(1, 3, 8, 8), order=1)
    >>> channels.column("count").tolist()
    [25, 25, 25, 25, 25, 25]
    """
    _check(order, threshold, density, unknown, max_edges)
    _check_labels(labels, order)
    if order == 2:
        return module_graph(model, inputs, kwargs, batch_dim)
    settings = Settings(threshold, density, unknown, batch_dim, order, channel_dim)
    with cells_as_nodes(order == 1):
        trace = run_trace(model, inputs, kwargs, settings, max_edges)
    _check_size(trace, max_edges, order)
    graph = _graph_of(trace, fuse) if order == 0 else _channel_graph_of(trace, fuse)
    _record(graph, trace.tracer, order)
    return _labelled(graph) if labels == "grid" else graph


def _labelled(graph: CachedLayeredGraph) -> CachedLayeredGraph:
    """Return the graph with its neurons labelled by module, channel, row and column."""
    grids = grids_of(graph)
    graph.set_grid_labels(grids)
    graph.graph["grids"] = grids
    return graph


def _check_size(trace: Trace, max_edges: int, order: int) -> None:
    if trace.collector.counting_only:
        size = _estimate(trace.collector.num_nodes, trace.collector.num_edges, order)
        raise TooLargeError(
            f"expected at most max_edges={max_edges:,} edges, got a model of {size}; raise max_edges, cut weights with "
            "density= or threshold=, or extract(order=2), which has a node per module call"
        )


def _record(graph: CachedLayeredGraph, tracer: Tracer, order: int) -> None:
    """Note in a graph how it was made and what it carries."""
    graph.graph["order"] = order
    graph.graph["support"] = "; ".join(tracer.supports) or "operation"
    graph.graph["exact"] = order == 0 and not tracer.inexact and not tracer.input_dependent
    graph.graph["inexact"] = list(tracer.inexact) if order == 0 else ["a channel stands for many neurons"]
    graph.graph["input_dependent"] = tracer.input_dependent


def estimate(
    model: Callable[..., Any],
    *inputs: Any,
    kwargs: Mapping[str, Any] | None = None,
    order: int = 0,
    threshold: float = 0.0,
    density: float | None = None,
    unknown: Literal["error", "dense"] = "error",
    batch_dim: int | None = 0,
    channel_dim: int | None = None,
) -> Estimate:
    """Return how many nodes and edges `extract` would find, and the memory they would take, without building them.

    Parameters
    ----------
    model, *inputs, kwargs, order, threshold, density, unknown, batch_dim, channel_dim
        As for `extract`.

    Raises
    ------
    ArgumentError, UnsupportedOperationError
        As for `extract`.

    Examples
    --------
    >>> import torch
    >>> estimate(torch.nn.Linear(100, 10), torch.randn(1, 100)).edges
    1000
    """
    _check(order, threshold, density, unknown, 1)
    if order == 2:
        graph = module_graph(model, inputs, kwargs, batch_dim)
        return _estimate(len(graph), graph.number_of_edges(), 2)
    settings = Settings(threshold, density, unknown, batch_dim, order, channel_dim)
    trace = run_trace(model, inputs, kwargs, settings, 0)
    return _estimate(trace.collector.num_nodes, trace.collector.num_edges, order)


def _estimate(nodes: int, edges: int, order: int) -> Estimate:
    return Estimate(nodes, edges, nodes * _BYTES_PER_NODE + edges * _BYTES_PER_EDGE, order)


def _check_labels(labels: str, order: int) -> None:
    if labels not in ("number", "grid"):
        raise ArgumentError(f'expected labels="number" or "grid", got {labels!r}')
    if labels == "grid" and order != 0:
        raise ArgumentError(f'expected order=0 with labels="grid", which name neurons, got order={order}')


def _check(order: int, threshold: float, density: float | None, unknown: str, max_edges: int) -> None:
    if order not in (0, 1, 2):
        raise ArgumentError(
            f"expected order 0 (a node per neuron), 1 (per channel) or 2 (per module call), got {order!r}"
        )
    if not threshold >= 0:
        raise ArgumentError(f"expected threshold from 0, a magnitude of weights, got {threshold!r}")
    if density is not None and not 0 < density <= 1:
        raise ArgumentError(f"expected density in (0, 1], the fraction of each weight to keep, got {density!r}")
    if density is not None and threshold > 0:
        raise ArgumentError(
            f"expected threshold or density, got both ({threshold!r} and {density!r}); pass one of them"
        )
    if unknown not in ("error", "dense"):
        raise ArgumentError(f'expected unknown="error" or "dense", got {unknown!r}')
    if max_edges < 1:
        raise ArgumentError(f"expected max_edges from 1, got {max_edges!r}")


def _graph_of(trace: Trace, fuse: bool) -> CachedLayeredGraph:
    graph = _neuron_graph_of(trace, fuse)
    graph.graph["output_shape"] = trace.output_shape
    if len(trace.results) > 1:
        graph.graph["output_shapes"] = [result.shape for result in trace.results]
    graph.graph["parameters"] = list(trace.tracer.provenance.names)
    return graph


def _neuron_graph_of(trace: Trace, fuse: bool) -> CachedLayeredGraph:
    provenance = trace.tracer.provenance
    programs = trace.tracer.programs
    if len(programs) == 1 and _is_whole_model(trace):
        return program_graph(programs[0], provenance)
    traced = trace.collector.finish(trace.inputs, trace.outputs)
    position = program_order(programs, traced)
    if position is not None:
        traced = reorder(traced, position)
    return build_graph(fuse_graph(traced) if fuse else traced, provenance)


def _channel_graph_of(trace: Trace, fuse: bool) -> CachedLayeredGraph:
    runs = trace.tracer.cells
    if len(runs) == 1 and runs[0].is_whole(trace.inputs, trace.outputs, trace.collector.num_nodes):
        return cell_graph(runs[0])
    traced = trace.collector.finish(trace.inputs, trace.outputs)
    return build_channel_graph(fuse_graph(traced) if fuse else traced)


def _is_whole_model(trace: Trace) -> bool:
    """Return whether the model is one run of a program, from x to the result: then the graph is the program's own."""
    call = trace.tracer.programs[0]
    reads = [row for row in call.x if bool((row >= 0).any())]
    shows = [row for row in call.result if bool((row >= 0).any())]
    made = call.topology.num_computed + np.count_nonzero(np.bincount(call.topology.inputs) > 1)
    return (
        call.num_nodes == len(trace.inputs) + made == trace.collector.num_nodes
        and len(reads) == len(shows) == 1
        and np.array_equal(reads[0].numpy(), trace.inputs)
        and np.array_equal(shows[0].numpy(), trace.outputs)
    )
