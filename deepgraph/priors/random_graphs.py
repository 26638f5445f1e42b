"""Random directed acyclic graphs without further structure."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from deepgraph.errors import ArgumentError
from deepgraph.graph import CachedLayeredGraph
from deepgraph.graph.sampling import Seed, as_generator, sample_cells
from deepgraph.priors.densities import edge_budget

__all__ = ["erdos_renyi_dag", "pair_of_cell"]


def pair_of_cell(cell: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the pairs `(i, j)`, i < j, that `cell` numbers: (0, 1), (0, 2), (1, 2), (0, 3), ...

    Examples
    --------
    >>> [pair.tolist() for pair in pair_of_cell(np.arange(4))]
    [[0, 0, 1, 0], [1, 2, 2, 3]]
    """
    high = ((1 + np.sqrt(1 + 8.0 * cell)) / 2).astype(np.int64)
    # The square root may be off by one unit where 8 * cell exceeds the 53 bits of a float.
    high -= high * (high - 1) // 2 > cell
    high += high * (high + 1) // 2 <= cell
    return cell - high * (high - 1) // 2, high


def erdos_renyi_dag(
    n: int, density: float | None = None, *, p: float | None = None, seed: Seed = None
) -> CachedLayeredGraph:
    """Return an Erdos-Renyi graph on 0..n-1 whose edges go from the smaller to the larger number.

    Parameters
    ----------
    n : int
        Nodes N, >= 1.
    density : float, optional
        Share of the N (N - 1) / 2 pairs that are edges, in (0, 1]: exactly the nearest number of edges, the model
        G(n, M). Give either this or `p`.
    p : float, optional
        Probability of each edge on its own, in [0, 1]: the model G(n, p), with a binomial number of edges.
    seed : int, Generator or None

    Returns
    -------
    CachedLayeredGraph
        Node column `stage` (= layer). Sources are inputs and sinks outputs; roles are not declared.

    Raises
    ------
    ArgumentError
        When `n` < 1, `density` lies outside (0, 1] or `p` outside [0, 1], or not exactly one of them is given.

    Notes
    -----
    O(E log E) time and O(E) memory: pairs are sampled without replacement by their number, and no array of N^2 exists.
    Because every node order is equally likely in an undirected Erdos-Renyi graph, a random orientation of it has the
    same distribution.

    References
    ----------
    .. [1] P. Erdos, A. Renyi, "On random graphs I", Publicationes Mathematicae 6, 1959: G(n, M).
    .. [2] E. N. Gilbert, "Random graphs", Annals of Mathematical Statistics 30, 1959: G(n, p).

    Examples
    --------
    >>> erdos_renyi_dag(1000, 0.01, seed=0).number_of_edges()
    4995
    >>> erdos_renyi_dag(4, p=1.0, seed=0).number_of_edges()
    6
    """
    if n < 1:
        raise ArgumentError(f"n must be at least 1, the number of nodes; got {n}")
    if (density is None) == (p is None):
        raise ArgumentError(f"give either density (exact number of edges) or p; got density={density}, p={p}")
    if p is not None and not 0 <= p <= 1:
        raise ArgumentError(f"p must lie in [0, 1], a probability; got {p}")
    rng = as_generator(seed)
    pairs = n * (n - 1) // 2
    count = int(rng.binomial(pairs, p)) if p is not None else edge_budget(pairs, 1.0 if density is None else density)
    _, cell = sample_cells([pairs], [count], rng)
    src, dst = pair_of_cell(cell)
    g = CachedLayeredGraph.from_arrays(src, dst, num_nodes=n)
    g.set_node_column("stage", g.layer_array())
    return g
