"""The layer index: the length of the longest path from a source to each node, and the cycle where there is none."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from deepgraph.errors import CycleError
from deepgraph.graph.arrays import Array, expand

__all__ = ["find_cycle", "layer_index"]

# Below this many edges a frontier is walked one by one: numpy's cost per call would exceed the work.
_NARROW = 128


def layer_index(
    indptr: Array, dst: Array, num_nodes: int, label: Callable[[int], object] = int
) -> npt.NDArray[np.int32]:
    """Return the layer of every node (N,): 0 for sources, else one more than the highest layer of a predecessor.

    Parameters
    ----------
    indptr : (N + 1,)
    dst : (E,)
        Compressed rows of the graph.
    num_nodes : int
    label : callable
        What a message calls a position.

    Raises
    ------
    CycleError
        If the graph has a directed cycle; the message names one.

    Notes
    -----
    Kahn's algorithm by frontiers, O(N + E). Wide frontiers take a few numpy calls, narrow ones a plain loop, so
    that a chain of a million nodes costs a loop over its nodes and not a million numpy calls.

    Examples
    --------
    >>> import numpy as np
    >>> layer_index(np.array([0, 2, 3, 3]), np.array([1, 2, 2]), 3)
    array([0, 1, 2], dtype=int32)
    """
    layer = np.zeros(num_nodes, np.int32)
    if len(dst) == 0:
        return layer
    waiting = np.zeros(num_nodes, np.int64)
    # Counting widens what it counts: block by block, so that no second copy of the edges is made.
    block = max(2**20, num_nodes)
    for start in range(0, len(dst), block):
        waiting += np.bincount(dst[start : start + block], minlength=num_nodes)
    frontier = np.flatnonzero(waiting == 0)
    depth, seen = 0, 0
    while frontier.size:
        count = indptr[frontier + 1] - indptr[frontier]
        if int(count.sum()) + frontier.size < _NARROW:
            frontier, depth, passed = _walk_narrow(indptr, dst, waiting, layer, frontier.tolist(), depth)
            seen += passed
            continue
        layer[frontier] = depth
        seen += frontier.size
        targets = _successors(indptr, dst, frontier, count)
        depth += 1
        frontier = _freed(waiting, targets)
    if seen < num_nodes:
        raise _cycle_error(find_cycle(indptr, dst, waiting > 0), label)
    return layer


def _successors(indptr: Array, dst: Array, nodes: Array, count: Array) -> Array:
    """Return the targets of all edges that leave `nodes`, joined; `count` are their out-degrees."""
    first, last = int(nodes[0]), int(nodes[-1])
    if last - first + 1 == len(nodes):
        # Nodes in a row, ascending as they are here, have their edges in a row.
        between: Array = dst[indptr[first] : indptr[last + 1]]
        return between
    ends = np.cumsum(count)
    rows = np.arange(ends[-1]) + np.repeat(indptr[nodes] - (ends - count), count)
    targets: Array = dst[rows]
    return targets


def _freed(waiting: Array, targets: Array) -> Array:
    """Take one from `waiting` for each of `targets`, and return those that wait no more, ascending."""
    low, high = int(targets.min(initial=len(waiting))), int(targets.max(initial=-1))
    if high - low > 4 * len(targets):
        np.subtract.at(waiting, targets, 1)
        return np.unique(targets[waiting[targets] == 0])
    # The targets lie close together, as those of a layer do: counting is faster than taking and sorting.
    arrived = np.bincount(targets - low if low else targets, minlength=max(high - low + 1, 0))
    window = waiting[low : high + 1]
    window -= arrived
    return low + np.flatnonzero((arrived > 0) & (window == 0))


def _walk_narrow(
    indptr: Array, dst: Array, waiting: Array, layer: Array, frontier: list[int], depth: int
) -> tuple[Array, int, int]:
    """Walk on node by node while the frontier is narrow; return the next wide frontier, its layer, nodes seen."""
    nodes: list[int] = []
    depths: list[int] = []
    bounds, targets, left = indptr.data, dst.data, waiting.data
    work = 0
    while frontier and work < _NARROW:
        following: list[int] = []
        for u in frontier:
            for v in targets[bounds[u] : bounds[u + 1]]:
                left[v] -= 1
                if left[v] == 0:
                    following.append(v)
        nodes.extend(frontier)
        depths.extend([depth] * len(frontier))
        frontier = following
        depth += 1
        work = len(frontier) + sum([bounds[u + 1] - bounds[u] for u in frontier])
    layer[nodes] = depths
    return np.array(sorted(frontier), np.int64), depth, len(nodes)


def _cycle_error(cycle: list[int], label: Callable[[int], object]) -> CycleError:
    shown = " -> ".join(repr(label(node)) for node in cycle[:8]) + (" -> ..." if len(cycle) > 8 else "")
    return CycleError(
        f"expected a directed acyclic graph, got a cycle of {len(cycle) - 1} edges: {shown}; "
        "remove an edge of it, or order the nodes with deepgraph.from_networkx(G.to_undirected(), orientation=...)"
    )


def find_cycle(indptr: Array, dst: Array, inside: Array) -> list[int]:
    """Return the nodes of one directed cycle, first repeated at the end, in the part of the graph marked `inside`.

    Parameters
    ----------
    inside : (N,) bool
        Nodes that Kahn's algorithm could not place: each has a predecessor among them.

    Notes
    -----
    Walks backwards from one such node, always to a predecessor in the set, until a node repeats: O(E).

    Examples
    --------
    >>> import numpy as np
    >>> find_cycle(np.array([0, 1, 2]), np.array([1, 0]), np.array([True, True]))
    [0, 1, 0]
    """
    src = expand(indptr)
    within = inside[src] & inside[dst]
    previous = np.full(len(inside), -1, np.int64)
    previous[dst[within]] = src[within]
    node = int(np.flatnonzero(inside)[0])
    path: list[int] = []
    at: dict[int, int] = {}
    while node not in at:
        at[node] = len(path)
        path.append(node)
        node = int(previous[node])
    return [node, *reversed(path[at[node] :])]
