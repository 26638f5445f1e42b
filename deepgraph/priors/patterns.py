"""Fixed patterns from layer to layer, which hardware likes: butterflies, blocks, bands, N of M."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from deepgraph.errors import ArgumentError, ShapeError, TooLargeError
from deepgraph.graph import CachedLayeredGraph
from deepgraph.graph.arrays import MAX_NODES
from deepgraph.graph.nulls import permute_within_blocks
from deepgraph.graph.sampling import Seed, as_generator, sample_cells
from deepgraph.priors.bipartite import nearest_sources
from deepgraph.priors.layer_pairs import (
    checked_sizes,
    from_layers,
    pair_counts,
    per_layer,
    sampled_pairs,
    targets_of,
)

__all__ = ["banded", "block_diagonal", "butterfly", "n_of_m"]


def butterfly(depth: int, radix: int = 2) -> CachedLayeredGraph:
    """Return the butterfly network: `depth` + 1 layers of radix^depth nodes, one path from every input to every output.

    Parameters
    ----------
    depth : int
        Pairs of layers, >= 1.
    radix : int
        Fan-in and fan-out, >= 2.

    Returns
    -------
    CachedLayeredGraph
        Node i of layer l goes to the `radix` nodes of layer l + 1 whose numbers in base `radix` differ from i in
        digit l at most, the last digit being digit 0. Node columns `stage`, the layer, and `role`.

    Raises
    ------
    ArgumentError
        When `depth` < 1 or `radix` < 2.
    TooLargeError
        When there are more than 2^31 - 1 nodes.

    Notes
    -----
    O(E). E = depth * radix^(depth + 1), where one dense pair of layers has radix^(2 depth).

    References
    ----------
    .. [1] J. W. Cooley, J. W. Tukey, "An algorithm for the machine calculation of complex Fourier series", Mathematics
       of Computation 19, 1965.
    .. [2] T. Dao et al., "Learning fast algorithms for linear transforms using butterfly factorizations", ICML 2019.

    Examples
    --------
    >>> sorted(butterfly(2).edges)[:8]
    [(0, 4), (0, 5), (1, 4), (1, 5), (2, 6), (2, 7), (3, 6), (3, 7)]
    """
    if depth < 1 or radix < 2:
        raise ArgumentError(f"a butterfly needs depth >= 1 and radix >= 2; got depth={depth}, radix={radix}")
    # 2^31 bounds the depth for every radix, so only then is the power worth computing.
    if depth > 31 or (depth + 1) * radix**depth > MAX_NODES:
        raise TooLargeError(f"a butterfly with depth={depth}, radix={radix} has more than {MAX_NODES:,} nodes")
    size = radix**depth
    node = np.arange(depth * size)
    layer, place = np.divmod(node, size)
    stride = radix**layer
    zeroed = place - place // stride % radix * stride
    target = (layer + 1) * size + zeroed
    dst = target[:, None] + stride[:, None] * np.arange(radix)
    return from_layers(np.repeat(node, radix), dst.ravel(), np.full(depth + 1, size))


def block_diagonal(
    sizes: Sequence[int], blocks: int, density: float = 1.0, *, seed: Seed = None, shuffle: bool = False
) -> CachedLayeredGraph:
    """Return a layered graph of `blocks` groups side by side: group b of a layer reads group b of the layer before.

    Parameters
    ----------
    sizes : L ints
        Nodes of each layer, all >= `blocks`. Nodes are numbered layer by layer.
    blocks : int
        Groups B of each layer, >= 1; their sizes differ by one at most, larger ones first.
    density : float
        Kept edges over the pairs inside blocks, in (0, 1], exact.
    seed : int, Generator or None
        Of no effect on full blocks that are not shuffled.
    shuffle : bool
        Mixes the nodes of every layer anew for each pair of layers that it belongs to, as a channel shuffle does, so
        that the groups do not stay strangers to each other.

    Returns
    -------
    CachedLayeredGraph
        N = sum of sizes; node columns `stage`, the layer, and `role`.

    Raises
    ------
    ShapeError, DtypeError
        When `sizes` has no valid form.
    ArgumentError
        When `blocks` is below 1 or above a size, or `density` lies outside (0, 1].

    Notes
    -----
    O(E log E).

    References
    ----------
    .. [1] L. Supic et al., "MPDCompress: matrix permutation decomposition algorithm for deep neural network
       compression", 2018, arXiv 1805.12085.
    .. [2] X. Zhang et al., "ShuffleNet", CVPR 2018: groups, and the shuffle between them.

    Examples
    --------
    >>> sorted(block_diagonal([4, 4], 2).edges)
    [(0, 4), (0, 5), (1, 4), (1, 5), (2, 6), (2, 7), (3, 6), (3, 7)]
    """
    width = checked_sizes(sizes)
    if not 1 <= blocks <= width.min():
        raise ArgumentError(f"blocks must lie in [1, {width.min()}], the nodes of the smallest layer; got {blocks}")
    group = np.arange(blocks)
    parts = (width[:, None] // blocks + (group < width[:, None] % blocks)).ravel()
    low = np.arange(parts.size - blocks)
    rng = as_generator(seed)
    budget = pair_counts(parts[low], parts[low + blocks], density, "uniform")
    src, dst = sampled_pairs(parts, low, low + blocks, budget, rng)
    if shuffle:
        layer = np.repeat(np.arange(width.size), width)
        src, dst = permute_within_blocks(layer, rng)[src], permute_within_blocks(layer, rng)[dst]
    return from_layers(src, dst, width)


def banded(sizes: Sequence[int], fan_in: int | Sequence[int], *, wrap: bool = False) -> CachedLayeredGraph:
    """Return a layered graph in which every node reads the nodes opposite to it: a band along the diagonal.

    Parameters
    ----------
    sizes : L ints
        Nodes of each layer, all >= 1. Nodes are numbered layer by layer and spread evenly over one interval.
    fan_in : int or L - 1 ints
        Width of the band in sources, for all layers or for each layer after the first.
    wrap : bool
        False cuts off what lies beyond the ends, so that nodes there have a smaller fan-in (at least half, rounded
        up); True joins the ends of the interval to a circle.

    Returns
    -------
    CachedLayeredGraph
        N = sum of sizes; node columns `stage`, the layer, and `role`.

    Raises
    ------
    ShapeError, DtypeError
        When `sizes` or `fan_in` have no valid form.
    ArgumentError
        When a fan-in is out of range.

    Notes
    -----
    O(E).

    References
    ----------
    .. [1] G. H. Golub, C. F. Van Loan, "Matrix computations", 4th edition, 2013, section 4.3: banded matrices.

    Examples
    --------
    >>> sorted(banded([3, 3], 3).edges)
    [(0, 3), (0, 4), (1, 3), (1, 4), (1, 5), (2, 4), (2, 5)]
    """
    width = checked_sizes(sizes)
    number = per_layer(fan_in, width, "fan_in")
    targets = targets_of(width)
    target, place = nearest_sources(width, targets, number[targets.layer - 1])
    pool = targets.pool[target]
    if wrap:
        place %= pool
    else:
        inside = (place >= 0) & (place < pool)
        target, place = target[inside], place[inside]
    return from_layers(targets.start[target] + place, targets.node[target], width)


def n_of_m(sizes: Sequence[int], n: int, m: int, *, seed: Seed = None) -> CachedLayeredGraph:
    """Return a layered graph with N:M sparsity: of every m sources in a row, each target reads n random ones.

    Parameters
    ----------
    sizes : L ints
        Nodes of each layer, all >= 1; multiples of m but for the last. Nodes are numbered layer by layer.
    n, m : int
        1 <= n <= m; 2 of 4 is what tensor cores compute.
    seed : int, Generator or None

    Returns
    -------
    CachedLayeredGraph
        N = sum of sizes; density n / m in every pair of layers. Node columns `stage`, the layer, and `role`.

    Raises
    ------
    ShapeError, DtypeError
        When `sizes` has no valid form, or a layer is no multiple of m.
    ArgumentError
        When `n` or `m` is out of range.

    Notes
    -----
    O(E log E).

    References
    ----------
    .. [1] A. Zhou et al., "Learning N:M fine-grained structured sparse neural networks from scratch", ICLR 2021.
    .. [2] A. Mishra et al., "Accelerating sparse deep neural networks", 2021, arXiv 2104.08378.

    Examples
    --------
    >>> g = n_of_m([8, 4, 2], 2, 4, seed=0)
    >>> g.number_of_edges(), g.in_degree(8), g.in_degree(12)
    (20, 4, 2)
    """
    width = checked_sizes(sizes)
    if not 1 <= n <= m:
        raise ArgumentError(f"n and m must satisfy 1 <= n <= m; got n={n}, m={m}")
    uneven = np.flatnonzero(width[:-1] % m)
    if uneven.size:
        layer = int(uneven[0])
        size = int(width[layer])
        raise ShapeError(
            f"layer {layer} must be a multiple of m={m}, so that sources fall into groups; got {size} nodes: take "
            f"{size + -size % m}"
        )
    targets = targets_of(width)
    groups = targets.pool // m
    target = np.repeat(np.arange(groups.size), groups)
    group = np.arange(target.size) - (np.cumsum(groups) - groups)[target]
    owner, place = sample_cells(np.full(target.size, m), np.full(target.size, n), seed)
    src = targets.start[target[owner]] + group[owner] * m + place
    return from_layers(src, targets.node[target[owner]], width)
