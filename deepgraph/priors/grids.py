"""Grids, directed from one corner to the opposite one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from operator import index

import numpy as np

from deepgraph.errors import ArgumentError, DtypeError, TooLargeError
from deepgraph.graph import CachedLayeredGraph
from deepgraph.graph.arrays import MAX_NODES

__all__ = ["grid", "grid_2d", "hypercube", "triangular"]


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


def grid(shape: Sequence[int]) -> CachedLayeredGraph:
    """Return the grid of any number of dimensions whose edges go one step up in one coordinate.

    Parameters
    ----------
    shape : D ints
        Nodes along each axis, all >= 1.

    Returns
    -------
    CachedLayeredGraph
        N = product of `shape` nodes in C order, the last coordinate running fastest. The node column `stage` is the sum
        of the coordinates, which is also the layer. Roles are not declared: the one source is the corner of zeros, the
        one sink the opposite corner.

    Raises
    ------
    ArgumentError
        When there is no axis, or a size is below 1.
    DtypeError
        When a size is no int.
    TooLargeError
        When there are more than 2^31 - 1 nodes.

    Notes
    -----
    O(D N). The undirected edges are those of `networkx.grid_graph(reversed(shape))`, whose nodes are coordinates.

    References
    ----------
    .. [1] N. Kalchbrenner, I. Danihelka, A. Graves, "Grid long short-term memory", ICLR 2016: the same grid as an order
       of computation.

    Examples
    --------
    >>> g = grid([2, 3, 4])
    >>> len(g), g.number_of_edges(), g.num_layers, list(g.successors(0))
    (24, 46, 7, [1, 4, 12])
    """
    try:
        sizes = [index(size) for size in shape]
    except TypeError:
        raise DtypeError(f"shape must be ints, one for each axis; got {shape!r:.80}") from None
    if not sizes or min(sizes) < 1:
        raise ArgumentError(f"a grid needs at least one axis, each of at least one node; got {list(shape)}")
    if math.prod(sizes) > MAX_NODES:
        raise TooLargeError(f"a grid of shape {sizes} has more than {MAX_NODES:,} nodes; choose a smaller one")
    node = np.arange(math.prod(sizes))
    src, dst = [], []
    stage = np.zeros(node.size, dtype=np.int32)
    stride = 1
    for size in reversed(sizes):
        place = node // stride % size
        stage += place.astype(np.int32)
        src.append(node[place < size - 1])
        dst.append(src[-1] + stride)
        stride *= size
    g = CachedLayeredGraph.from_arrays(np.concatenate(src), np.concatenate(dst), num_nodes=node.size)
    g.set_node_column("stage", stage)
    return g


def hypercube(dimension: int) -> CachedLayeredGraph:
    """Return the hypercube whose edges switch one bit on: the lattice of subsets of `dimension` things.

    Parameters
    ----------
    dimension : int
        D, in [1, 30].

    Returns
    -------
    CachedLayeredGraph
        N = 2^D nodes, whose numbers in binary are the subsets, and D 2^(D - 1) edges. The node column `stage` is the
        number of bits that are on, which is also the layer: binomial(D, l) nodes lie in layer l. Roles are not
        declared: node 0 is the one source, node N - 1 the one sink.

    Raises
    ------
    ArgumentError
        When `dimension` is below 1.
    TooLargeError
        When it is above 30.

    Notes
    -----
    O(D 2^D). It is `grid([2] * dimension)`.

    References
    ----------
    .. [1] F. Harary, J. P. Hayes, H.-J. Wu, "A survey of the theory of hypercube graphs", Computers & Mathematics with
       Applications 15, 1988.

    Examples
    --------
    >>> g = hypercube(3)
    >>> g.stage_array().tolist(), list(g.successors(1))
    ([0, 1, 1, 2, 1, 2, 2, 3], [3, 5])
    """
    if dimension < 1:
        raise ArgumentError(f"dimension must be at least 1; got {dimension}")
    if dimension > 30:
        raise TooLargeError(f"a hypercube of dimension {dimension} has more than {MAX_NODES:,} nodes; take at most 30")
    return grid([2] * dimension)


def triangular(rows: int, columns: int) -> CachedLayeredGraph:
    """Return the triangular lattice, directed rightwards inside a row of nodes and downwards between rows.

    Parameters
    ----------
    rows, columns : int
        Rows of triangles and triangles in a row, both >= 1.

    Returns
    -------
    CachedLayeredGraph
        rows + 1 rows of nodes, numbered row by row from the left: 1 + (columns + 1) // 2 nodes in a row, but one fewer
        in every second row for odd `columns`. Inner nodes have six neighbours. Node column `stage` (= layer); roles are
        not declared.

    Raises
    ------
    ArgumentError
        When `rows` or `columns` is below 1.
    TooLargeError
        When there are more than 2^31 - 1 nodes.

    Notes
    -----
    O(N). The undirected edges are those of `networkx.triangular_lattice_graph(rows, columns)`, whose nodes are pairs
    (column, row).

    References
    ----------
    .. [1] M. F. Sykes, J. W. Essam, "Exact critical percolation probabilities for site and bond problems in two
       dimensions", Journal of Mathematical Physics 5, 1964.

    Examples
    --------
    >>> sorted(triangular(2, 2).edges)
    [(0, 1), (0, 2), (1, 2), (1, 3), (2, 3), (2, 4), (2, 5), (3, 5), (4, 5)]
    """
    if rows < 1 or columns < 1:
        raise ArgumentError(f"a triangular lattice needs rows >= 1 and columns >= 1; got {rows} and {columns}")
    wide = 1 + (columns + 1) // 2
    if (rows + 1) * wide > MAX_NODES:
        raise TooLargeError(f"a lattice of {rows} x {columns} has more than {MAX_NODES:,} nodes; choose a smaller one")
    exists = np.ones((rows + 1, wide), dtype=bool)
    exists[1::2, -1] = columns % 2 == 0
    node = np.cumsum(exists).reshape(exists.shape) - 1
    # Odd rows stand half a step to the right: a node there lies between two nodes of the rows above and below.
    pairs = [
        ((slice(None), slice(None, -1)), (slice(None), slice(1, None))),
        ((slice(None, -1), slice(None)), (slice(1, None), slice(None))),
        ((slice(0, -1, 2), slice(1, None)), (slice(1, None, 2), slice(None, -1))),
        ((slice(1, -1, 2), slice(None, -1)), (slice(2, None, 2), slice(1, None))),
    ]
    both = [exists[source] & exists[target] for source, target in pairs]
    src = np.concatenate([node[source][there] for (source, _), there in zip(pairs, both, strict=True)])
    dst = np.concatenate([node[target][there] for (_, target), there in zip(pairs, both, strict=True)])
    g = CachedLayeredGraph.from_arrays(src, dst, num_nodes=int(exists.sum()))
    g.set_node_column("stage", g.layer_array())
    return g
