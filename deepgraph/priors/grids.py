"""Grids, directed from one corner to the opposite one."""

from __future__ import annotations

import numpy as np

from deepgraph.errors import ArgumentError, TooLargeError
from deepgraph.graph import CachedLayeredGraph

__all__ = ["grid_2d"]

MAX_NODES = 2**31 - 1


def grid_2d(rows: int, columns: int, diagonal: bool = False) -> CachedLayeredGraph:
    """Return the grid whose edges go right and down.

    Parameters
    ----------
    rows, columns : int
        Both >= 1.
    diagonal : bool
        Adds an edge from every node to its neighbour below on the right, a skip over one stage.

    Returns
    -------
    CachedLayeredGraph
        N = rows * columns nodes; node `row * columns + column`. The node column `stage` is row + column, which is also
        the layer. Roles are not declared: the one source is the top left corner, the one sink the bottom right one, so
        as a network the grid is a bottleneck unless `graph["inputs"]` and `graph["outputs"]` name more nodes.

    Raises
    ------
    ArgumentError
        When `rows` or `columns` is below 1.
    TooLargeError
        When there are more than 2^31 - 1 nodes.

    Notes
    -----
    O(N). Without diagonals the undirected edges are those of `networkx.grid_2d_graph(rows, columns)`, whose nodes are
    pairs (row, column).

    References
    ----------
    .. [1] A. Graves, S. Fernandez, J. Schmidhuber, "Multi-dimensional recurrent neural networks", ICANN 2007: the same
       grid as the order of computation over an image.

    Examples
    --------
    >>> g = grid_2d(2, 3)
    >>> sorted(g.edges)
    [(0, 1), (0, 3), (1, 2), (1, 4), (2, 5), (3, 4), (4, 5)]
    >>> g.stage_array().tolist()
    [0, 1, 2, 1, 2, 3]
    """
    if rows < 1 or columns < 1:
        raise ArgumentError(f"a grid needs at least one row and one column; got rows={rows}, columns={columns}")
    if rows * columns > MAX_NODES:
        raise TooLargeError(f"a grid of {rows} x {columns} has more than {MAX_NODES:,} nodes; choose a smaller one")
    node = np.arange(rows * columns).reshape(rows, columns)
    pairs = [(node[:, :-1], node[:, 1:]), (node[:-1], node[1:])]
    if diagonal:
        pairs.append((node[:-1, :-1], node[1:, 1:]))
    src = np.concatenate([source.ravel() for source, _ in pairs])
    dst = np.concatenate([target.ravel() for _, target in pairs])
    g = CachedLayeredGraph.from_arrays(src, dst, num_nodes=node.size)
    stage = np.arange(rows, dtype=np.int32)[:, None] + np.arange(columns, dtype=np.int32)
    g.set_node_column("stage", stage.ravel())
    return g
