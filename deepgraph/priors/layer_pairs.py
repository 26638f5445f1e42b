"""What layered priors share: checked sizes, groups of nodes that follow each other, and edges between two groups."""

from __future__ import annotations

from collections.abc import Sequence
from operator import index
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from deepgraph.errors import ArgumentError, DtypeError, ShapeError, TooLargeError
from deepgraph.graph import CachedLayeredGraph
from deepgraph.graph.arrays import MAX_NODES
from deepgraph.graph.sampling import Seed, sample_cells
from deepgraph.priors.densities import Distribution, edge_budget, edge_counts

__all__ = ["Targets", "checked_sizes", "from_layers", "pair_counts", "per_layer", "sampled_pairs", "targets_of"]

IntArray: TypeAlias = npt.NDArray[np.int64]


def checked_sizes(sizes: Sequence[int], what: str = "layer") -> IntArray:
    """Return the sizes (L,) int64, each checked to be at least 1.

    Raises
    ------
    DtypeError
        When a size is no int.
    ShapeError
        When there is none, or one below 1.
    TooLargeError
        When they sum to more than 2^31 - 1 nodes.

    Examples
    --------
    >>> checked_sizes([784, 300]).tolist()
    [784, 300]
    """
    try:
        width = [index(size) for size in sizes]
    except TypeError:
        raise DtypeError(f"sizes must be ints, one for each {what}; got {sizes!r:.80}") from None
    if not width or min(width) < 1:
        raise ShapeError(f"sizes must name at least one {what}, each of at least one node; got {list(sizes)}")
    if sum(width) > MAX_NODES:
        raise TooLargeError(
            f"sizes sum to {sum(width):,} nodes; a graph has at most {MAX_NODES:,}: choose smaller ones"
        )
    return np.array(width, dtype=np.int64)


def per_layer(values: int | Sequence[int], width: IntArray, name: str) -> IntArray:
    """Return one number for each layer after the first, (L - 1,) int64, each checked to lie in [1, sources].

    Raises
    ------
    DtypeError
        When a value is no int.
    ShapeError
        When there are neither one nor L - 1 values.
    ArgumentError
        When a value is below 1, or above the number of nodes that it can come from.

    Examples
    --------
    >>> per_layer(3, np.array([4, 5, 6]), "fan_in").tolist()
    [3, 3]
    """
    given = np.asarray(values)
    if given.dtype.kind not in "iu" and given.size:
        raise DtypeError(f"{name} must be an int, or one int for each layer after the first; got {values!r:.80}")
    if given.shape not in ((), (width.size - 1,)):
        raise ShapeError(
            f"{name} must be one int, or one for each of the {width.size - 1} layers after the first; got {given.shape}"
        )
    number = np.broadcast_to(given.astype(np.int64), (width.size - 1,))
    wrong = np.flatnonzero((number < 1) | (number > width[:-1]))
    if wrong.size or (given.ndim == 0 and given < 1):
        layer = int(wrong[0]) if wrong.size else 0
        raise ArgumentError(
            f"{name} must lie in [1, {int(width[layer])}], the nodes of layer {layer} that layer {layer + 1} reads; "
            f"got {int(number[layer]) if number.size else int(given)}"
        )
    return number


class Targets(NamedTuple):
    """All T nodes after the first layer, and the contiguous range of nodes that each of them may read."""

    node: IntArray
    layer: IntArray
    place: IntArray
    start: IntArray
    pool: IntArray


def targets_of(width: IntArray, skip: int = 0) -> Targets:
    """Return the T nodes after the first layer: position, layer, place inside it, first source and number of sources.

    Examples
    --------
    >>> targets = targets_of(np.array([3, 2, 1]))
    >>> targets.node.tolist(), targets.start.tolist(), targets.pool.tolist()
    ([3, 4, 5], [0, 0, 3], [3, 3, 2])
    """
    end = np.cumsum(width)
    first = end - width
    layer = np.repeat(np.arange(1, width.size), width[1:])
    node = np.arange(int(width[0]), int(end[-1]))
    start = first[np.maximum(layer - 1 - skip, 0)]
    return Targets(node, layer, node - first[layer], start, first[layer] - start)


def pair_counts(
    low: IntArray, high: IntArray, density: float | Sequence[float], distribution: Distribution
) -> npt.NDArray[np.int64]:
    """Return the number of edges (P,) from groups of sizes `low` (P,) to groups of sizes `high` (P,).

    Raises
    ------
    ShapeError
        When `density` is neither one number nor P of them.
    ArgumentError
        When a density lies outside (0, 1], or the distribution is unknown.

    Examples
    --------
    >>> pair_counts(np.array([4, 5]), np.array([5, 2]), [0.5, 1.0], "uniform").tolist()
    [10, 10]
    """
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


def sampled_pairs(
    width: IntArray, low: IntArray, high: IntArray, counts: IntArray, seed: Seed = None
) -> tuple[IntArray, IntArray]:
    """Return `(src, dst)`: `counts` (P,) edges from group `low` (P,) to group `high` (P,), uniform without replacement.

    Groups of `width` (K,) nodes follow each other. A full pair of groups draws nothing from `seed`.

    Notes
    -----
    O(E log E) time and O(E) memory: no dense matrix exists.

    Examples
    --------
    >>> src, dst = sampled_pairs(np.array([2, 3]), np.array([0]), np.array([1]), np.array([6]), seed=0)
    >>> src.tolist(), dst.tolist()
    ([0, 0, 0, 1, 1, 1], [2, 3, 4, 2, 3, 4])
    """
    pair, cell = sample_cells(width[low] * width[high], counts, seed)
    first = np.cumsum(width) - width
    row, column = np.divmod(cell, width[high][pair])
    return first[low[pair]] + row, first[high[pair]] + column


def from_layers(src: IntArray, dst: IntArray, width: IntArray) -> CachedLayeredGraph:
    """Return the graph on layers of `width` (L,) nodes: stages are layers, the first is input and the last output.

    Examples
    --------
    >>> g = from_layers(np.array([0]), np.array([2]), np.array([2, 1, 1]))
    >>> g.stage_array().tolist(), g.role_array().tolist()
    ([0, 0, 1, 2], ['input', 'input', 'hidden', 'output'])
    """
    g = CachedLayeredGraph.from_arrays(src, dst, num_nodes=int(width.sum()))
    stage = np.repeat(np.arange(width.size), width)
    role = np.full(stage.size, "hidden", dtype="<U12")
    role[stage == width.size - 1] = "output"
    role[stage == 0] = "input" if width.size > 1 else "input/output"
    g.set_node_column("stage", stage.astype(np.int32))
    g.set_node_column("role", role)
    return g
