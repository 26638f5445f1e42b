"""Stochastic block models: groups of nodes whose pairs are joined with a probability of the two groups."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from deepgraph.errors import ArgumentError, ShapeError
from deepgraph.graph import CachedLayeredGraph
from deepgraph.graph.sampling import Seed, sample_cells
from deepgraph.priors.layer_pairs import checked_sizes
from deepgraph.priors.orientation import Orientation, oriented, seed_number
from deepgraph.priors.random_graphs import pair_of_cell

__all__ = ["stochastic_block"]


def stochastic_block(
    sizes: Sequence[int],
    p: Sequence[Sequence[float]] | npt.NDArray[np.floating],
    *,
    seed: Seed = None,
    orientation: Orientation = "auto",
) -> CachedLayeredGraph:
    """Return a stochastic block model, directed by an order of the nodes.

    Parameters
    ----------
    sizes : B ints
        Nodes of each block, all >= 1. Nodes are numbered block by block.
    p : (B, B) float
        Symmetric; the probability that a node of one block and a node of the other are joined, in [0, 1].
    seed : int, Generator or None
    orientation : as in `from_networkx`
        "auto" is a random order, "stored" lets edges go from earlier to later blocks.

    Returns
    -------
    CachedLayeredGraph
        N = sum of sizes. Node columns `stage` (= layer) and `block`, int32 in [0, B); `graph["orientation"]` as in
        `from_networkx`.

    Raises
    ------
    ShapeError, DtypeError
        When `sizes` has no valid form, or `p` is not (B, B).
    ArgumentError
        When `p` is not symmetric or has a value outside [0, 1], or the orientation is not valid.

    Notes
    -----
    O(B^2 + E log E): numbers of edges are binomial, pairs are sampled without replacement by their number.

    References
    ----------
    .. [1] P. W. Holland, K. B. Laskey, S. Leinhardt, "Stochastic blockmodels: first steps", Social Networks 5, 1983.

    Examples
    --------
    >>> g = stochastic_block([50, 50], [[0.2, 0.01], [0.01, 0.2]], seed=0)
    >>> block, (src, dst) = g.node_column("block"), g.edge_arrays()
    >>> bool(np.mean(block[src] == block[dst]) > 0.9)
    True
    """
    width = checked_sizes(sizes, what="block")
    chance = np.asarray(p, dtype=float)
    if chance.shape != (width.size, width.size):
        raise ShapeError(f"p must be ({width.size}, {width.size}), one row for each block; got {chance.shape}")
    if not ((chance >= 0) & (chance <= 1)).all():
        raise ArgumentError(f"p must lie in [0, 1], probabilities; got values from {chance.min()} to {chance.max()}")
    if not (chance == chance.T).all():
        raise ArgumentError("p must be symmetric: an edge has no direction before the order of the nodes gives it one")
    number = seed_number(seed)
    # A stream of its own: the random order of the nodes is drawn from `number` itself.
    rng = np.random.default_rng([number, 1])
    low, high = np.triu_indices(width.size)
    inside = low == high
    pairs = np.where(inside, width[low] * (width[low] - 1) // 2, width[low] * width[high])
    owner, cell = sample_cells(pairs, rng.binomial(pairs, chance[low, high]), rng)
    first = np.cumsum(width) - width
    row, column = np.divmod(cell, width[high[owner]])
    smaller, larger = pair_of_cell(cell)
    same = inside[owner]
    src = first[low[owner]] + np.where(same, smaller, row)
    dst = first[high[owner]] + np.where(same, larger, column)
    g = oriented(int(width.sum()), src, dst, orientation, seed=number)
    g.set_node_column("block", np.repeat(np.arange(width.size, dtype=np.int32), width))
    return g
