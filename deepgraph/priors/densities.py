"""Densities of layers under one global budget: uniform, Erdos-Renyi, Erdos-Renyi-kernel, ideal gas.

Nothing here is random: the same shapes and density give the same numbers of edges, and they sum to the budget exactly.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from operator import index
from typing import Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from deepgraph.errors import ArgumentError, DtypeError, ShapeError

__all__ = ["Distribution", "edge_budget", "edge_counts", "er", "erk", "igq", "uniform"]

Distribution: TypeAlias = Literal["uniform", "er", "erk", "igq"]
Shapes: TypeAlias = Sequence[Sequence[int]]


def _dims(shapes: Shapes) -> list[tuple[int, ...]]:
    """Return the shapes as tuples of Python ints, each checked."""
    try:
        dims = [tuple(index(dim) for dim in shape) for shape in shapes]
    except TypeError:
        raise DtypeError(f"shapes must be sequences of ints, one for each layer; got {shapes!r:.80}") from None
    for layer, dim in enumerate(dims):
        if len(dim) < 2 or min(dim) < 1:
            raise ShapeError(
                f"layer {layer} must have a shape (out, in) or (out, in, *kernel) of positive sizes; got {dim}"
            )
    if not dims:
        raise ShapeError("shapes must name at least one layer; got none")
    return dims


def _check_density(density: float) -> float:
    """Return `density` as a float in (0, 1]."""
    if not 0 < density <= 1:
        raise ArgumentError(f"density must lie in (0, 1], the share of edges that is kept; got {density}")
    return float(density)


def edge_budget(num_pairs: int, density: float) -> int:
    """Return how many of `num_pairs` admissible pairs a density keeps: the nearest int, at least 1 where there is one.

    Parameters
    ----------
    num_pairs : int
        Admissible pairs, >= 0.
    density : float
        In (0, 1].

    Raises
    ------
    ArgumentError
        When the density lies outside (0, 1].

    Examples
    --------
    >>> edge_budget(266200, 0.05), edge_budget(10, 0.001), edge_budget(0, 0.5)
    (13310, 1, 0)
    """
    return min(num_pairs, max(1, round(num_pairs * _check_density(density))))


def edge_counts(shapes: Shapes, density: float, distribution: Distribution = "uniform") -> npt.NDArray[np.int64]:
    """Return the number of edges that each of L layers keeps, (L,) int64; they sum to the global budget exactly.

    Parameters
    ----------
    shapes : L sequences of int
        (out, in) of linear layers or (out, in, *kernel) of convolutions; the first two sizes may be
        swapped.
    density : float
        Kept edges over all pairs of all layers, in (0, 1].
    distribution : {"uniform", "er", "erk", "igq"}
        How the density of a layer depends on its shape:
        uniform is constant, er is (out + in) / (out * in), erk is the sum of all sizes over their product, and
        igq is 1 / (F n + 1) for a layer of n pairs, with the F that meets the budget: no layer is ever full.

    Returns
    -------
    counts : (L,) int64
        Sum = `edge_budget(pairs of all layers, density)`. Fractions are settled by the largest remainder, ties by the
        earlier layer.

    Raises
    ------
    ShapeError
        When a shape has fewer than two sizes or one below 1, or there is no layer.
    DtypeError
        When a size is no int.
    ArgumentError
        When the density lies outside (0, 1], or the distribution is unknown.

    Notes
    -----
    A layer whose density would exceed 1 becomes dense, and the rest of the budget is solved again for the others,
    until none exceeds 1. O(L^2) at worst. F of "igq" is found by bisection, O(64 L).

    References
    ----------
    .. [1] D. C. Mocanu et al., "Scalable training of artificial neural networks with adaptive sparse connectivity
       inspired by network science", Nature Communications 9, 2018: Erdos-Renyi, equation 1.
    .. [2] U. Evci et al., "Rigging the lottery: making all tickets winners", ICML 2020, arXiv 1911.11134, section 3:
       Erdos-Renyi-kernel.
    .. [3] A. Vysogorets, J. Kempe, "Connectivity matters: neural network pruning through the lens of effective
       sparsity", Journal of Machine Learning Research 24, 2023: ideal gas quotas.

    Differs from the paper: [1] states the scale epsilon and takes the density that follows, as [2] does here the
    density is given and the scale follows; [2] and [3] leave the rounding open.

    Examples
    --------
    >>> shapes = [(300, 784), (100, 300), (10, 100)]
    >>> edge_counts(shapes, 0.05, "uniform").tolist()
    [11760, 1500, 50]
    >>> edge_counts(shapes, 0.05, "erk").tolist()
    [9051, 3340, 919]
    >>> edge_counts(shapes, 0.05, "igq").tolist()
    [6775, 5660, 875]
    """
    dims = _dims(shapes)
    if distribution not in get_args(Distribution):
        raise ArgumentError(f"distribution must be one of {get_args(Distribution)}; got {distribution!r}")
    # Python ints: a product of two counts may exceed 63 bits, and no rounding of floats disturbs the budget.
    size = np.array([math.prod(dim) for dim in dims], dtype=object)
    budget = edge_budget(sum(size), density)
    if distribution == "igq":
        return _ideal_gas_counts(size.astype(np.float64), size, budget)
    if distribution == "uniform":
        share = size
    elif distribution == "er":
        share = np.array([(dim[0] + dim[1]) * math.prod(dim[2:]) for dim in dims], dtype=object)
    else:
        share = np.array([sum(dim) for dim in dims], dtype=object)
    dense = np.zeros(size.size, dtype=bool)
    while True:
        rest, total = budget - sum(size[dense]), max(sum(share[~dense]), 1)
        above = ~dense & (rest * share > size * total)
        if not above.any():
            break
        dense |= above
    counts = np.where(dense, size, rest * share // total)
    remainder = np.where(dense, 0, rest * share % total)
    order = np.argsort(-remainder, kind="stable")
    counts[order[: budget - sum(counts)]] += 1
    return counts.astype(np.int64)


def _ideal_gas_counts(
    size: npt.NDArray[np.float64], cells: npt.NDArray[np.object_], budget: int
) -> npt.NDArray[np.int64]:
    """Return the counts (L,) of densities 1 / (F size + 1) that sum to `budget`."""
    # Every layer keeps less than 1 / F edges, so this F is too large; `high` stays on that side, and counts fit.
    low, high = 0.0, size.size / budget
    for _ in range(64):
        middle = (low + high) / 2
        if (size / (middle * size + 1)).sum() > budget:
            low = middle
        else:
            high = middle
    # F = 0 keeps everything, and no F > 0 does.
    wanted = size if budget == sum(cells) else size / (high * size + 1)
    counts = np.minimum(np.floor(wanted), size).astype(np.int64)
    order = np.argsort(counts - wanted, kind="stable")
    while (missing := budget - int(counts.sum())) > 0:
        counts[order[counts[order] < size[order]][:missing]] += 1
    return counts


def _densities(shapes: Shapes, density: float, distribution: Distribution) -> npt.NDArray[np.float64]:
    """Return edge counts over layer sizes, (L,)."""
    size = np.array([math.prod(dim) for dim in _dims(shapes)], dtype=np.float64)
    return np.divide(edge_counts(shapes, density, distribution), size)


def uniform(shapes: Shapes, density: float) -> npt.NDArray[np.float64]:
    """Return the density of each of L layers, (L,) in [0, 1], when all have the same up to rounding.

    Parameters and errors are those of `edge_counts`.

    Examples
    --------
    >>> uniform([(300, 784), (100, 300), (10, 100)], 0.05).tolist()
    [0.05, 0.05, 0.05]
    """
    return _densities(shapes, density, "uniform")


def er(shapes: Shapes, density: float) -> npt.NDArray[np.float64]:
    """Return the density of each of L layers, (L,) in [0, 1], proportional to (out + in) / (out * in).

    Parameters, errors and references are those of `edge_counts`.

    Examples
    --------
    >>> er([(300, 784), (100, 300), (10, 100)], 0.05).round(3).tolist()
    [0.038, 0.111, 0.919]
    """
    return _densities(shapes, density, "er")


def erk(shapes: Shapes, density: float) -> npt.NDArray[np.float64]:
    """Return the density of each of L layers, (L,) in [0, 1], proportional to the sum of sizes over their product.

    Parameters, errors and references are those of `edge_counts`.

    Examples
    --------
    >>> erk([(64, 3, 3, 3), (128, 64, 3, 3), (10, 128)], 0.1).round(3).tolist()
    [0.997, 0.063, 1.0]
    """
    return _densities(shapes, density, "erk")


def igq(shapes: Shapes, density: float) -> npt.NDArray[np.float64]:
    """Return the density of each of L layers, (L,) in [0, 1], as 1 / (F n + 1) for a layer of n pairs.

    Parameters, errors and references are those of `edge_counts`. Large layers keep nearly the same number of edges,
    which leaves few of them without a path from input to output.

    Examples
    --------
    >>> igq([(300, 784), (100, 300), (10, 100)], 0.01).round(4).tolist()
    [0.0046, 0.0351, 0.522]
    """
    return _densities(shapes, density, "igq")
