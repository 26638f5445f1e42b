"""Random bipartite graphs from layer to layer: small worlds, scale-free graphs, and regular graphs, which expand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from deepgraph.errors import ArgumentError
from deepgraph.graph import CachedLayeredGraph
from deepgraph.graph.sampling import Seed, as_generator, sample_cells
from deepgraph.priors.densities import Distribution
from deepgraph.priors.layer_pairs import (
    IntArray,
    Targets,
    checked_sizes,
    from_layers,
    pair_counts,
    per_layer,
    targets_of,
)

__all__ = ["bipartite_regular", "bipartite_scale_free", "bipartite_small_world", "nearest_sources"]


def nearest_sources(width: IntArray, targets: Targets, count: IntArray) -> tuple[IntArray, IntArray]:
    """Return `(target, place)` of the `count` (T,) sources nearest to each target, when both layers fill one interval.

    `place` counts from the first source of the layer before and runs over its ends, from below 0 to its width or more.

    Examples
    --------
    >>> width = np.array([6, 3])
    >>> nearest_sources(width, targets_of(width), np.array([2, 2, 2]))[1].tolist()
    [0, 1, 2, 3, 4, 5]
    """
    # The centre of target j lies at (2 j + 1) pool / (2 width), where source i covers [i, i + 1).
    across = width[targets.layer]
    first = ((2 * targets.place + 1) * targets.pool - (count - 1) * across) // (2 * across)
    target = np.repeat(np.arange(count.size), count)
    return target, first[target] + np.arange(target.size) - (np.cumsum(count) - count)[target]


def bipartite_small_world(
    sizes: Sequence[int], fan_in: int | Sequence[int], p: float, *, seed: Seed = None
) -> CachedLayeredGraph:
    """Return a layered graph whose pairs of layers are small worlds: nearest neighbours, each moved with probability p.

    Parameters
    ----------
    sizes : L ints
        Nodes of each layer, all >= 1. Nodes are numbered layer by layer; each layer is a circle.
    fan_in : int or L - 1 ints
        Inputs of a node, for all layers or for each layer after the first.
    p : float
        Probability that an edge gets another source, in [0, 1]: 0 is a band that closes on itself, 1 is
        `constant_fan_in`.
    seed : int, Generator or None

    Returns
    -------
    CachedLayeredGraph
        N = sum of sizes; every node after the first layer keeps `fan_in` inputs. Node columns `stage`, the layer, and
        `role`.

    Raises
    ------
    ShapeError, DtypeError
        When `sizes` or `fan_in` have no valid form.
    ArgumentError
        When a fan-in or `p` is out of range.

    Notes
    -----
    O(E log E).
    Differs from the paper: all edges that move are lifted first, then each target draws anew among the sources that
    it does not read; Watts and Strogatz move one edge after the other. Only sources change, so the fan-in is constant.

    References
    ----------
    .. [1] D. J. Watts, S. H. Strogatz, "Collective dynamics of 'small-world' networks", Nature 393, 1998.
    .. [2] Y. Zhang et al., "Brain network science modelling of sparse neural networks enables Transformers and LLMs to
       perform as fully connected", 2025, arXiv 2501.19107: the bipartite small world.

    Examples
    --------
    >>> sorted(bipartite_small_world([4, 4], 2, 0.0, seed=0).edges)
    [(0, 4), (0, 7), (1, 4), (1, 5), (2, 5), (2, 6), (3, 6), (3, 7)]
    """
    width = checked_sizes(sizes)
    number = per_layer(fan_in, width, "fan_in")
    if not 0 <= p <= 1:
        raise ArgumentError(f"p must lie in [0, 1], a probability; got {p}")
    rng = as_generator(seed)
    targets = targets_of(width)
    target, place = nearest_sources(width, targets, number[targets.layer - 1])
    place %= targets.pool[target]
    stays = rng.random(target.size) >= p
    moved = np.bincount(target[~stays], minlength=targets.node.size)
    target, place = _filled(target[stays], place[stays], moved, targets.pool, rng)
    return from_layers(targets.start[target] + place, targets.node[target], width)


def _filled(
    row: IntArray, column: IntArray, more: IntArray, columns: IntArray, rng: np.random.Generator
) -> tuple[IntArray, IntArray]:
    """Return cells `(row, column)` after `more` (T,) free ones were added to each row, uniform without replacement.

    Row t has `columns[t]` columns. A draw among the free columns only gives the rank of a free column; before it come
    as many taken ones as have no more free columns in front of them than that rank.
    """
    start = np.cumsum(columns) - columns
    key = np.sort(start[row] + column)
    row = np.repeat(np.arange(columns.size), np.bincount(row, minlength=columns.size))
    taken = np.bincount(row, minlength=columns.size)
    before = np.cumsum(taken) - taken
    in_front = key - (np.arange(key.size) - before[row])
    new, rank = sample_cells(columns - taken, more, rng)
    passed = np.searchsorted(in_front, start[new] + rank, side="right") - before[new]
    return np.concatenate([row, new]), np.concatenate([key - start[row], rank + passed])


def bipartite_scale_free(
    sizes: Sequence[int],
    density: float | Sequence[float],
    exponent: float = 3.0,
    *,
    seed: Seed = None,
    distribution: Distribution = "uniform",
    even_inputs: bool = True,
) -> CachedLayeredGraph:
    """Return a layered graph whose fan-in and fan-out follow power laws in every pair of layers.

    Parameters
    ----------
    sizes : L ints
        Nodes of each layer, all >= 1. Nodes are numbered layer by layer.
    density : float or L - 1 floats
        Kept edges over admissible pairs, in (0, 1], of the whole graph or of each pair of layers; exact.
    exponent : float
        Of the power law of degrees, > 2; infinity makes all nodes alike.
    seed : int, Generator or None
    distribution : {"uniform", "er", "erk", "igq"}
        How one density is shared among the pairs of layers, see `edge_counts`.
    even_inputs : bool
        Inputs of the graph are chosen evenly, so that no input is a hub by chance.

    Returns
    -------
    CachedLayeredGraph
        N = sum of sizes. A hidden node that has many inputs tends to have many outputs. Node columns `stage`, the
        layer, and `role`.

    Raises
    ------
    ShapeError, DtypeError
        When `sizes` or `density` have no valid form.
    ArgumentError
        When a density lies outside (0, 1], the exponent is not above 2, or the distribution is unknown.

    Notes
    -----
    O(E log E) time, O(E) memory. The node of rank i has weight i^(-1 / (exponent - 1)), ranks are random, and pairs are
    drawn in proportion to the product of their weights until enough differ. Hubs saturate where edges are many: the
    power law is that of thin graphs.
    Differs from the paper: [2] grows a Barabasi-Albert graph and makes it bipartite by rewiring; this is the static
    model of [1] on two layers, which has any exponent. As in [2], inputs are even and hubs of a hidden layer are the
    same towards both sides.

    References
    ----------
    .. [1] K.-I. Goh, B. Kahng, D. Kim, "Universal behavior of load distribution in scale-free networks", Physical
       Review Letters 87, 2001.
    .. [2] Y. Zhang et al., "Brain network science modelling of sparse neural networks enables Transformers and LLMs to
       perform as fully connected", 2025, arXiv 2501.19107: the bipartite scale-free model.

    Examples
    --------
    >>> g = bipartite_scale_free([200, 200, 50], 0.05, seed=0)
    >>> g.number_of_edges(), max(fan_in for _, fan_in in g.in_degree) > 50
    (2500, True)
    """
    width = checked_sizes(sizes)
    if not exponent > 2:
        raise ArgumentError(f"exponent must be above 2, or degrees have no mean; got {exponent}")
    counts = pair_counts(width[:-1], width[1:], density, distribution)
    rng = as_generator(seed)
    weights = [(1.0 + rng.permutation(size)) ** (-1.0 / (exponent - 1.0)) for size in width.tolist()]
    if even_inputs:
        weights[0] = np.ones(width[0])
    cells = [_weighted_cells(a, b, m, rng) for (a, b), m in zip(pairwise(weights), counts.tolist(), strict=True)]
    return _stacked(width, cells)


def _stacked(width: IntArray, cells: list[tuple[IntArray, IntArray]]) -> CachedLayeredGraph:
    """Return the graph whose edges between layers l and l + 1 are `cells[l]` = (source, target), counted in layers."""
    first = (np.cumsum(width) - width).tolist()
    none = np.empty(0, dtype=np.int64)
    src = [none, *(start + row for start, (row, _) in zip(first, cells, strict=False))]
    dst = [none, *(start + column for start, (_, column) in zip(first[1:], cells, strict=True))]
    return from_layers(np.concatenate(src), np.concatenate(dst), width)


def _weighted_cells(
    rows: npt.NDArray[np.float64], columns: npt.NDArray[np.float64], count: int, rng: np.random.Generator
) -> tuple[IntArray, IntArray]:
    """Return `count` distinct cells drawn one after the other in proportion to `rows[i] * columns[j]`."""
    size = rows.size * columns.size
    if size <= 8 * count:
        # The same law without rejections: the largest of log weight + Gumbel noise come first in such a sequence.
        score = np.log(rows)[:, None] + np.log(columns) + rng.gumbel(size=(rows.size, columns.size))
        chosen = np.argpartition(score.ravel(), size - count)[size - count :]
        row, column = np.divmod(np.sort(chosen), columns.size)
        return row, column
    low, high = np.cumsum(rows), np.cumsum(columns)
    keys = np.empty(0, dtype=np.int64)
    while keys.size < count:
        # Never more draws than are missing: then all draws that differ count, and none has to be dropped.
        missing = count - keys.size
        i = np.searchsorted(low, rng.random(missing) * low[-1], side="right")
        j = np.searchsorted(high, rng.random(missing) * high[-1], side="right")
        fresh = np.minimum(i, rows.size - 1) * columns.size + np.minimum(j, columns.size - 1)
        keys = np.sort(np.concatenate([keys, fresh]))
        keys = keys[np.concatenate([[True], keys[1:] != keys[:-1]])]
    row, column = np.divmod(keys, columns.size)
    return row, column


def bipartite_regular(
    sizes: Sequence[int], fan_in: int | Sequence[int], *, seed: Seed = None, balanced: bool = False
) -> CachedLayeredGraph:
    """Return a random layered graph with constant fan-in and constant fan-out in every pair of layers: an expander.

    Parameters
    ----------
    sizes : L ints
        Nodes of each layer, all >= 1. Nodes are numbered layer by layer.
    fan_in : int or L - 1 ints
        Inputs of a node, for all layers or for each layer after the first. The fan-out follows: fan_in * (nodes of the
        layer) / (nodes of the layer before).
    seed : int, Generator or None
    balanced : bool
        Where that fan-out is no whole number, False refuses and True lets fan-outs differ by one.

    Returns
    -------
    CachedLayeredGraph
        N = sum of sizes; node columns `stage`, the layer, and `role`.

    Raises
    ------
    ShapeError, DtypeError
        When `sizes` or `fan_in` have no valid form.
    ArgumentError
        When a fan-in is out of range, or the fan-out is no whole number and `balanced` is False.

    Notes
    -----
    O(E log E). Random stubs are joined; pairs that came out double swap sources with random other edges until none is
    left (where more than half of all pairs are wanted, this is done for the pairs left out). The limit of many nodes
    is uniform. Such graphs are nearly Ramanujan with high probability: the second largest singular value of a pair of
    layers stays close to sqrt(fan_in - 1) + sqrt(fan_out - 1), the smallest possible.

    References
    ----------
    .. [1] B. Bollobas, "A probabilistic proof of an asymptotic formula for the number of labelled regular graphs",
       European Journal of Combinatorics 1, 1980: the configuration model.
    .. [2] G. Brito, I. Dumitriu, K. D. Harris, "Spectral gap in random bipartite biregular graphs and applications",
       Combinatorics, Probability and Computing 31, 2022.

    Examples
    --------
    >>> g = bipartite_regular([12, 8, 4], [3, 4], seed=0)
    >>> [g.out_degree(0), g.in_degree(12), g.out_degree(12), g.in_degree(20)]
    [2, 3, 2, 4]
    """
    width = checked_sizes(sizes)
    number = per_layer(fan_in, width, "fan_in")
    rng = as_generator(seed)
    cells = []
    for layer, (low, high, degree) in enumerate(
        zip(width[:-1].tolist(), width[1:].tolist(), number.tolist(), strict=True)
    ):
        if not balanced and high * degree % low:
            step = low // math.gcd(low, high)
            raise ArgumentError(
                f"{high} nodes with fan_in {degree} cannot share {low} sources evenly (layer {layer} to {layer + 1}); "
                f"take a multiple of {step} as fan_in, or balanced=True for fan-outs that differ by one"
            )
        cells.append(_regular_cells(low, high, degree, rng))
    return _stacked(width, cells)


def _regular_cells(rows: int, columns: int, degree: int, rng: np.random.Generator) -> tuple[IntArray, IntArray]:
    """Return the cells of a random 0-1 matrix with column sums `degree` and row sums as equal as possible."""
    if 2 * degree > rows:
        free = np.ones((columns, rows), dtype=bool)
        left_out = _regular_cells(rows, columns, rows - degree, rng)
        free[left_out[1], left_out[0]] = False
        column, row = np.nonzero(free)
        return row, column
    column = np.repeat(np.arange(columns), degree)
    # Which rows get one more, where the division leaves a rest, is random as well.
    row = rng.permutation(rows)[np.arange(column.size) % max(rows, 1)]
    row = rng.permutation(row)
    while True:
        key = column * rows + row
        order = np.argsort(key, kind="stable")
        key = key[order]
        double = order[1:][key[1:] == key[:-1]]
        if not double.size:
            return row, column
        other = rng.integers(0, row.size, size=double.size)
        # An edge moves once a round, so every partner serves the first who asks, and no double serves.
        first = np.zeros(double.size, dtype=bool)
        first[np.unique(other, return_index=True)[1]] = True
        first[np.isin(other, double)] = False
        double, other = double[first], other[first]
        wish = np.stack([column[double] * rows + row[other], column[other] * rows + row[double]])
        at = np.minimum(np.searchsorted(key, wish), key.size - 1)
        _, back, many = np.unique(wish, return_inverse=True, return_counts=True)
        good = ((key[at] != wish) & (many[back].reshape(wish.shape) == 1)).all(axis=0)
        i, j = double[good], other[good]
        row[i], row[j] = row[j], row[i]
