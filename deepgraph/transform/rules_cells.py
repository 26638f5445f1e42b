"""The rule of graphs of cells at order 1: a node per group of channels. Order 0 follows what cells do inside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deepgraph.kernels.activations import activation
from deepgraph.kernels.operator import program
from deepgraph.transform.operands import owners
from deepgraph.transform.rules import Call, rule
from deepgraph.transform.support import DECLARED
from deepgraph.transform.traced import Array

__all__ = ["CellCall"]


@dataclass(frozen=True)
class CellCall:
    """One run of a graph of cells at order 1.

    Parameters
    ----------
    engine : CellEngine
    inputs, outputs : (I W,), (O,) int64
        Channels that were read, in order, and nodes that are the result.
    num_nodes : int
        How many nodes the trace had after it.
    made : int
        How many of them it made.
    module : str
        Path of the module that ran it.
    """

    engine: Any
    inputs: Array
    outputs: Array
    num_nodes: int
    made: int
    module: str

    def is_whole(self, inputs: Array, outputs: Array, num_nodes: int) -> bool:
        """Return whether a model of these inputs, outputs and nodes is this run and nothing else."""
        return (
            num_nodes == self.num_nodes == len(np.unique(inputs)) + self.made
            and np.array_equal(np.unique(inputs), np.unique(self.inputs))
            and np.array_equal(np.unique(outputs), np.unique(self.outputs))
        )


@rule("deepgraph::cells")
def cells(call: Call) -> tuple[Tensor, None]:
    """x (B, I, W, *size), parameters, handle: nodes of the graph, each all elements of its channels."""
    engine: Any = program(call["handle"])
    ids = call.ids(call["x"])
    own, codes = owners(call, ids.flatten(1))
    shown = call.result[0]
    result = codes.view(-1, *[1] * (shown.ndim - 1)).expand(shown.shape).clone()
    call.tracer.note_support(DECLARED)
    for row in own.nonzero().squeeze(1).tolist():
        nodes, made, channels = _number(call, engine, ids[row])
        outputs = nodes[engine.facts.outputs]
        shape = [-1, *[1] * (result.ndim - 2)]
        result[row] = torch.from_numpy(outputs).view(shape).expand(result.shape[1:])
        tracer = call.tracer
        tracer.cells.append(CellCall(engine, channels, outputs, tracer.collector.num_nodes, made, tracer.module))
    return result, None


def _number(call: Call, engine: Any, ids: Tensor) -> tuple[Array, int, Array]:
    """Return ids by position (N,) for one sample's row, how many nodes are new, and the channels that were read."""
    facts, collector, module = engine.facts, call.tracer.collector, call.tracer.module
    nodes, start = np.full(facts.num_nodes, -1), collector.num_nodes
    channels = []
    for position in dict.fromkeys(facts.inputs.tolist()):
        groups = np.flatnonzero(facts.inputs == position)
        read = np.unique(ids[groups].numpy())
        read = read[read >= 0]
        channels.append(read)
        if len(read) == 1:
            nodes[position] = read[0]
            continue
        # Several channels are one node of the graph.
        nodes[position] = collector.add_nodes(1, "pool", module=module, operation=call.name)
        collector.add_edges(read, np.full(len(read), nodes[position]), np.ones(len(read)), np.ones(len(read), np.int64))
    computed = np.flatnonzero(~facts.is_input)
    codes = np.array([collector.activations.number(activation(int(c)).name) for c in facts.activation[computed]])
    first = collector.add_nodes(
        len(computed), "neuron", activation=codes, module=module, operation=call.name, element=computed
    )
    nodes[computed] = first + np.arange(len(computed))
    src, dst = engine.layer.edge_set.pairs()
    weight = np.abs(engine.layer.edges.values().double().cpu().numpy())
    count = np.full(len(src), int(np.prod(engine.layer.kernel_shape)))
    linked = nodes[src] >= 0
    collector.add_edges(nodes[src][linked], nodes[dst][linked], weight[linked], count[linked])
    return nodes, collector.num_nodes - start, np.concatenate([np.empty(0, np.int64), *channels])
