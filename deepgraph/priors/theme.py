"""Theme graphs: a small graph whose nodes are blown up to groups of neurons."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import networkx as nx
import numpy as np

from deepgraph.errors import ArgumentError, ShapeError, UnknownNodeError
from deepgraph.graph import CachedLayeredGraph
from deepgraph.graph.sampling import Seed
from deepgraph.priors.densities import Distribution
from deepgraph.priors.layer_pairs import IntArray, checked_sizes, pair_counts, sampled_pairs
from deepgraph.priors.orientation import from_networkx, seed_number

__all__ = ["blow_up", "shared_out"]


def shared_out(total: int, proportions: Sequence[float]) -> IntArray:
    """Return `total` things shared out in proportion to (K,) numbers, (K,) int64, at least one for each.

    Fractions are settled by the largest remainder, ties by the earlier share; those that would get nothing get one, and
    the rest is shared out among the others.

    Raises
    ------
    ArgumentError
        When a proportion is negative or not finite, all are 0, or `total` is below K.

    Examples
    --------
    >>> shared_out(10, [1, 2, 4]).tolist(), shared_out(4, [100, 1, 1]).tolist()
    ([1, 3, 6], [2, 1, 1])
    """
    share = np.asarray(proportions, dtype=float)
    if share.ndim != 1 or not share.size or not (np.isfinite(share) & (share >= 0)).all() or not share.any():
        raise ArgumentError(f"proportions must be finite numbers >= 0, not all 0; got {proportions!r:.80}")
    if total < share.size:
        raise ArgumentError(f"{total} nodes are too few for {share.size} groups of at least one")
    # Only ratios matter; the largest share is 1, so no quotient below can overflow.
    share = share / share.max()
    alone = np.zeros(share.size, dtype=bool)
    while True:
        rest, whole = total - int(alone.sum()), share[~alone].sum()
        exact = np.where(alone, 1.0, share * (rest / whole)) if whole > 0 else np.ones(share.size)
        if not (below := ~alone & (exact < 1)).any():
            break
        alone |= below
    counts = np.floor(exact).astype(np.int64)
    counts[np.argsort(counts - exact, kind="stable")[: total - int(counts.sum())]] += 1
    return counts


def blow_up(
    theme: nx.Graph[Any],
    sizes: Mapping[Any, float] | Sequence[float],
    density: float | Sequence[float] = 1.0,
    *,
    num_nodes: int | None = None,
    seed: Seed = None,
    distribution: Distribution = "uniform",
) -> CachedLayeredGraph:
    """Return the graph in which every node of a theme is a group of neurons, and every edge joins two groups.

    Parameters
    ----------
    theme : networkx.DiGraph without cycles, or networkx.Graph
        K nodes, P edges. An undirected one is directed by a random order, see `from_networkx`.
    sizes : mapping node -> number, or K numbers in the order of the nodes
        Neurons of each group, ints >= 1; with `num_nodes` proportions, of which only the ratios matter.
    density : float or P floats
        Kept edges over the pairs that edges of the theme admit, in (0, 1]: of all together, or of each edge of the
        theme, ordered by (source position, target position). Exact.
    num_nodes : int, optional
        Neurons in all, >= K, shared out in proportion to `sizes`, see `shared_out`.
    seed : int, Generator or None
        Of no effect where every edge is kept and the theme is directed.
    distribution : {"uniform", "er", "erk", "igq"}
        How one density is shared among the edges of the theme, see `edge_counts`.

    Returns
    -------
    CachedLayeredGraph
        N = sum of sizes, numbered group by group in the order of the theme. Node columns `stage`, that of the theme,
        `group`, int32 in [0, K), and `role` where the theme declares roles.

    Raises
    ------
    CycleError, StructureError
        When the theme is directed and has a cycle, or is a multigraph.
    UnknownNodeError
        When `sizes` names a node that the theme does not have.
    ShapeError, DtypeError
        When there is not one size for each node, or not one density for each edge.
    ArgumentError
        When a size, a proportion or a density is out of range.

    Notes
    -----
    O(E log E) time and O(E) memory. The same theme gives networks of any size with one large-scale structure.

    References
    ----------
    .. [1] L. Lovasz, "Large networks and graph limits", 2012, section 3.3: the blow-up of a graph.

    Examples
    --------
    >>> theme = nx.DiGraph([("in", "a"), ("in", "b"), ("a", "out"), ("b", "out")])
    >>> g = blow_up(theme, {"in": 2, "a": 1, "b": 1, "out": 1}, num_nodes=50)
    >>> np.bincount(g.node_column("group")).tolist(), g.number_of_edges()
    ([20, 10, 10, 10], 600)
    """
    number = seed_number(seed)
    plan = from_networkx(theme, seed=number)
    given = _in_order(plan, sizes)
    width = shared_out(num_nodes, given) if num_nodes is not None else checked_sizes(given, what="group")  # type: ignore[arg-type]
    low, high = (ends.astype(np.int64) for ends in plan.edge_arrays())
    counts = pair_counts(width[low], width[high], density, distribution)
    # A stream of its own: the random order of an undirected theme is drawn from `number` itself.
    src, dst = sampled_pairs(width, low, high, counts, np.random.default_rng([number, 1]))
    g = CachedLayeredGraph.from_arrays(src, dst, num_nodes=int(width.sum()))
    group = np.repeat(np.arange(width.size, dtype=np.int32), width)
    g.set_node_column("stage", plan.stage_array()[group])
    g.set_node_column("group", group)
    if plan.has_node_column("role"):
        g.set_node_column("role", plan.role_array()[group])
    return g


def _in_order(theme: CachedLayeredGraph, sizes: Mapping[Any, float] | Sequence[float]) -> list[float]:
    """Return the K sizes in the order of the nodes."""
    nodes: list[Hashable] = list(theme)
    if not isinstance(sizes, Mapping):
        if len(sizes) != len(nodes):
            raise ShapeError(f"sizes must hold one number for each of the {len(nodes)} nodes; got {len(sizes)}")
        return list(sizes)
    unknown = [node for node in sizes if node not in theme]
    if unknown:
        raise UnknownNodeError(f"sizes names nodes that the theme does not have: {unknown[:5]!r}; take them out")
    missing = [node for node in nodes if node not in sizes]
    if missing:
        raise ShapeError(f"sizes must name each of the {len(nodes)} nodes; it lacks {missing[:5]!r}")
    return [sizes[node] for node in nodes]
