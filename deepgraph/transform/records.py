"""What a graph keeps of the model that it was extracted from, for write-back: entries, factors, biases, activations."""

from __future__ import annotations

import numpy as np

from deepgraph.graph import CachedLayeredGraph
from deepgraph.transform.merging import MergedEdges
from deepgraph.transform.provenance import Provenance
from deepgraph.transform.traced import NO_ORIGIN, SEVERAL_ORIGINS, Array, Shares, sum_at

__all__ = ["record_entries", "record_nodes", "scales"]


def scales(edges: MergedEdges, provenance: Provenance) -> dict[str, Array]:
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


def record_entries(graph: CachedLayeredGraph, edges: MergedEdges, provenance: Provenance) -> None:
    """Record how many edges each parameter entry has, and the weights of edges that no single entry stands behind.

    Write-back compares with them.
    """
    single = edges.origin[edges.origin >= 0]
    count = np.bincount(single, minlength=provenance.num_entries)
    count += np.bincount(edges.several_origin, minlength=provenance.num_entries)
    graph.graph["entry_edges"] = count.astype(np.int32)
    graph.graph["used_entries"] = provenance.used().numpy()
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
