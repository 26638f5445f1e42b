"""Null models of a layered graph: random graphs that keep what a measure must not be surprised by.

Both nulls act inside one *block*, the edges from one stage to another, so that depth, skip lengths and the number of
edges between any two stages are those of the graph. `null_er` keeps nothing else; `null_degree` keeps the fan-in and
the fan-out that every node has in every block. The array functions come first; the last two functions wrap them for
graphs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, cast

import numpy as np
import numpy.typing as npt

from deepgraph.errors import ArgumentError, EdgeError, MissingDependencyError, ShapeError, StructureError
from deepgraph.graph.arrays import compress
from deepgraph.graph.edge_set import EdgeSet
from deepgraph.graph.edge_store import FreeEdges
from deepgraph.graph.sampling import Edges, IntArray, Seed, as_generator, sample_cells
from deepgraph.graph.swaps import compiled_swaps, swap_in_order, swap_rounds

if TYPE_CHECKING:
    from deepgraph.graph import CachedLayeredGraph

__all__ = [
    "er_edges",
    "null_degree",
    "null_er",
    "permute_within_blocks",
    "stage_blocks",
    "swap_edges",
]


def _checked(src: npt.ArrayLike, dst: npt.ArrayLike, stage: npt.ArrayLike) -> tuple[IntArray, IntArray, IntArray]:
    """Return `src`, `dst` (E,) and `stage` (N,) as int64, with every edge going up in stage."""
    src, dst, stage = (np.asarray(values, dtype=np.int64) for values in (src, dst, stage))
    if src.ndim != 1 or src.shape != dst.shape or stage.ndim != 1:
        raise ShapeError(
            f"src and dst must be (E,) and stage (N,); got {src.shape}, {dst.shape} and {stage.shape}: "
            "pass g.edge_arrays() and g.stage_array()"
        )
    if src.size and (min(src.min(), dst.min()) < 0 or max(src.max(), dst.max()) >= stage.size):
        raise EdgeError(
            f"edges must join positions in [0, {stage.size}), the length of stage; got positions from "
            f"{min(src.min(), dst.min())} to {max(src.max(), dst.max())}"
        )
    level = np.flatnonzero(stage[src] >= stage[dst])
    if level.size:
        u, v = int(src[level[0]]), int(dst[level[0]])
        raise StructureError(
            f"every edge must go up in stage; {level.size} do not, the first is ({u}, {v}) from stage {stage[u]} to "
            f"stage {stage[v]}: declare stages with stage[src] < stage[dst], or use g.layer_array()"
        )
    return src, dst, stage


def stage_blocks(src: npt.ArrayLike, dst: npt.ArrayLike, stage: npt.ArrayLike) -> tuple[IntArray, IntArray, IntArray]:
    """Return `(block, pair, capacity)`: which (stage, stage) block each edge lies in.

    Parameters
    ----------
    src, dst : (E,) int
        Positions of sources and targets.
    stage : (N,) int
        Stage of each node; stage[src] < stage[dst].

    Returns
    -------
    block : (E,) int64
        Index into the B blocks that have edges, which are numbered by (source stage, target stage).
    pair : (B, 2) int64
        Source stage and target stage of each block.
    capacity : (B,) int64
        Pairs of nodes that the block admits: nodes in one stage x nodes in the other.

    Raises
    ------
    ShapeError, EdgeError, StructureError
        When the arrays do not fit together, or an edge does not go up in stage.

    Examples
    --------
    >>> block, pair, capacity = stage_blocks([0, 1, 0], [2, 2, 3], stage=[0, 0, 1, 2])
    >>> block.tolist(), pair.tolist(), capacity.tolist()
    ([0, 0, 1], [[0, 1], [0, 2]], [2, 2])
    """
    src, dst, stage = _checked(src, dst, stage)
    levels, level, width = np.unique(stage, return_inverse=True, return_counts=True)
    code, block = np.unique(level[src] * levels.size + level[dst], return_inverse=True)
    low, high = np.divmod(code, max(levels.size, 1))
    return block, np.stack([levels[low], levels[high]], axis=1), width[low] * width[high]


def er_edges(src: npt.ArrayLike, dst: npt.ArrayLike, stage: npt.ArrayLike, seed: Seed = None) -> Edges:
    """Return `(src, dst)`, each (E,) int64, drawn anew: Erdos-Renyi inside each (stage, stage) block.

    Parameters
    ----------
    src, dst : (E,) int
        Positions of sources and targets; only the number of edges of each block is read.
    stage : (N,) int
        Stage of each node; stage[src] < stage[dst].
    seed : int, Generator or None

    Returns
    -------
    src, dst : (E,) int64
        As many edges in each block as before, uniform without replacement among the pairs that the block admits.
        Edge k lies in the block in which edge k lay; the order inside a block carries no meaning.

    Raises
    ------
    ShapeError, EdgeError, StructureError
        As in `stage_blocks`.
    CapacityError
        When a block has more edges than pairs, that is when edges are doubled.

    References
    ----------
    .. [1] P. Erdos, A. Renyi, "On random graphs I", Publicationes Mathematicae 6, 1959: the model G(n, M), here for
       each bipartite block.

    Examples
    --------
    >>> src, dst = er_edges([0, 0, 1], [2, 3, 4], stage=[0, 0, 1, 1, 2], seed=0)
    >>> src.size, dst.tolist()[2] == 4
    (3, True)
    """
    block, pair, capacity = stage_blocks(src, dst, stage)
    stage = np.asarray(stage, dtype=np.int64)
    owner, cell = sample_cells(capacity, np.bincount(block, minlength=capacity.size), seed)
    members = np.argsort(stage, kind="stable")
    in_order = stage[members]
    first = np.searchsorted(in_order, pair)
    width = np.searchsorted(in_order, pair[:, 1], side="right") - first[:, 1]
    row, column = np.divmod(cell, width[owner])
    place = np.argsort(block, kind="stable")
    new_src, new_dst = np.empty(block.size, dtype=np.int64), np.empty(block.size, dtype=np.int64)
    new_src[place] = members[first[owner, 0] + row]
    new_dst[place] = members[first[owner, 1] + column]
    return new_src, new_dst


def permute_within_blocks(block: npt.ArrayLike, seed: Seed = None) -> IntArray:
    """Return a (E,) int64 permutation that moves every edge to a uniform place inside its own block.

    Parameters
    ----------
    block : (E,) int
        Block of each edge, as `stage_blocks` gives it.
    seed : int, Generator or None

    Examples
    --------
    >>> order = permute_within_blocks([0, 0, 1], seed=0)
    >>> sorted(order.tolist()), order.tolist()[2]
    ([0, 1, 2], 2)
    """
    block = np.asarray(block, dtype=np.int64)
    shuffled = as_generator(seed).permutation(block.size)
    order = np.empty(block.size, dtype=np.int64)
    order[np.argsort(block, kind="stable")] = shuffled[np.argsort(block[shuffled], kind="stable")]
    return order


def swap_edges(
    src: npt.ArrayLike,
    dst: npt.ArrayLike,
    stage: npt.ArrayLike,
    seed: Seed = None,
    swaps_per_edge: float = 10,
    engine: Literal["auto", "numba", "python", "numpy"] = "auto",
) -> Edges:
    """Return `(src, dst)`, each (E,) int64, after double-edge swaps inside each (stage, stage) block.

    A swap takes two edges (u, v) and (x, y) of one block to (u, y) and (x, v), unless one of these exists. Every node
    keeps its fan-in and its fan-out in every block, and no edge is doubled.

    Parameters
    ----------
    src, dst : (E,) int
        Positions of sources and targets, no edge twice.
    stage : (N,) int
        Stage of each node; stage[src] < stage[dst].
    seed : int, Generator or None
    swaps_per_edge : float
        Attempted swaps per edge, >= 0; 10 is the field's habit.
    engine : {"auto", "numba", "python", "numpy"}
        "auto" is numba where it is installed, else python: the same edges for the same seed, later.
        "numpy" is faster than python on a large graph and has other edges, of the same distribution in the limit.

    Returns
    -------
    src, dst : (E,) int64
        Edge k keeps its source and gets a new target.

    Raises
    ------
    ShapeError, EdgeError, StructureError
        As in `stage_blocks`; EdgeError also when an edge is given twice.
    ArgumentError
        When `swaps_per_edge` is negative or not finite, or `engine` is unknown.
    MissingDependencyError
        When `engine="numba"` and numba is not installed.

    Notes
    -----
    The chain is symmetric, so its limit is uniform over all simple graphs with these degrees, and Ryser's theorem
    makes every one of them reachable: a block admits every pair of its two stages.
    Differs from the paper: an attempt that fails counts (it must, for the limit to be uniform); full blocks and
    blocks of one edge, which no swap can change, are left alone. The numpy engine attempts disjoint swaps side by side.

    References
    ----------
    .. [1] S. Maslov, K. Sneppen, "Specificity and stability in topology of protein networks", Science 296, 2002.
    .. [2] H. J. Ryser, "Combinatorial properties of matrices of zeros and ones", Canad. J. Math. 9, 1957.

    Examples
    --------
    >>> src, dst = swap_edges([0, 0, 1, 1], [3, 4, 4, 5], stage=[0, 0, 0, 1, 1, 1], seed=0)
    >>> src.tolist(), sorted(dst.tolist())
    ([0, 0, 1, 1], [3, 4, 4, 5])
    """
    block, _, capacity = stage_blocks(src, dst, stage)
    src, dst, num_nodes = np.asarray(src, dtype=np.int64), np.array(dst, dtype=np.int64), np.asarray(stage).size
    if not (np.isfinite(swaps_per_edge) and swaps_per_edge >= 0):
        raise ArgumentError(f"swaps_per_edge must be a finite number >= 0; got {swaps_per_edge}: pass 10, for instance")
    if engine not in ("auto", "numba", "python", "numpy"):
        raise ArgumentError(f"engine must be 'auto', 'numba', 'python' or 'numpy'; got {engine!r}")
    # Sorted by block, then by edge: the result does not depend on the order in which the edges came.
    place = np.lexsort((dst, src, block))
    source, target = src[place], dst[place]
    doubled = np.flatnonzero((source[1:] == source[:-1]) & (target[1:] == target[:-1]))
    if doubled.size:
        raise EdgeError(
            f"edges must be given once; {doubled.size} are doubled, the first is "
            f"({source[doubled[0]]}, {target[doubled[0]]}): remove the copies"
        )
    count = np.bincount(block, minlength=capacity.size)
    fixed = (count < 2) | (count == capacity)
    attempts = np.where(fixed, 0, np.ceil(swaps_per_edge * count)).astype(np.int64)
    start = np.concatenate([[0], np.cumsum(count)])
    compiled = compiled_swaps() if engine in ("auto", "numba") else None
    if engine == "numba" and compiled is None:
        raise MissingDependencyError("engine='numba' needs numba: pip install deepgraph-nn[fast], or use engine='auto'")
    rng = as_generator(seed)
    if engine != "numpy":
        swap = compiled or swap_in_order
        swap(source, target, start, attempts, num_nodes, rng.integers(0, 2**64, dtype=np.uint64))
    elif attempts.any():
        swap_rounds(rng, source, target, start, attempts, capacity)
    dst[place] = target
    return src.copy(), dst


def null_er(g: CachedLayeredGraph, seed: Seed = None) -> CachedLayeredGraph:
    """Return a random graph that keeps the nodes of `g` and the number of edges in each (stage, stage) block.

    Parameters
    ----------
    g : CachedLayeredGraph
        A free or a compiled graph; it is not changed.
    seed : int, Generator or None

    Returns
    -------
    CachedLayeredGraph
        A free graph with the labels, node columns and graph attributes of `g`, and with its stages and roles declared,
        so that a node that loses all edges stays what it was. Edge columns are shuffled inside each block, all
        attributes of an edge together.

    Raises
    ------
    StructureError
        When declared stages contradict the edges.
    CycleError
        When `g` has a cycle and no declared stages.

    Notes
    -----
    O(N + E log E); see `er_edges`.

    Examples
    --------
    >>> from deepgraph.graph import CachedLayeredGraph
    >>> g = CachedLayeredGraph.from_arrays([0, 1, 1], [2, 3, 4], weight=[1.0, 2.0, 3.0])
    >>> null = null_er(g, seed=0)
    >>> null.number_of_edges(), sorted(null.column("weight").tolist()), null.stage_array().tolist()
    (3, [1.0, 2.0, 3.0], [0, 0, 1, 1, 1])
    """
    rng = as_generator(seed)
    stage = g.stage_array()
    return _rebuilt(g, er_edges(*g.edge_arrays(), stage, rng), rng)


def null_degree(g: CachedLayeredGraph, seed: Seed = None, swaps_per_edge: float = 10) -> CachedLayeredGraph:
    """Return a random graph in which every node of `g` keeps its fan-in and fan-out in each (stage, stage) block.

    Parameters
    ----------
    g : CachedLayeredGraph
        A free or a compiled graph; it is not changed.
    seed : int, Generator or None
    swaps_per_edge : float
        Attempted double-edge swaps per edge, >= 0.

    Returns
    -------
    CachedLayeredGraph
        As in `null_er`.

    Raises
    ------
    StructureError, CycleError
        As in `null_er`.
    ArgumentError
        When `swaps_per_edge` is negative or not finite.

    Notes
    -----
    O(N + E (log E + swaps_per_edge)); see `swap_edges`. The same graphs with and without numba.

    Examples
    --------
    >>> from deepgraph.graph import CachedLayeredGraph
    >>> g = CachedLayeredGraph.from_arrays([0, 1, 2, 2], [3, 4, 4, 5])
    >>> null = null_degree(g, seed=0)
    >>> dict(null.out_degree) == dict(g.out_degree), dict(null.in_degree) == dict(g.in_degree)
    (True, True)
    """
    rng = as_generator(seed)
    stage = g.stage_array()
    return _rebuilt(g, swap_edges(*g.edge_arrays(), stage, rng, swaps_per_edge), rng)


def _rebuilt(g: CachedLayeredGraph, edges: Edges, rng: np.random.Generator) -> CachedLayeredGraph:
    """Return a free copy of `g` with other edges; edge k stands where an edge of the block of edge k stood."""
    stage, role = g.stage_array(), g.role_array()
    block, _, _ = stage_blocks(*edges, stage)
    donor = permute_within_blocks(block, rng)
    kept = g.copy()._arrays()
    columns = cast("FreeEdges", kept.edges).edges.columns
    indptr, dst, order = compress(*edges, len(g), len(g))
    columns = columns.take(donor if order is None else donor[order])
    result = g._from_parts_of_class(kept.nodes, FreeEdges(EdgeSet(indptr, dst, len(g), columns, name="graph")), g.graph)
    result.set_node_column("stage", stage)
    result.set_node_column("role", role)
    return result
