"""Squares between two stages: butterflies and the bipartite clustering made of them.

A strictly layered network has no triangle, so that its clustering coefficient is 0 by construction; squares take
the place of triangles there.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from deepgraph.analysis.edges import EdgeArrays, FloatArray, IntArray, arrays_of, ratio
from deepgraph.errors import TooLargeError

if TYPE_CHECKING:
    from deepgraph.analysis.edges import Source

__all__ = [
    "WORK_LIMIT",
    "PairBlocks",
    "bipartite_clustering",
    "butterflies",
    "butterflies_by_pair",
    "clustering_by_pair",
    "pair_blocks",
    "row_chunks",
]

# Two-step paths that a sparse product may visit: some minutes of one core.
WORK_LIMIT = 10**10
# Two-step paths of one piece of a product, which bound its memory (about 12 bytes each).
_CHUNK = 2 * 10**7


@dataclass(frozen=True, eq=False)
class PairBlocks:
    """All stage pairs as one block-diagonal matrix: a unit has one row (column) for each pair that it has edges in.

    Attributes
    ----------
    row, column : (E,) int64
        Row of each edge's source and column of its target.
    row_pair, column_pair : (R,), (C,) int64
        The stage pair of each row and column, as in `EdgeArrays.pairs`.
    row_degree, column_degree : (R,), (C,) int64
        Edges per row and column.
    """

    row: IntArray
    column: IntArray
    row_pair: IntArray
    column_pair: IntArray
    row_degree: IntArray
    column_degree: IntArray

    def matrix(self) -> sparse.csr_array:
        """Return the (R, C) matrix of ones."""
        shape = (len(self.row_pair), len(self.column_pair))
        return sparse.csr_array((np.ones(len(self.row), np.int64), (self.row, self.column)), shape=shape)


def pair_blocks(graph: Source) -> PairBlocks:
    """Return the block-diagonal form of the stage pairs.

    Examples
    --------
    >>> from deepgraph.analysis import EdgeArrays
    >>> blocks = pair_blocks(EdgeArrays.from_arrays([0, 1, 0], [1, 2, 2], 3))
    >>> blocks.row_degree.tolist(), blocks.column_pair.tolist()
    ([1, 1, 1], [0, 1, 2])
    """
    view = arrays_of(graph)

    def build() -> PairBlocks:
        pairs = view.pairs
        row, row_pair, row_degree = _expand(pairs.of_edge, view.src, len(pairs.edges), view.num_nodes)
        column, column_pair, column_degree = _expand(pairs.of_edge, view.dst, len(pairs.edges), view.num_nodes)
        return PairBlocks(row, column, row_pair, column_pair, row_degree, column_degree)

    return view.once("blocks", build)


def _expand(pair: IntArray, node: IntArray, num_pairs: int, num_nodes: int) -> tuple[IntArray, IntArray, IntArray]:
    """Return, for the (pair, node) combinations numbered in order, the number of each edge, the pair, the count."""
    key = pair.astype(np.int64) * max(num_nodes, 1) + node
    if num_pairs * num_nodes <= 4 * len(node):
        held = np.bincount(key, minlength=num_pairs * num_nodes)
        keys = np.flatnonzero(held)
        number = np.zeros(len(held), np.int64)
        number[keys] = np.arange(len(keys))
        return number[key], keys // max(num_nodes, 1), held[keys]
    keys, number, count = np.unique(key, return_inverse=True, return_counts=True)
    return number, keys // max(num_nodes, 1), count


def row_chunks(work: IntArray) -> list[tuple[int, int]]:
    """Return ranges of rows whose `work` (R,) adds up to a bounded amount each.

    Raises
    ------
    TooLargeError
        If all rows together visit more two-step paths than `WORK_LIMIT`.

    Examples
    --------
    >>> import numpy as np
    >>> row_chunks(np.array([15_000_000, 15_000_000, 1]))
    [(0, 1), (1, 3)]
    """
    running = np.concatenate([[0], np.cumsum(work, dtype=np.int64)])
    if running[-1] > WORK_LIMIT:
        raise TooLargeError(
            f"expected at most {WORK_LIMIT:.0e} two-step paths, got {int(running[-1]):.1e}; "
            "leave out the densest stage pairs with without_dense_pairs(graph)"
        )
    bounds = [0]
    while bounds[-1] < len(work):
        end = int(np.searchsorted(running, running[bounds[-1]] + _CHUNK, side="right")) - 1
        bounds.append(max(end, bounds[-1] + 1))
    return list(itertools.pairwise(bounds))


def butterflies_by_pair(graph: Source) -> IntArray:
    """Return the number of butterflies of each stage pair (P,), in the order of `EdgeArrays.pairs`.

    A butterfly is a square: two units of one stage that share two units of the other.

    Raises
    ------
    TooLargeError
        If the product behind it would visit more than 1e10 two-step paths.

    References
    ----------
    Sanei-Mehri, Sariyuce & Tirthapura, "Butterfly Counting in Bipartite Networks", KDD 2018.

    Examples
    --------
    >>> from deepgraph.analysis import EdgeArrays
    >>> butterflies_by_pair(EdgeArrays.from_arrays([0, 0, 1, 1], [2, 3, 2, 3], 4)).tolist()
    [1]
    """
    view = arrays_of(graph)

    def build() -> IntArray:
        blocks = pair_blocks(view)
        matrix = blocks.matrix()
        pair, other = blocks.row_pair, blocks.column_degree
        if float(blocks.row_degree @ blocks.row_degree) < float(other @ other):
            matrix, pair, other = sparse.csr_array(matrix.T), blocks.column_pair, blocks.row_degree
        reach = matrix @ other
        transposed = sparse.csr_array(matrix.T)
        twice = np.zeros(matrix.shape[0])
        for low, high in row_chunks(reach):
            common = matrix[low:high] @ transposed
            squares = common.data * (common.data - 1)
            twice[low:high] = np.bincount(_rows(common), weights=squares, minlength=high - low)
        own = np.diff(matrix.indptr).astype(np.float64)
        twice -= own * (own - 1)  # a unit with itself
        return np.rint(np.bincount(pair, weights=twice, minlength=len(view.pairs.edges)) / 4).astype(np.int64)

    return view.once("butterflies", build)


def _rows(matrix: sparse.csr_array) -> IntArray:
    """Return the row of every stored entry (nnz,)."""
    return np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))


def butterflies(graph: Source) -> int:
    """Return the number of butterflies within the stage pairs, all added up.

    Raises
    ------
    TooLargeError
        If the product behind it would visit more than 1e10 two-step paths.

    References
    ----------
    Sanei-Mehri, Sariyuce & Tirthapura, KDD 2018.

    Examples
    --------
    >>> from deepgraph.analysis import EdgeArrays
    >>> butterflies(EdgeArrays.from_arrays([0, 0, 1, 1], [2, 3, 2, 3], 4))
    1
    """
    return int(butterflies_by_pair(graph).sum())


def clustering_by_pair(graph: Source) -> FloatArray:
    """Return the Robins-Alexander clustering in [0, 1] of each stage pair (P,); NaN without three-step paths.

    Raises
    ------
    TooLargeError
        If the product behind it would visit more than 1e10 two-step paths.

    References
    ----------
    Robins & Alexander, Computational & Mathematical Organization Theory 10 (2004), 69-94: 4 C4 / L3.

    Examples
    --------
    >>> from deepgraph.analysis import EdgeArrays
    >>> clustering_by_pair(EdgeArrays.from_arrays([0, 0, 1, 1], [2, 3, 2, 3], 4)).tolist()
    [1.0]
    """
    view = arrays_of(graph)
    squares, paths = butterflies_by_pair(view), _three_paths(view)
    return ratio(4.0 * squares, paths)


def bipartite_clustering(graph: Source) -> float:
    """Return the share in [0, 1] of three-step paths within a stage pair that close to a square; NaN without such.

    Pooled over stage pairs: four times all butterflies over all three-step paths.
    Differs from the paper: the paper has one pair of node sets; here squares across three stages do not count.

    Raises
    ------
    TooLargeError
        If the product behind it would visit more than 1e10 two-step paths.

    References
    ----------
    Robins & Alexander, Computational & Mathematical Organization Theory 10 (2004), 69-94.

    Examples
    --------
    >>> from deepgraph.analysis import EdgeArrays
    >>> bipartite_clustering(EdgeArrays.from_arrays([0, 0, 1, 1, 1], [3, 4, 3, 4, 5], 6, stage=[0, 0, 0, 1, 1, 1]))
    0.6666666666666666
    """
    view = arrays_of(graph)
    paths = float(_three_paths(view).sum())
    return 4.0 * butterflies(view) / paths if paths else math.nan


def _three_paths(view: EdgeArrays) -> FloatArray:
    """Return the number of paths of three edges within each stage pair (P,): one choice at each end of an edge."""
    blocks = pair_blocks(view)
    middle = (blocks.row_degree[blocks.row] - 1.0) * (blocks.column_degree[blocks.column] - 1.0)
    paths: FloatArray = np.bincount(view.pairs.of_edge, weights=middle, minlength=len(view.pairs.edges)).astype(float)
    return paths
