"""Layered graphs: given layer sizes, random edges from layer to layer."""

from __future__ import annotations

from collections.abc import Sequence
from operator import index

import numpy as np
import numpy.typing as npt

from deepgraph.errors import ArgumentError, DtypeError, ShapeError
from deepgraph.graph import CachedLayeredGraph
from deepgraph.graph.nulls import Seed, sample_cells
from deepgraph.priors.densities import Distribution, edge_budget, edge_counts

__all__ = ["random_layered"]


def random_layered(
    sizes: Sequence[int],
    density: float | Sequence[float],
    *,
    seed: Seed = None,
    distribution: Distribution = "uniform",
    skip: int = 0,
) -> CachedLayeredGraph:
    """Return a random graph on layers of given sizes, with an exact number of edges between any two layers.

    Parameters
    ----------
    sizes : L ints
        Nodes of each layer, all >= 1. Nodes are numbered layer by layer.
    density : float or P floats
        Kept edges over admissible pairs of the whole graph, in (0, 1]; or one density for each of the P joined pairs
        of layers, ordered by (source layer, target layer).
    seed : int, Generator or None
    distribution : {"uniform", "er", "erk"}
        How one global density is shared among the pairs of layers, see `edge_counts`. Not read when `density` names
        one number per pair.
    skip : int
        How many layers an edge may skip, >= 0: layers i and j are joined when 1 <= j - i <= 1 + skip.

    Returns
    -------
    CachedLayeredGraph
        N = sum of sizes. Node column `stage` is the layer that a node was put in, also where it has no edges; `role`
        is "input" in the first layer, "output" in the last.

    Raises
    ------
    ShapeError
        When `sizes` is empty or has a size below 1, or the number of densities is not P.
    DtypeError
        When a size is no int.
    ArgumentError
        When a density lies outside (0, 1], `skip` is negative, or the distribution is unknown.

    Notes
    -----
    O(E log E) time and O(E) memory: uniform without replacement in each pair of layers, and no dense matrix exists.

    References
    ----------
    .. [1] D. C. Mocanu et al., "Scalable training of artificial neural networks with adaptive sparse connectivity
       inspired by network science", Nature Communications 9, 2018: random bipartite layers.
       Differs from the paper: the number of edges is exact, not binomial.

    Examples
    --------
    >>> g = random_layered([784, 300, 100, 10], 0.05, seed=0, distribution="erk")
    >>> g.number_of_edges(), np.bincount(g.stage_array()).tolist()
    (13310, [784, 300, 100, 10])
    """
    try:
        width = np.array([index(size) for size in sizes], dtype=np.int64)
    except TypeError:
        raise DtypeError(f"sizes must be ints, one for each layer; got {sizes!r:.80}") from None
    if width.size == 0 or width.min() < 1:
        raise ShapeError(f"sizes must name at least one layer, each of at least one node; got {list(sizes)}")
    if skip < 0:
        raise ArgumentError(f"skip must be at least 0, the number of layers that an edge may skip; got {skip}")
    layer = np.arange(width.size)
    reach = np.minimum(1 + skip, layer[::-1])
    low = np.repeat(layer, reach)
    high = low + 1 + np.arange(low.size) - np.repeat(np.cumsum(reach) - reach, reach)
    counts = _counts(width[low], width[high], density, distribution)
    pair, cell = sample_cells(width[low] * width[high], counts, seed)
    first = np.cumsum(width) - width
    row, column = np.divmod(cell, width[high][pair])
    g = CachedLayeredGraph.from_arrays(first[low[pair]] + row, first[high[pair]] + column, num_nodes=int(width.sum()))
    stage = np.repeat(layer, width)
    role = np.full(stage.size, "hidden", dtype="<U12")
    role[stage == width.size - 1] = "output"
    role[stage == 0] = "input" if width.size > 1 else "input/output"
    g.set_node_column("stage", stage.astype(np.int32))
    g.set_node_column("role", role)
    return g


def _counts(
    low: npt.NDArray[np.int64],
    high: npt.NDArray[np.int64],
    density: float | Sequence[float],
    distribution: Distribution,
) -> npt.NDArray[np.int64]:
    """Return the number of edges (P,) from layers of sizes `low` to layers of sizes `high`."""
    given = np.asarray(density, dtype=float)
    if given.ndim == 0:
        if low.size == 0:
            # One layer has no pairs to share a budget, but a wrong density is a mistake all the same.
            edge_budget(0, float(given))
            return low
        return edge_counts(list(zip(high.tolist(), low.tolist(), strict=True)), float(given), distribution)
    if given.shape != low.shape:
        raise ShapeError(f"density must be one number or one for each of {low.size} pairs of layers; got {given.shape}")
    sizes = (low * high).tolist()
    return np.array([edge_budget(size, d) for size, d in zip(sizes, given.tolist(), strict=True)], dtype=np.int64)
