"""The rule of our own whole-graph operation: nodes and edges are those of the program, zero weights included."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from deepgraph.kernels.activations import PRELU_SLOPE, activation
from deepgraph.kernels.masked import MaskedStages
from deepgraph.kernels.operator import program
from deepgraph.transform.neurons import unit
from deepgraph.transform.operands import Term, owners
from deepgraph.transform.provenance import CONSTANT
from deepgraph.transform.rules import Call, rule
from deepgraph.transform.support import DECLARED
from deepgraph.transform.traced import NO_ORIGIN, Array

__all__ = ["ProgramCall"]


@dataclass(frozen=True)
class ProgramCall:
    """One run of the whole-graph operation, with the edges' live weights.

    Parameters
    ----------
    topology : deepgraph.kernels.topology.Topology
        Nodes, edges in canonical order, inputs, outputs.
    x, result, nodes : torch.Tensor, shape (B, I), (B, O) and (B, N), int64
        Ids of the operand, of the result and of all nodes by position.
    weight : np.ndarray, shape (E,)
        Weights of the edges.
    origin : np.ndarray, shape (E,), int64
        Parameter entries behind them.
    bias : np.ndarray, shape (N,), float64
        Biases by position, 0 for inputs.
    bias_origin : np.ndarray, shape (N,), int64
        Parameter entries behind them.
    slope : np.ndarray, shape (N,), float64
        Slopes by position, of nodes that have one.
    slope_origin : np.ndarray, shape (N,), int64
        Parameter entries behind them.
    module : str
        Path of the module that ran it.
    num_nodes : int
        How many nodes the trace had after it.
    """

    topology: Any
    x: Tensor
    result: Tensor
    nodes: Tensor
    weight: Array
    origin: Array
    bias: Array
    bias_origin: Array
    slope: Array
    slope_origin: Array
    module: str
    num_nodes: int


@rule("deepgraph::graph")
def graph(call: Call) -> tuple[Tensor, None]:
    """a_v = act(b_v + sum of w_uv a_u) in one operation: x (B, I), weights, bias (C,), handle of the program."""
    x, live = call["x"], program(call["handle"])
    topology = live.topology
    weight, origin = _edge_values(call, live, call["weights"])
    bias, slope = np.zeros(topology.num_nodes), np.full(topology.num_nodes, PRELU_SLOPE)
    entries, slope_entries = np.full((2, topology.num_nodes), NO_ORIGIN, dtype=np.int64)
    bent, known = topology.slope_index[topology.rank], call["bias"].detach().double().cpu().numpy()
    bias[~topology.is_input], slope[bent >= 0] = known[: topology.num_computed], known[bent[bent >= 0]]
    named = call.tracer.provenance.origins(call["bias"]).numpy()
    entries[~topology.is_input], slope_entries[bent >= 0] = named[: topology.num_computed], named[bent[bent >= 0]]
    own, codes = owners(call, call.ids(x))
    fed = _fed(call, topology, x)
    mine, same = _different_rows(call, fed.numpy(), own.numpy())
    shifts = _shifts(topology, x, fed, weight, bias)
    ids = _number(call, topology, fed.numpy(), mine, codes.numpy(), (shifts, entries), (slope, slope_entries))
    _connect(call, topology, ids[mine], weight, origin)
    ids = ids[same]
    call.tracer.note_support(DECLARED)
    if call.tracer.couplings is not None:
        call.tracer.couplings.hold(ids)
    result = torch.from_numpy(ids[:, topology.outputs])
    tracer = call.tracer
    columns = call.ids(x), result, torch.from_numpy(ids)
    count = tracer.collector.num_nodes
    values = weight, origin, bias, entries, slope, slope_entries
    tracer.programs.append(ProgramCall(topology, *columns, *values, tracer.module, count))
    return result, None


def _different_rows(call: Call, fed: Array, own: Array) -> tuple[Array, Array]:
    """Return which of the sample's rows get nodes of their own (B,) bool, and for each row the one to copy (B,)."""
    same = np.arange(len(own))
    if call.tracer.settings.order == 1 and own.any():
        # Rows (tokens, positions) that read the same channels are the same channels.
        rows = np.flatnonzero(own)
        _, first, inverse = np.unique(fed[rows], axis=0, return_index=True, return_inverse=True)
        same[rows] = rows[first][inverse.reshape(-1)]
    return own & (same == np.arange(len(own))), same


def _edge_values(call: Call, live: Any, weights: list[Tensor]) -> tuple[Array, Array]:
    """Return the weights (E,) of the edges in canonical order and the parameter entries behind them (E,)."""
    provenance = call.tracer.provenance
    values, origins = [], []
    for tensor, place in zip(weights, _places(live), strict=True):
        index = torch.from_numpy(place)
        values.append(tensor.detach().cpu().reshape(-1)[index])
        origins.append(provenance.origins(tensor).reshape(-1)[index])
    value = torch.cat(values)
    value = value.double() if value.dtype == torch.float64 else value.float()
    return value.numpy(), torch.cat(origins).numpy()


def _places(live: Any) -> list[Array]:
    """Return per weight tensor where its edges sit in it, flattened, canonical order."""
    if isinstance(live.kernel, MaskedStages):
        return live.kernel.edge_index()
    return [np.arange(count) for count in live.topology.splits]


def _fed(call: Call, topology: Any, x: Tensor) -> Tensor:
    """Return ids by position (B, N) of what the columns of x feed: an input passes x through."""
    ids = torch.full((x.shape[0], topology.num_nodes), CONSTANT)
    inputs = torch.from_numpy(topology.inputs.copy())
    ids[:, inputs] = call.ids(x)
    order = np.argsort(topology.inputs, kind="stable")
    positions, first, times = np.unique(topology.inputs[order], return_index=True, return_counts=True)
    for count in np.unique(times[times > 1]).tolist():
        # A node that several columns feed gets their sum.
        several = times == count
        columns = torch.from_numpy(order[first[several][:, None] + np.arange(count)])
        terms = [Term(x[:, column], ids=call.ids(x)[:, column]) for column in columns.unbind(1)]
        ids[:, torch.from_numpy(positions[several])] = unit(call, terms, (x.shape[0], int(several.sum())))
    return ids


def _shifts(topology: Any, x: Tensor, fed: Tensor, weight: Array, bias: Array) -> Array:
    """Return the biases (B, N), raised by what constant elements of x bring in."""
    total = np.broadcast_to(bias, (x.shape[0], topology.num_nodes)).copy()
    columns = torch.zeros(x.shape[0], topology.num_nodes, dtype=torch.float64)
    columns.index_add_(1, torch.from_numpy(topology.inputs.copy()), x.detach().double().cpu())
    constant = np.where(fed.numpy() < 0, columns.numpy(), 0.0)
    if constant[:, topology.inputs].any():
        matrix = sparse.csr_array((weight.astype(np.float64), (topology.src, topology.dst)), shape=2 * total.shape[1:])
        total += constant @ matrix
    return total


def _number(
    call: Call,
    topology: Any,
    ids: Array,
    own: Array,
    codes: Array,
    biases: tuple[Array, Array],
    slopes: tuple[Array, Array],
) -> Array:
    """Return ids by position (B, N) with numbers for the computed nodes of the sample's rows.

    `biases` are ((B, N), their entries (N,)), `slopes` ((N,), their entries (N,)).
    """
    bias, entries = biases
    computed = np.flatnonzero(~topology.is_input)
    rows = np.flatnonzero(own)
    ids[:, computed] = codes[:, None]
    collector = call.tracer.collector
    declared, place = np.unique(topology.stage[computed], return_inverse=True)
    first = collector.add_groups(len(declared))
    for later in range(1, len(declared)):
        collector.link_groups(first + later - 1, first + later, int(declared[later] - declared[later - 1]))
    names = [activation(code).name for code in np.unique(topology.activation[computed]).tolist()]
    codes_of = np.zeros(256, dtype=np.int64)
    for name in names:
        codes_of[activation(name).code] = collector.activations.number(name)
    start = collector.add_nodes(
        len(rows) * len(computed),
        "neuron",
        bias=bias[np.ix_(rows, computed)],
        entries=np.tile(entries[computed], len(rows)),
        activation=np.tile(codes_of[topology.activation[computed]], len(rows)),
        module=call.tracer.module,
        group=np.tile(first + place, len(rows)),
        operation=call.name,
        shape=(topology.num_nodes,),
        element=np.tile(computed, len(rows)),
        slope=(np.tile(slopes[0][computed], len(rows)), np.tile(slopes[1][computed], len(rows))),
    )
    ids[np.ix_(rows, computed)] = start + np.arange(len(rows) * len(computed)).reshape(len(rows), len(computed))
    return ids


def _connect(call: Call, topology: Any, ids: Array, weight: Array, origin: Array) -> None:
    collector = call.tracer.collector
    degree = np.bincount(topology.src, minlength=topology.num_nodes)
    if call.tracer.settings.order == 1:
        weight, origin = np.abs(weight), np.ones_like(origin)
    if not collector.room_for(int(((ids >= 0) * degree).sum())):
        return
    for row in ids:
        source, target = row[topology.src], row[topology.dst]
        linked = source >= 0
        collector.add_edges(source[linked], target[linked], weight[linked], origin[linked])
