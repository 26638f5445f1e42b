"""Trees, directed away from the root or towards it."""

from __future__ import annotations

from typing import Literal

import numpy as np

from deepgraph.errors import ArgumentError, TooLargeError
from deepgraph.graph import CachedLayeredGraph
from deepgraph.graph.arrays import MAX_NODES

__all__ = ["balanced_tree"]


def balanced_tree(r: int, h: int, direction: Literal["out", "in"] = "out") -> CachedLayeredGraph:
    """Return the balanced tree in which every inner node has `r` children, h + 1 stages deep.

    Parameters
    ----------
    r : int
        Children of an inner node, >= 1; with 1 the tree is a chain.
    h : int
        Height in edges, >= 0.
    direction : {"out", "in"}
        "out": edges go from parent to child, the root is the input and the leaves are outputs.
        "in": edges go from child to parent, the leaves are inputs and the root is the output.

    Returns
    -------
    CachedLayeredGraph
        N = 1 + r + ... + r^h nodes, numbered level by level from the root as networkx does, and N - 1 edges; node
        columns `stage` and `role`.

    Raises
    ------
    ArgumentError
        When `r` < 1, `h` < 0, or the direction is unknown.
    TooLargeError
        When the tree has more than 2^31 - 1 nodes.

    Notes
    -----
    O(N). Equal to `networkx.balanced_tree(r, h, create_using=networkx.DiGraph)` for "out" and to its reverse for "in".

    References
    ----------
    .. [1] D. E. Knuth, "The Art of Computer Programming", volume 1, section 2.3.4.5: complete t-ary trees.

    Examples
    --------
    >>> g = balanced_tree(2, 2)
    >>> sorted(g.edges)
    [(0, 1), (0, 2), (1, 3), (1, 4), (2, 5), (2, 6)]
    >>> g.stage_array().tolist()
    [0, 1, 1, 2, 2, 2, 2]
    """
    if r < 1 or h < 0:
        raise ArgumentError(f"a balanced tree needs r >= 1 children and height h >= 0; got r={r}, h={h}")
    if direction not in ("out", "in"):
        raise ArgumentError(f"direction must be 'out' (root is input) or 'in' (root is output); got {direction!r}")
    # The last level alone decides whether r^h is worth computing: 2^31 bounds h for every r > 1.
    too_large = h > MAX_NODES if r == 1 else h > 31
    widths = [] if too_large else [r**level for level in range(h + 1)]
    if too_large or sum(widths) > MAX_NODES:
        raise TooLargeError(f"a tree with r={r}, h={h} has more than {MAX_NODES:,} nodes; choose a smaller r or h")
    depth = np.repeat(np.arange(h + 1, dtype=np.int32), widths)
    child = np.arange(1, depth.size)
    parent = (child - 1) // r
    outwards = direction == "out"
    src, dst = (parent, child) if outwards else (child, parent)
    g = CachedLayeredGraph.from_arrays(src, dst, num_nodes=depth.size)
    role = np.full(depth.size, "hidden", dtype="<U12")
    role[depth == h] = "output" if outwards else "input"
    role[0] = "input/output" if h == 0 else "input" if outwards else "output"
    g.set_node_column("stage", depth if outwards else h - depth)
    g.set_node_column("role", role)
    return g
