"""The null that keeps the whole pattern and moves only where it sits: nodes change places inside their stage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from deepgraph.analysis.edges import graph_of
from deepgraph.graph.nulls import permute_within_blocks
from deepgraph.graph.sampling import as_generator

if TYPE_CHECKING:
    from deepgraph.graph import CachedLayeredGraph
    from deepgraph.graph.sampling import Seed

__all__ = ["null_relabel"]


def null_relabel(graph: CachedLayeredGraph, seed: Seed = None) -> CachedLayeredGraph:
    """Return a graph of the same pattern whose nodes changed places at random inside their stage, role and activation.

    Every measure that does not look at labels stays as it is; which input column meets which neuron does not. Edge
    columns go with the edges; labels, node columns and the order of inputs and outputs stay where they are.

    Raises
    ------
    CycleError
        If the graph has a directed cycle and no declared stages.

    Examples
    --------
    >>> from deepgraph.graph import CachedLayeredGraph
    >>> graph = CachedLayeredGraph.from_arrays([0, 0, 0, 1], [3, 4, 5, 4], num_nodes=6)
    >>> null = null_relabel(graph, seed=1)
    >>> sorted(dict(null.out_degree).values()), null.stage_array().tolist() == graph.stage_array().tolist()
    ([0, 0, 0, 0, 1, 3], True)
    """
    graph = graph_of(graph)
    stage, role = graph.stage_array(), graph.role_array()
    kinds = [np.unique(stage, return_inverse=True)[1], np.unique(role, return_inverse=True)[1]]
    if graph.has_node_column("activation"):
        kinds.append(np.unique(graph.node_column("activation"), return_inverse=True)[1])
    block = np.unique(np.stack(kinds), axis=1, return_inverse=True)[1].reshape(-1)
    place = permute_within_blocks(block, as_generator(seed))
    result = graph.copy()
    result.set_node_column("stage", stage)
    result.set_node_column("role", role)
    src, dst = graph.edge_arrays()
    columns: dict[str, Any] = {name: graph.column(name) for name in graph.column_names}
    result.edit(drop=(src, dst), grow=(place[src], place[dst]), reason="relabel", **columns)
    result.history.clear()
    return result
