"""Null models of a layered graph: random graphs that keep what a measure must not be surprised by.

Both nulls act inside one *block*, the edges from one stage to another, so that depth, skip lengths and the number of
edges between any two stages are those of the graph. `null_er` keeps nothing else; `null_degree` keeps the fan-in and
the fan-out that every node has in every block. The array functions come first; the last two functions wrap them for
graphs.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from deepgraph.errors import ArgumentError, CapacityError, EdgeError, MissingDependencyError, ShapeError, StructureError
from deepgraph.graph.arrays import compress
from deepgraph.graph.edge_set import EdgeSet
from deepgraph.graph.edge_store import FreeEdges

if TYPE_CHECKING:
    import torch

    from deepgraph.graph import CachedLayeredGraph

__all__ = [
    "as_generator",
    "er_edges",
    "null_degree",
    "null_er",
    "permute_within_blocks",
    "sample_cells",
    "stage_blocks",
    "swap_edges",
]

IntArray: TypeAlias = npt.NDArray[np.int64]
Edges: TypeAlias = tuple[IntArray, IntArray]
Seed: TypeAlias = "int | np.integer[Any] | np.random.Generator | torch.Generator | None"


def as_generator(seed: Seed = None) -> np.random.Generator:
    """Return the numpy generator that `seed` stands for.

    Parameters
    ----------
    seed : int, numpy.random.Generator, torch.Generator or None
        An int >= 0 starts a fresh generator, a numpy generator is returned as it is, a torch generator gives one draw
        that starts a fresh one. None takes one draw from numpy's global state, so that `np.random.seed` is obeyed.

    Raises
    ------
    ArgumentError
        When an int is negative or `seed` is of another type.

    Examples
    --------
    >>> int(as_generator(0).integers(100)) == int(as_generator(0).integers(100))
    True
    """
    if isinstance(seed, np.random.Generator):
        return seed
    if seed is None:
        return np.random.default_rng(int(np.random.randint(0, 2**63 - 1, dtype=np.int64)))
    if isinstance(seed, (int, np.integer)):
        if seed < 0:
            raise ArgumentError(f"seed must be an int >= 0, a generator or None; got {seed}")
        return np.random.default_rng(int(seed))
    if type(seed).__module__.partition(".")[0] == "torch":
        import torch

        if isinstance(seed, torch.Generator):
            draw = torch.randint(2**63 - 1, (1,), generator=seed, device=seed.device)
            return np.random.default_rng(int(draw))
    raise ArgumentError(f"seed must be an int >= 0, a numpy or torch Generator, or None; got {type(seed).__name__}")


def _without_copies(values: IntArray) -> IntArray:
    """Return the distinct values, sorted. numpy's own `unique` hashes int64, which is several times slower here."""
    values = np.sort(values)
    return values[np.concatenate([[True], values[1:] != values[:-1]])] if values.size else values


def _draw_distinct(rng: np.random.Generator, size: IntArray, start: IntArray, count: IntArray) -> IntArray:
    """Return `count[b]` distinct keys of `start[b] + [0, size[b])` for each block b, sorted, (sum of count,) int64.

    Draws with replacement and draws again exactly as many as were doubles, never more: the set is that of "draw until
    `count[b]` differ", which is uniform. Meant for count <= size / 2, where every pass at least halves what is missing.
    """
    keys = np.empty(0, dtype=np.int64)
    missing = count
    while missing.any():
        block = np.repeat(np.arange(size.size), missing)
        high: Any = size[0] if size.size == 1 else size[block]
        fresh = _without_copies(start[block] + rng.integers(0, high, size=block.size))
        if keys.size:
            at = np.minimum(np.searchsorted(keys, fresh), keys.size - 1)
            fresh = fresh[keys[at] != fresh]
        keys = np.sort(np.concatenate([keys, fresh]), kind="stable")
        missing = missing - np.bincount(np.searchsorted(start, fresh, side="right") - 1, minlength=size.size)
    return keys


def sample_cells(size: npt.ArrayLike, count: npt.ArrayLike, seed: Seed = None) -> Edges:
    """Return `(block, cell)` of a uniform sample without replacement from each of B blocks at once.

    Parameters
    ----------
    size : (B,) int
        Number of cells of each block; their sum stays below 2^63, and no array of that length is ever made.
    count : (B,) int
        Number of cells to take from each, 0 <= count <= size.
    seed : int, Generator or None

    Returns
    -------
    block : (S,) int64
        S = sum of `count`; ascending.
    cell : (S,) int64
        In [0, size[block]); ascending inside a block.

    Raises
    ------
    ShapeError
        When `size` and `count` differ in shape.
    CapacityError
        When a count is negative or above its size.

    Notes
    -----
    Expected O(S log S). A block of which more than half is wanted is sampled by what is left out.

    Examples
    --------
    >>> block, cell = sample_cells([4, 10**12], [4, 2], seed=0)
    >>> block.tolist(), cell[:4].tolist()
    ([0, 0, 0, 0, 1, 1], [0, 1, 2, 3])
    """
    size, count = (np.atleast_1d(np.asarray(values, dtype=np.int64)) for values in (size, count))
    if size.shape != count.shape or size.ndim != 1:
        raise ShapeError(f"size and count must be (B,) arrays of one length; got {size.shape} and {count.shape}")
    if bool(np.any((count < 0) | (count > size))):
        bad = int(np.flatnonzero((count < 0) | (count > size))[0])
        raise CapacityError(
            f"block {bad} has {size[bad]} cells, of which {count[bad]} cannot be taken; ask for 0 to {size[bad]}"
        )
    rng = as_generator(seed)
    start = np.cumsum(size) - size
    # Blocks without cells share their start with the next block: only non-empty ones may be looked up by key.
    some = np.flatnonzero(size > 0)
    size, count, start = size[some], count[some], start[some]
    crowded = 2 * count > size
    keys = _draw_distinct(rng, size, start, np.where(crowded, size - count, count))
    if crowded.any():
        inside = crowded[np.searchsorted(start, keys, side="right") - 1]
        cells = size[crowded]
        every = np.repeat(start[crowded] - (np.cumsum(cells) - cells), cells) + np.arange(cells.sum())
        left_out = np.zeros(every.size, dtype=bool)
        left_out[np.searchsorted(every, keys[inside])] = True
        keys = np.sort(np.concatenate([keys[~inside], every[~left_out]]), kind="stable")
    block = np.searchsorted(start, keys, side="right") - 1
    return some[block], keys - start[block]


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


def _swap_kernel(
    source: IntArray, target: IntArray, start: IntArray, attempts: IntArray, num_nodes: int, state: np.uint64
) -> None:
    """Swap targets in place, block after block; the edges u * num_nodes + v of a block live in a hash set.

    Compiled by numba as one function without closures, so that its disk cache is found again by the next process.
    Linear probing at a load of at most 1/2; a removal shifts what follows back, so no tombstones gather.
    """
    for b in range(attempts.size):
        low, count = start[b], start[b + 1] - start[b]
        if attempts[b] == 0:
            continue
        bits = 2
        while (1 << bits) < 2 * count:
            bits += 1
        mask, shift = (1 << bits) - 1, np.uint64(64 - bits)
        table = np.full(1 << bits, -1, dtype=np.int64)
        for e in range(low, low + count):
            key = source[e] * num_nodes + target[e]
            slot = np.int64((np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)) >> shift)
            while table[slot] != -1:
                slot = (slot + 1) & mask
            table[slot] = key
        for _ in range(attempts[b]):
            # Two draws of SplitMix64 (Steele, Lea, Flood 2014); the bias of the remainder is below count / 2^64.
            state += np.uint64(0x9E3779B97F4A7C15)
            word = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            i = low + np.int64((word ^ (word >> np.uint64(31))) % np.uint64(count))
            state += np.uint64(0x9E3779B97F4A7C15)
            word = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            j = low + np.int64((word ^ (word >> np.uint64(31))) % np.uint64(count))
            u, v, x, y = source[i], target[i], source[j], target[j]
            if u == x or v == y:
                continue
            taken = False
            for key in (u * num_nodes + y, x * num_nodes + v):
                slot = np.int64((np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)) >> shift)
                while table[slot] != -1 and table[slot] != key:
                    slot = (slot + 1) & mask
                taken = taken or table[slot] == key
            if taken:
                continue
            for key in (u * num_nodes + v, x * num_nodes + y):
                hole = np.int64((np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)) >> shift)
                while table[hole] != key:
                    hole = (hole + 1) & mask
                slot = (hole + 1) & mask
                while table[slot] != -1:
                    home = np.int64((np.uint64(table[slot]) * np.uint64(0x9E3779B97F4A7C15)) >> shift)
                    if ((slot - home) & mask) >= ((slot - hole) & mask):
                        table[hole] = table[slot]
                        hole = slot
                    slot = (slot + 1) & mask
                table[hole] = -1
            for key in (u * num_nodes + y, x * num_nodes + v):
                slot = np.int64((np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)) >> shift)
                while table[slot] != -1:
                    slot = (slot + 1) & mask
                table[slot] = key
            target[i], target[j] = y, v


@functools.cache
def _compiled_swaps() -> Callable[..., None] | None:
    """Return the numba version of `_swap_kernel`, or None without numba."""
    try:
        import numba
    except ImportError:
        return None
    compiled: Callable[..., None]
    try:
        compiled = numba.njit(nogil=True, cache=True)(_swap_kernel)
    except RuntimeError:
        # No directory for the cache can be written: compile anew in every process.
        compiled = numba.njit(nogil=True)(_swap_kernel)
    return compiled


def _swap_rounds(
    rng: np.random.Generator,
    source: IntArray,
    target: IntArray,
    start: IntArray,
    attempts: IntArray,
    capacity: IntArray,
) -> None:
    """Swap targets in place by rounds of disjoint proposals over all blocks at once.

    A round pairs the edges of each block at random. A pair swaps when each of its two present and two proposed keys
    occurs once among all present and all proposed keys. Swapping exchanges the two roles and leaves those keys as they
    were, so the way back is taken with the same probability: the chain is symmetric and its limit uniform. Some pairs
    hold still: one in `count`, or two edges would swap every time, and more in dense blocks, where proposals collide.
    As many rounds are made as give the attempts asked for after the expected collisions.
    """
    count = np.diff(start)
    moving = np.minimum(1 - 1 / np.maximum(count, 2), capacity / (4 * count))
    proposals = count / 2 * moving * np.exp(-4 * moving * count / capacity)
    rounds = np.where(attempts > 0, np.ceil(attempts / proposals), 0).astype(np.int64)
    block = np.repeat(np.arange(count.size), count)
    num_nodes = int(max(source.max(), target.max())) + 1
    live = np.flatnonzero(rounds[block] > 0)
    for turn in range(int(rounds.max())):
        live = live[rounds[block[live]] > turn]
        shuffled = live[np.argsort((block[live] << 32) | rng.integers(0, 1 << 32, size=live.size))]
        owner = block[shuffled]
        even = (np.arange(live.size) - np.searchsorted(owner, owner)) % 2 == 0
        first = np.flatnonzero(even[:-1] & (owner[:-1] == owner[1:]))
        first = first[rng.random(first.size) < moving[owner[first]]]
        i, j = shuffled[first], shuffled[first + 1]
        present = source[shuffled] * num_nodes + target[shuffled]
        proposed = np.concatenate([source[i] * num_nodes + target[j], source[j] * num_nodes + target[i]])
        keys = np.concatenate([present, proposed])
        order = np.argsort(keys)
        twice = np.flatnonzero(np.diff(keys[order]) == 0)
        clash = np.zeros(keys.size, dtype=bool)
        clash[order[twice]] = clash[order[twice + 1]] = True
        ahead, behind = np.split(clash[live.size :], 2)
        free = ~(clash[first] | clash[first + 1] | ahead | behind)
        i, j = i[free], j[free]
        target[i], target[j] = target[j], target[i]


def swap_edges(
    src: npt.ArrayLike,
    dst: npt.ArrayLike,
    stage: npt.ArrayLike,
    seed: Seed = None,
    swaps_per_edge: float = 10,
    engine: Literal["auto", "numba", "numpy"] = "auto",
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
    engine : {"auto", "numba", "numpy"}
        "auto" is numba where it is installed. Both draw from the same distribution in the limit, by different random
        streams: one seed gives the same edges on one engine, not across the two.

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
    if engine not in ("auto", "numba", "numpy"):
        raise ArgumentError(f"engine must be 'auto', 'numba' or 'numpy'; got {engine!r}")
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
    compiled = None if engine == "numpy" else _compiled_swaps()
    if engine == "numba" and compiled is None:
        raise MissingDependencyError("engine='numba' needs numba: pip install deepgraph-nn[fast], or use engine='auto'")
    rng = as_generator(seed)
    if compiled is not None:
        compiled(source, target, start, attempts, num_nodes, rng.integers(0, 2**64, dtype=np.uint64))
    elif attempts.any():
        _swap_rounds(rng, source, target, start, attempts, capacity)
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
    O(N + E (log E + swaps_per_edge)); see `swap_edges`, also for the two engines.

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
