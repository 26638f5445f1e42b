"""Layered graphs: given layer sizes, random edges from layer to layer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from deepgraph.errors import ArgumentError
from deepgraph.graph import CachedLayeredGraph
from deepgraph.graph.sampling import Seed
from deepgraph.priors.densities import Distribution
from deepgraph.priors.layer_pairs import checked_sizes, from_layers, pair_counts, sampled_pairs

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
    distribution : {"uniform", "er", "erk", "igq"}
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
    width = checked_sizes(sizes)
    if skip < 0:
        raise ArgumentError(f"skip must be at least 0, the number of layers that an edge may skip; got {skip}")
    layer = np.arange(width.size)
    reach = np.minimum(1 + skip, layer[::-1])
    low = np.repeat(layer, reach)
    high = low + 1 + np.arange(low.size) - np.repeat(np.cumsum(reach) - reach, reach)
    counts = pair_counts(width[low], width[high], density, distribution)
    return from_layers(*sampled_pairs(width, low, high, counts, seed), width)
