"""Which units and edges lie on a path from an input to an output, and how many such paths there are."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from deepgraph.analysis.edges import BoolArray, FloatArray, IntArray, arrays_of

if TYPE_CHECKING:
    from deepgraph.analysis.edges import Source

__all__ = [
    "dead_neurons",
    "effective_density",
    "effective_edge_mask",
    "effective_edges",
    "live_share",
    "live_unit_mask",
    "live_units",
    "log_paths",
    "reachable",
]

# A stage with fewer edges than this is walked edge by edge: numpy's cost per call would exceed the work.
_NARROW = 64


def reachable(graph: Source) -> tuple[BoolArray, BoolArray]:
    """Return for every node (N,) whether an input leads to it, and (N,) whether it leads to an output.

    Directed. A node reaches itself. Two breadth-first searches from one added node that is joined to all inputs (all
    outputs), in compiled code: O(N + E) for any depth.

    Examples
    --------
    >>> from deepgraph.analysis import EdgeArrays
    >>> from_input, to_output = reachable(EdgeArrays.from_arrays([0], [1], 3, inputs=[0], outputs=[1]))
    >>> from_input.tolist(), to_output.tolist()
    ([True, True, False], [True, True, False])
    """
    view = arrays_of(graph)
    return view.once("reachable", lambda: (_search(view.out_csr, view.inputs), _search(view.in_csr, view.outputs)))


def _search(adjacency: sparse.csr_array, roots: IntArray) -> BoolArray:
    """Return (N,) whether each node is a root or reached from one."""
    size = adjacency.shape[0]
    found = np.zeros(size, dtype=np.bool_)
    if roots.size == 0:
        return found
    indices = np.concatenate([adjacency.indices, roots.astype(adjacency.indices.dtype)])
    indptr = np.append(adjacency.indptr, len(indices)).astype(adjacency.indptr.dtype)
    rooted = sparse.csr_array((np.ones(len(indices)), indices, indptr), shape=(size + 1, size + 1))
    order = csgraph.breadth_first_order(rooted, size, directed=True, return_predecessors=False)
    found[order[order < size]] = True
    return found


def effective_edge_mask(graph: Source) -> BoolArray:
    """Return for every edge (E,), in canonical order, whether it lies on a path from an input to an output.

    Examples
    --------
    >>> from deepgraph.analysis import EdgeArrays
    >>> effective_edge_mask(EdgeArrays.from_arrays([0, 0], [1, 2], 3, inputs=[0], outputs=[2])).tolist()
    [False, True]
    """
    view = arrays_of(graph)

    def build() -> BoolArray:
        from_input, to_output = reachable(view)
        mask: BoolArray = from_input[view.src] & to_output[view.dst]
        return mask

    return view.once("effective", build)


def effective_edges(graph: Source) -> int:
    """Return the number of edges that lie on a path from an input to an output.

    References
    ----------
    Vysogorets & Kempe, "Connectivity Matters: Neural Network Pruning Through the Lens of Effective Sparsity",
    JMLR 24 (2023), section 2.

    Examples
    --------
    >>> from deepgraph.analysis import EdgeArrays
    >>> effective_edges(EdgeArrays.from_arrays([0, 0], [1, 2], 3, inputs=[0], outputs=[2]))
    1
    """
    return int(np.count_nonzero(effective_edge_mask(graph)))


def effective_density(graph: Source) -> float:
    """Return the effective edges as a share of the admissible pairs, in [0, 1]; see `density` for the pairs.

    References
    ----------
    Vysogorets & Kempe, JMLR 24 (2023), section 2: one minus the effective sparsity.

    Examples
    --------
    >>> from deepgraph.analysis import EdgeArrays
    >>> effective_density(EdgeArrays.from_arrays([0, 0], [1, 2], 3, stage=[0, 1, 1], inputs=[0], outputs=[2]))
    0.5
    """
    from deepgraph.analysis.size import admissible_pairs

    pairs = admissible_pairs(graph)
    return effective_edges(graph) / pairs if pairs else 0.0


def live_unit_mask(graph: Source) -> BoolArray:
    """Return for every node (N,) whether an effective edge touches it.

    Examples
    --------
    >>> from deepgraph.analysis import EdgeArrays
    >>> live_unit_mask(EdgeArrays.from_arrays([0, 0], [1, 2], 3, inputs=[0], outputs=[2])).tolist()
    [True, False, True]
    """
    view = arrays_of(graph)

    def build() -> BoolArray:
        edges = effective_edge_mask(view)
        live = np.zeros(view.num_nodes, dtype=np.bool_)
        live[view.src[edges]] = True
        live[view.dst[edges]] = True
        return live

    return view.once("live", build)


def live_units(graph: Source) -> int:
    """Return the number of hidden units that an effective edge touches.

    Examples
    --------
    >>> from deepgraph.analysis import EdgeArrays
    >>> live_units(EdgeArrays.from_arrays([0, 1, 0], [1, 3, 2], 4, inputs=[0], outputs=[3]))
    1
    """
    view = arrays_of(graph)
    return int(np.count_nonzero(live_unit_mask(view) & view.is_hidden))


def live_share(graph: Source) -> float:
    """Return the live hidden units as a share of all hidden units, in [0, 1]; NaN without hidden units.

    Examples
    --------
    >>> from deepgraph.analysis import EdgeArrays
    >>> live_share(EdgeArrays.from_arrays([0, 1, 0], [1, 3, 2], 4, inputs=[0], outputs=[3]))
    0.5
    """
    view = arrays_of(graph)
    hidden = int(np.count_nonzero(view.is_hidden))
    return live_units(view) / hidden if hidden else math.nan


def dead_neurons(graph: Source) -> int:
    """Return the number of hidden neurons that no input-output path visits.

    A hidden neuron that lost all its inputs is dead, not an input: roles are those declared, not the degrees.

    Examples
    --------
    >>> from deepgraph.analysis import EdgeArrays
    >>> dead_neurons(EdgeArrays.from_arrays([0, 1, 0], [1, 3, 2], 4, inputs=[0], outputs=[3]))
    1
    """
    view = arrays_of(graph)
    return int(np.count_nonzero(view.is_hidden)) - live_units(view)


def log_paths(graph: Source, weight: str | None = None) -> float:
    """Return the natural logarithm of the number of directed input-output paths; -inf where there is none.

    A path has at least one edge. Counts overflow from some hundred layers on, so sums are taken of logarithms, stage
    by stage: O(N + E).

    Parameters
    ----------
    weight : None, "weight" or "abs"
        What a path counts: 1, or the product of its weights, which must not be negative, or of their magnitudes. With
        "abs" this is the logarithm of the l1 path norm, which SynFlow conserves.

    Raises
    ------
    ArgumentError
        If `weight` is unknown, or a weight is negative.
    MissingColumnError
        If the graph has no weights and they are asked for.

    References
    ----------
    Tanaka, Kunin, Yamins & Ganguli, "Pruning neural networks without any data", NeurIPS 2020, equation 2.

    Examples
    --------
    Two paths lead through this diamond:

    >>> import math
    >>> from deepgraph.analysis import EdgeArrays
    >>> round(math.exp(log_paths(EdgeArrays.from_arrays([0, 0, 1, 2], [1, 2, 3, 3], 4))), 9)
    2.0
    """
    view = arrays_of(graph)
    amounts = view.amounts(weight)
    edges = effective_edge_mask(view) & (amounts > 0)
    src, dst, logs = view.src[edges], view.dst[edges], np.log(amounts[edges])
    counts = np.full(view.num_nodes, -np.inf)
    counts[view.inputs] = 0.0
    order = np.lexsort((dst, view.stage_index[dst]))
    src, dst, logs = src[order], dst[order], logs[order]
    for low, high, wide in _walks(view.stage_index[dst]):
        (_add_wide if wide else _add_narrow)(counts, src[low:high], dst[low:high], logs[low:high])
    ends = view.is_output[dst]
    arriving = counts[src[ends]] + logs[ends]
    most = float(arriving.max(initial=-math.inf))
    if most == -math.inf:
        return most
    return most + math.log(float(np.exp(arriving - most).sum()))


def _walks(stage: IntArray) -> list[tuple[int, int, bool]]:
    """Return `(first edge, end, wide)` of each wide stage and of each run of narrow stages between two wide ones."""
    starts = np.flatnonzero(np.diff(stage, prepend=-1))
    wide = np.diff(starts, append=len(stage)) >= _NARROW
    opens = wide.copy()
    opens[1:] |= wide[:-1]
    opens[:1] = True
    low = starts[opens]
    return list(zip(low.tolist(), np.append(low[1:], len(stage)).tolist(), wide[opens].tolist(), strict=False))


def _add_wide(counts: FloatArray, src: IntArray, dst: IntArray, logs: FloatArray) -> None:
    """Add the paths that arrive over the edges of one stage, sorted by target, to log `counts` (N,), in place."""
    first = np.flatnonzero(np.diff(dst, prepend=-1))
    target = dst[first]
    arriving = counts[src] + logs
    high = np.maximum.reduceat(arriving, first)
    # Weights of 0 may cut off a whole unit, of which nothing arrives.
    high = np.where(np.isfinite(high), high, 0.0)
    spread = np.diff(np.append(first, len(dst)))
    with np.errstate(divide="ignore"):
        total = high + np.log(np.add.reduceat(np.exp(arriving - np.repeat(high, spread)), first))
    counts[target] = np.logaddexp(counts[target], total)


def _add_narrow(counts: FloatArray, src: IntArray, dst: IntArray, logs: FloatArray) -> None:
    """Add the paths of edges sorted by stage of the target to log `counts` (N,), one edge at a time, in place."""
    values = counts.data
    for u, v, log in zip(src.tolist(), dst.tolist(), logs.tolist(), strict=True):
        here, there = values[v], values[u] + log
        if there > -math.inf:
            values[v] = max(here, there) + math.log1p(math.exp(-abs(here - there)))
