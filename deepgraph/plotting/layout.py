"""Where neurons are drawn: stages from left to right, order inside a stage by neighbours, and who is alive."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from deepgraph.analysis.reach import live_unit_mask
from deepgraph.errors import DtypeError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from deepgraph.graph import CachedLayeredGraph

__all__ = ["arcs", "layered_positions", "live_neurons", "stage_ranks"]


def checked_graph(graph: Any) -> CachedLayeredGraph:
    """Return the graph itself, once it is known to speak the array interface.

    Raises
    ------
    DtypeError
        If `graph` is not a `CachedLayeredGraph`.

    Examples
    --------
    >>> checked_graph([1, 2])
    Traceback (most recent call last):
        ...
    deepgraph.errors.DtypeError: graph must be a CachedLayeredGraph, got list; convert a networkx graph with \
deepgraph.from_networkx and a model with deepgraph.extract
    """
    if not hasattr(graph, "edge_arrays") or not hasattr(graph, "stage_array"):
        raise DtypeError(
            f"graph must be a CachedLayeredGraph, got {type(graph).__name__}; "
            "convert a networkx graph with deepgraph.from_networkx and a model with deepgraph.extract"
        )
    return graph  # type: ignore[no-any-return]


def stage_ranks(graph: CachedLayeredGraph) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rank of each neuron's stage (N,) in [0, S), and the S stage numbers in ascending order (S,).

    Raises
    ------
    CycleError
        If the graph has a directed cycle.
    StructureError
        If stages are declared and an edge does not go up in stage.

    Examples
    --------
    >>> from deepgraph.graph import CachedLayeredGraph
    >>> rank, stages = stage_ranks(CachedLayeredGraph.from_arrays([0, 0, 1], [1, 2, 2]))
    >>> rank.tolist(), stages.tolist()
    ([0, 1, 2], [0, 1, 2])
    """
    stages, rank = np.unique(graph.stage_array(), return_inverse=True)
    return rank.astype(np.int64).reshape(-1), stages.astype(np.int64)


def live_neurons(graph: CachedLayeredGraph) -> NDArray[np.bool_]:
    """Return whether each neuron (N,) is on a path from an input to an output; inputs and outputs count as live.

    Examples
    --------
    >>> from deepgraph.graph import CachedLayeredGraph
    >>> graph = CachedLayeredGraph.from_arrays([0, 1, 0], [1, 2, 3], num_nodes=4)
    >>> graph.set_node_column("role", ["input", "hidden", "output", "hidden"])
    >>> live_neurons(graph).tolist()
    [True, True, True, False]
    """
    live = live_unit_mask(graph).copy()
    live[graph.input_positions()] = True
    live[graph.output_positions()] = True
    return live


def layered_positions(
    graph: CachedLayeredGraph, *, sweeps: int = 12
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Return the drawing coordinates x (N,) = rank of the stage, y (N,) in (-1, 1), and the S stage numbers (S,).

    Inside a stage neurons start in stored order and are sorted by the mean height of their neighbours, every other
    stage in turn, `sweeps` times: the barycentre method of [1]_ for fewer crossings. The order with the shortest edges
    is kept. Every stage is spread over the whole height.

    Parameters
    ----------
    graph
        The structure to lay out.
    sweeps
        Number of barycentre passes, >= 0; 0 keeps the stored order.

    References
    ----------
    .. [1] Sugiyama, K., Tagawa, S. and Toda, M. "Methods for visual understanding of hierarchical system structures",
       IEEE Transactions on Systems, Man, and Cybernetics 11(2), 1981. Differs from the paper: a stage is sorted by
       the neighbours on both sides at once, and skip edges count without dummy nodes.

    Examples
    --------
    >>> from deepgraph.graph import CachedLayeredGraph
    >>> x, y, stages = layered_positions(CachedLayeredGraph.from_arrays([0, 1], [3, 2]))
    >>> x.tolist(), y.tolist()
    ([0.0, 0.0, 1.0, 1.0], [0.5, -0.5, -0.5, 0.5])
    """
    rank, stages = stage_ranks(graph)
    src, dst = graph.edge_arrays()
    sizes = np.bincount(rank, minlength=len(stages))
    first = np.concatenate([[0], np.cumsum(sizes)[:-1]]) if len(stages) else np.zeros(0, dtype=np.int64)
    num_nodes = rank.size
    y = np.zeros(num_nodes)

    def spread(order: NDArray[np.integer[Any]]) -> None:
        place = np.arange(num_nodes) - first[rank[order]]
        y[order] = 1.0 - 2.0 * (place + 0.5) / sizes[rank[order]]

    spread(np.argsort(rank, kind="stable"))
    degree = np.bincount(src, minlength=num_nodes) + np.bincount(dst, minlength=num_nodes)
    best, best_y = np.inf, y
    for sweep in range(sweeps + 1):
        length = float(np.abs(y[src] - y[dst]).sum())
        if length < best:
            best, best_y = length, y.copy()
        # Every other stage moves while its neighbours stand: two that moved at once could swap for ever.
        moving = (rank % 2 == (sweep + 1) % 2) & (degree > 0)
        pulled = np.bincount(src, y[dst], num_nodes) + np.bincount(dst, y[src], num_nodes)
        spread(np.lexsort((-np.where(moving, pulled / np.maximum(degree, 1), y), rank)))
    return rank.astype(np.float64), best_y, stages


def arcs(
    tails: NDArray[np.float64],
    heads: NDArray[np.float64],
    apex: NDArray[np.float64],
    bend: NDArray[np.float64],
    points: int = 32,
) -> NDArray[np.float64]:
    """Return the cubic curves (K, P, 2) from tails (K, 2) to heads (K, 2) whose middle has the height `apex` (K,).

    Parameters
    ----------
    tails, heads
        (K, 2) end points.
    apex
        (K,) height at half way.
    bend
        (K,) how far, in x, the curve leans inwards at its ends; 0 leaves and arrives vertically.
    points
        P, points of a curve, >= 2.

    Examples
    --------
    >>> curve = arcs(np.array([[0.0, 0.0]]), np.array([[2.0, 0.0]]), np.array([1.0]), np.array([0.0]), points=3)[0]
    >>> curve.tolist()
    [[0.0, 0.0], [1.0, 1.0], [2.0, 0.0]]
    """
    control = (apex - 0.125 * (tails[:, 1] + heads[:, 1])) / 0.75
    corners = np.stack(
        [tails, np.stack([tails[:, 0] + bend, control], 1), np.stack([heads[:, 0] - bend, control], 1), heads], axis=1
    )
    t = np.linspace(0.0, 1.0, points)
    basis = np.stack([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3], axis=1)
    return np.asarray(np.einsum("pc,kcd->kpd", basis, corners), dtype=np.float64)
