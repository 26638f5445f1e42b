"""The spectral gap of each stage pair, and its distance from a Ramanujan graph."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph
from scipy.sparse.linalg import svds

from deepgraph.analysis.bipartite import pair_blocks
from deepgraph.analysis.components import in_largest
from deepgraph.analysis.edges import FloatArray, IntArray, arrays_of

if TYPE_CHECKING:
    from deepgraph.analysis.edges import Source

__all__ = ["PairSpectrum", "pair_spectra", "ramanujan_gap", "spectral_gap"]

# A block with a side up to this long is decomposed densely, which is exact and faster there.
_DENSE_SIDE = 128


@dataclass(frozen=True)
class PairSpectrum:
    """The two largest singular values of the largest component of one stage pair.

    Attributes
    ----------
    source, target : int
        Stages.
    rows, columns : int
        Units of the source and of the target stage in the component.
    edges : int
        Edges of the component.
    first, second : float
        Largest and second largest singular value of the (rows, columns) matrix of ones, or of weights.
    weight : None, "weight" or "abs"
        What stands in the matrix.
    """

    source: int
    target: int
    rows: int
    columns: int
    edges: int
    first: float
    second: float
    weight: str | None = None

    @property
    def gap(self) -> float:
        """Spectral gap: first minus second singular value."""
        return self.first - self.second

    @property
    def ramanujan(self) -> float:
        """sqrt(d_L - 1) + sqrt(d_R - 1) - second with mean degrees d; above 0 is Ramanujan; NaN of weights."""
        if self.weight is not None:
            return math.nan
        left, right = self.edges / self.rows, self.edges / self.columns
        return math.sqrt(left - 1) + math.sqrt(right - 1) - self.second


def pair_spectra(graph: Source, limit: int = 64, weight: str | None = None) -> list[PairSpectrum]:
    """Return the spectra of the stage pairs, those with most edges first.

    A pair whose largest component has fewer than two units on a side has no second singular value and is not listed.

    Parameters
    ----------
    limit : int
        Largest number of stage pairs that are decomposed.
    weight : None, "weight" or "abs"
        Matrices of ones, of weights, or of their magnitudes.

    Raises
    ------
    ArgumentError
        If `weight` is unknown.
    MissingColumnError
        If the graph has no weights and they are asked for.

    Notes
    -----
    O(E) per iteration and pair; sides of up to 128 units are decomposed densely, in O(128^3).

    References
    ----------
    Hoory, Linial & Wigderson, Bull. AMS 43 (2006), 439-561, section 5; for irregular bipartite blocks with mean
    degrees as in Pal, Biswas, Kolay, Mitra & Basu, "A Study on the Ramanujan Graph Property of
    Winning Lottery Tickets", ICML 2022.

    Examples
    --------
    The complete block of 3 by 3 units has rank one:

    >>> import numpy as np
    >>> from deepgraph.analysis import EdgeArrays
    >>> row, column = np.divmod(np.arange(9), 3)
    >>> [spectrum] = pair_spectra(EdgeArrays.from_arrays(row, 3 + column, 6))
    >>> round(spectrum.gap, 9), round(spectrum.ramanujan, 9)
    (3.0, 2.828427125)
    """
    view = arrays_of(graph)
    values = view.values(weight)

    def build() -> list[PairSpectrum]:
        blocks, pairs = pair_blocks(view), view.pairs
        rows, columns = len(blocks.row_pair), len(blocks.column_pair)
        joined = sparse.csr_array(
            (np.ones(len(blocks.row)), (blocks.row, rows + blocks.column)), shape=(rows + columns, rows + columns)
        )
        label = csgraph.connected_components(joined, directed=True, connection="weak")[1]
        side = (np.arange(rows + columns) >= rows).astype(np.int64)
        count = int(label.max(initial=-1)) + 1
        shorter = np.minimum(*(np.bincount(part, minlength=count) for part in (label[:rows], label[rows:])))
        highest = np.zeros(count)
        np.maximum.at(highest, label[blocks.row], np.abs(values))
        kept = in_largest(
            label, np.concatenate([blocks.row_pair, blocks.column_pair]), sparse.csr_array(joined + joined.T), side,
            [shorter, highest],
        )  # fmt: skip
        order = np.argsort(pairs.of_edge, kind="stable")
        ends = np.cumsum(pairs.edges)
        spectra = []
        for pair in np.argsort(-pairs.edges, kind="stable")[:limit]:
            edges = order[ends[pair] - pairs.edges[pair] : ends[pair]]
            edges = edges[kept[blocks.row[edges]]]
            row, column = (_renumber(side[edges]) for side in (blocks.row, blocks.column))
            height, width = int(row.max()) + 1, int(column.max()) + 1
            if min(height, width) >= 2:
                first, second = _two_largest(values[edges], row, column, height, width)
                stages = int(view.stages[pairs.source[pair]]), int(view.stages[pairs.target[pair]])
                spectra.append(PairSpectrum(*stages, height, width, len(edges), first, second, weight))
        return spectra

    return view.once(f"spectra {limit} {weight}", build)


def _renumber(ids: IntArray) -> IntArray:
    """Return `ids` (K,) replaced by their rank among the distinct ones."""
    return np.unique(ids, return_inverse=True)[1]


def _two_largest(values: FloatArray, row: IntArray, column: IntArray, height: int, width: int) -> tuple[float, float]:
    """Return the two largest singular values of the (height, width) matrix of `values` at (row, column)."""
    matrix = sparse.csr_array((values, (row, column)), shape=(height, width))
    if min(height, width) <= _DENSE_SIDE:
        dense = matrix.toarray()
        small = dense @ dense.T if height <= width else dense.T @ dense
        squares = np.linalg.eigvalsh(small)
        squares[squares < len(small) * np.finfo(float).eps * squares[-1]] = 0.0  # rounding, which a root would magnify
        values = np.sqrt(squares[-2:])
    else:
        # A fixed start makes the iteration, and so the last bits, the same in every run.
        start = np.full(min(height, width), 1.0) + np.linspace(-0.5, 0.5, min(height, width))
        values = np.sort(svds(matrix, k=2, v0=start, return_singular_vectors=False))
    return float(values[1]), float(values[0])


def spectral_gap(graph: Source, weight: str | None = None) -> float:
    """Return the spectral gap of the stage pairs, averaged with their edges as weights; NaN without such pairs.

    Each on its largest component; the 64 pairs with most edges. O(E) per iteration.

    Parameters
    ----------
    weight : None, "weight" or "abs"
        Matrices of ones, of weights, or of their magnitudes.

    Raises
    ------
    ArgumentError
        If `weight` is unknown.
    MissingColumnError
        If the graph has no weights and they are asked for.

    References
    ----------
    Hoory, Linial & Wigderson, Bull. AMS 43 (2006), 439-561.

    Examples
    --------
    >>> import numpy as np
    >>> from deepgraph.analysis import EdgeArrays
    >>> row, column = np.divmod(np.arange(9), 3)
    >>> round(spectral_gap(EdgeArrays.from_arrays(row, 3 + column, 6)), 9)
    3.0
    """
    spectra = pair_spectra(graph, weight=weight)
    return _edge_mean(spectra, [spectrum.gap for spectrum in spectra])


def ramanujan_gap(graph: Source) -> float:
    """Return the Ramanujan gap of the stage pairs, averaged with their edges as weights; above 0 is Ramanujan.

    sqrt(d_L - 1) + sqrt(d_R - 1) - second singular value, with the mean degrees d of the largest component of each
    pair; the 64 pairs with most edges; NaN without such pairs.

    References
    ----------
    Pal, Biswas, Kolay, Mitra & Basu, "A Study on the Ramanujan Graph Property of Winning Lottery Tickets", ICML 2022.

    Examples
    --------
    >>> import numpy as np
    >>> from deepgraph.analysis import EdgeArrays
    >>> row, column = np.divmod(np.arange(9), 3)
    >>> round(ramanujan_gap(EdgeArrays.from_arrays(row, 3 + column, 6)), 9)
    2.828427125
    """
    spectra = pair_spectra(graph)
    return _edge_mean(spectra, [spectrum.ramanujan for spectrum in spectra])


def _edge_mean(spectra: list[PairSpectrum], values: list[float]) -> float:
    """Return the mean of one value per spectrum, weighted by edges."""
    return float(np.average(values, weights=[spectrum.edges for spectrum in spectra])) if spectra else math.nan
