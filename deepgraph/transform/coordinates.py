"""Where neurons are: the grids (module, channels, rows, columns) that the nodes of an extracted graph make up."""

from __future__ import annotations

import numpy as np

from deepgraph.errors import ArgumentError
from deepgraph.graph import CachedLayeredGraph

__all__ = ["grids_of"]


def grids_of(graph: CachedLayeredGraph) -> list[tuple[str, int, int, int]]:
    """Return the grids of neurons in the order of the nodes: (module, channels, rows, columns) each.

    Nodes that one operation made form a grid: the result of a convolution (C, H, W) all of its neurons, (C, L) those of
    C x 1 x L, others a column of as many channels, also if some of their neurons were merged away. Grids are named by
    the path of the module, inputs and operations outside of modules by the operation; a name that occurs again gets a
    number.

    Parameters
    ----------
    graph : CachedLayeredGraph
        Of order 0, from `extract`.

    Raises
    ------
    ArgumentError
        If the graph has no coordinates.

    Examples
    --------
    >>> import torch
    >>> from deepgraph.transform import extract
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.Flatten(), torch.nn.Linear(8, 5))
    >>> graph = extract(model, torch.randn(1, 1, 4, 4))
    >>> grids_of(graph)
    [('input', 1, 4, 4), ('0', 2, 2, 2), ('2', 5, 1, 1)]
    """
    if not graph.has_node_column("result") or not graph.has_node_column("element"):
        raise ArgumentError(
            "expected a graph of order 0 of a model that is no compiled graph, got one whose nodes have no coordinates"
        )
    result, element = graph.node_column("result"), graph.node_column("element")
    modules, number = np.unique(graph.node_column("module"), return_inverse=True)
    new = np.ones(len(result), dtype=bool)
    new[1:] = (result[1:] != result[:-1]) | (number[1:] != number[:-1]) | (element[1:] <= element[:-1])
    starts = np.append(np.flatnonzero(new), len(result))
    grids = []
    seen: dict[str, int] = {}
    # One round per operation of the model.
    for begin, end in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
        operation, shape = graph.graph["results"][result[begin]]
        name = str(modules[number[begin]]) or operation
        seen[name] = seen.get(name, 0) + 1
        name = name if seen[name] == 1 else f"{name}#{seen[name]}"
        grids.append((name, *_sizes(tuple(shape), end - begin)))
    return grids


def _sizes(shape: tuple[int, ...], count: int) -> tuple[int, int, int]:
    if count == np.prod(shape, dtype=np.int64) and len(shape) == 3:
        return shape[0], shape[1], shape[2]
    if count == np.prod(shape, dtype=np.int64) and len(shape) == 2:
        return shape[0], 1, shape[1]
    return count, 1, 1
