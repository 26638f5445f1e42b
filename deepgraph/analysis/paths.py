"""Undirected path lengths on the largest component, from sampled sources with a stated error."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.sparse import csgraph

from deepgraph.analysis.components import largest_component
from deepgraph.analysis.edges import FloatArray, IntArray, arrays_of
from deepgraph.errors import ArgumentError
from deepgraph.graph.sampling import as_generator

if TYPE_CHECKING:
    from deepgraph.analysis.edges import Source
    from deepgraph.graph.sampling import Seed

__all__ = ["PathLengths", "path_length_max", "path_length_mean", "path_lengths"]

# Bits of one word: as many searches as run at once.
_WORD = 64
# A search deeper than this goes on source by source in compiled code: a pass over all edges per level would cost more.
_DEEP = 48
_BITS: npt.NDArray[np.uint64] = np.left_shift(np.uint64(1), np.arange(_WORD, dtype=np.uint64))


@dataclass(frozen=True)
class PathLengths:
    """Shortest undirected path lengths, in edges, on the largest component.

    Attributes
    ----------
    mean : float
        Mean over all ordered pairs of a sampled source and another node; NaN in a component of one node.
    error : float
        Standard error of `mean` from the sampling of sources; 0 where every node was a source.
    maximum : int
        Longest shortest path met: the diameter where every node was a source, else a lower bound of it.
    sources : int
        Number of sources searched from.
    component : int
        Number of nodes in the component.
    """

    mean: float
    error: float
    maximum: int
    sources: int
    component: int


def path_lengths(graph: Source, sources: int = 128, seed: Seed = None) -> PathLengths:
    """Return mean and maximal undirected path length on the largest component, from sampled sources.

    Parameters
    ----------
    sources : int
        Number of sources, drawn without replacement; all nodes of the component where it has no more than that.
    seed : int, Generator or None
        Of the draw.

    Raises
    ------
    ArgumentError
        If `sources` is below 2.

    Notes
    -----
    Undirected. 64 breadth-first searches run at once, one bit of a word each, O(E) per level and 64 sources; from
    level 48 on the searches run one by one, O(E) each, so that deep graphs cost no pass per level.

    Examples
    --------
    >>> from deepgraph.analysis import EdgeArrays
    >>> path_lengths(EdgeArrays.from_arrays([0, 1], [1, 2], 4))
    PathLengths(mean=1.3333333333333333, error=0.0, maximum=2, sources=3, component=3)
    """
    if sources < 2:
        raise ArgumentError(f"sources must be at least 2, to state an error, got {sources}")
    view = arrays_of(graph)
    members = np.flatnonzero(largest_component(view))
    size = len(members)
    if size < 2:
        return PathLengths(math.nan, 0.0, 0, size, size)
    chosen = np.arange(size) if size <= sources else as_generator(seed).choice(size, sources, replace=False)
    adjacency = view.both_csr if size == view.num_nodes else view.both_csr[members][:, members]
    totals, longest = _search_all(sparse.csr_array(adjacency), np.sort(chosen))
    means = totals / (size - 1)
    count = len(chosen)
    # Sources are drawn without replacement, hence the correction for a finite population.
    error = float(means.std(ddof=1)) * math.sqrt((1 - count / size) / count)
    return PathLengths(float(means.mean()), error, longest, count, size)


def path_length_mean(graph: Source, sources: int = 128, seed: Seed = None) -> float:
    """Return the mean undirected shortest path length on the largest component; see `path_lengths` for its error.

    Raises
    ------
    ArgumentError
        If `sources` is below 2.

    Examples
    --------
    >>> from deepgraph.analysis import EdgeArrays
    >>> path_length_mean(EdgeArrays.from_arrays([0, 1], [1, 2], 3))
    1.3333333333333333
    """
    return path_lengths(graph, sources, seed).mean


def path_length_max(graph: Source, sources: int = 128, seed: Seed = None) -> int:
    """Return the longest undirected shortest path met on the largest component; see `path_lengths`.

    Raises
    ------
    ArgumentError
        If `sources` is below 2.

    Examples
    --------
    >>> from deepgraph.analysis import EdgeArrays
    >>> path_length_max(EdgeArrays.from_arrays([0, 1], [1, 2], 3))
    2
    """
    return path_lengths(graph, sources, seed).maximum


def _search_all(adjacency: sparse.csr_array, sources: IntArray) -> tuple[FloatArray, int]:
    """Return the sum of distances from each source (K,) in a connected graph, and the largest distance."""
    totals = np.zeros(len(sources))
    longest = 0
    for low in range(0, len(sources), _WORD):
        part = sources[low : low + _WORD]
        found = _search_word(adjacency, part)
        if found is None:
            searches = [_search_one(adjacency, int(source)) for source in part]
            totals[low : low + _WORD] = [total for total, _ in searches]
            longest = max(longest, *(far for _, far in searches))
        else:
            totals[low : low + _WORD] = found[0]
            longest = max(longest, found[1])
    return totals, longest


def _search_word(adjacency: sparse.csr_array, sources: IntArray) -> tuple[FloatArray, int] | None:
    """Return the sums of distances from up to 64 sources (K,) and the largest; None where it is above `_DEEP`."""
    count = len(sources)
    seen = np.zeros(adjacency.shape[0], dtype=np.uint64)
    seen[sources] = _BITS[:count]
    everyone = np.bitwise_or.reduce(_BITS[:count])
    frontier = seen.copy()
    totals = np.zeros(count)
    for level in range(1, _DEEP + 1):
        # Every node of a connected graph of two nodes or more has a neighbour: no segment is empty.
        reached = np.bitwise_or.reduceat(frontier[adjacency.indices], adjacency.indptr[:-1])
        frontier = reached & ~seen
        seen |= frontier
        totals += level * _count_bits(frontier)[:count]
        if np.all(seen == everyone):
            return totals, level
    return None


def _count_bits(words: npt.NDArray[np.uint64]) -> IntArray:
    """Return how many words (N,) have each of the 64 bits set, (64,)."""
    total = np.zeros(_WORD, dtype=np.int64)
    for low in range(0, len(words), 2**16):  # in pieces: the unpacked bits take 64 bytes a word
        part = words[low : low + 2**16].astype("<u8").view(np.uint8).reshape(-1, 8)
        total += np.unpackbits(part, axis=1, bitorder="little").sum(axis=0, dtype=np.int64)
    return total


def _search_one(adjacency: sparse.csr_array, source: int) -> tuple[int, int]:
    """Return the sum of distances from `source` in a connected graph, and the largest."""
    order, parent = csgraph.breadth_first_order(adjacency, source, directed=True)
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    # In breadth-first order parents come in order too, so a level ends where the parent leaves the level before.
    first_child = np.searchsorted(place[parent[order[1:]]], np.arange(len(order) + 1)) + 1
    bounds = first_child.tolist()
    low, high, level, total = 0, 1, 0, 0
    while high < len(order):
        low, high, level = high, bounds[high], level + 1
        total += level * (high - low)
    return total, level
