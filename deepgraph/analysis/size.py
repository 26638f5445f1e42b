"""Size and density: how many nodes and edges there are, and how many there could be."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import numpy as np

from deepgraph.analysis.edges import EdgeArrays, arrays_of
from deepgraph.errors import ArgumentError

if TYPE_CHECKING:
    from deepgraph.analysis.edges import Source

__all__ = [
    "admissible_pairs",
    "density",
    "depth",
    "mean_skip_length",
    "num_edges",
    "num_nodes",
    "num_stages",
    "skip_share",
    "stage_pair_density",
]


def num_nodes(graph: Source) -> int:
    """Return the number of nodes N.

    Examples
    --------
    >>> from deepgraph.analysis import EdgeArrays
    >>> num_nodes(EdgeArrays.from_arrays([0], [1], 3))
    3
    """
    return arrays_of(graph).num_nodes


def num_edges(graph: Source) -> int:
    """Return the number of edges E.

    Examples
    --------
    >>> from deepgraph.analysis import EdgeArrays
    >>> num_edges(EdgeArrays.from_arrays([0], [1], 3))
    1
    """
    return arrays_of(graph).num_edges


def num_stages(graph: Source) -> int:
    """Return the number of declared stages S that hold a node.

    Examples
    --------
    >>> from deepgraph.analysis import EdgeArrays
    >>> num_stages(EdgeArrays.from_arrays([0], [1], 3))
    2
    """
    return len(arrays_of(graph).stages)


def depth(graph: Source) -> int:
    """Return the number of edges on the longest directed path; 0 without edges.

    Examples
    --------
    >>> from deepgraph.analysis import EdgeArrays
    >>> depth(EdgeArrays.from_arrays([0, 1, 0], [1, 2, 2], 3))
    2
    """
    return int(arrays_of(graph).layer.max(initial=0))


def admissible_pairs(graph: Source, admissible: str = "auto") -> int:
    """Return the number of node pairs that could hold an edge.

    Parameters
    ----------
    admissible : {"auto", "adjacent", "all"}
        "adjacent" counts the pairs of consecutive stages (the matrices of a feed-forward network), "all" those with
        `stage[u] < stage[v]` (a DAG). "auto" takes "adjacent" where no edge skips a stage.

    Raises
    ------
    ArgumentError
        If `admissible` is none of the three.

    Examples
    --------
    >>> from deepgraph.analysis import EdgeArrays
    >>> layered = EdgeArrays.from_arrays([0, 1, 2], [2, 2, 3], 4, stage=[0, 0, 1, 2])
    >>> admissible_pairs(layered), admissible_pairs(layered, "all")
    (3, 5)
    """
    if admissible not in ("auto", "adjacent", "all"):
        raise ArgumentError(f'admissible must be "auto", "adjacent" or "all", got {admissible!r}')
    view = arrays_of(graph)
    sizes = [int(size) for size in view.stage_sizes]  # Python ints: a product of two can pass 2^63
    if admissible == "adjacent" or (admissible == "auto" and not np.any(_skip_lengths(view) > 1)):
        return sum(a * b for a, b in itertools.pairwise(sizes))
    return (view.num_nodes**2 - sum(size * size for size in sizes)) // 2


def density(graph: Source, admissible: str = "auto") -> float:
    """Return the edges as a share of the admissible pairs, in [0, 1]; 0 where no pair is admissible.

    Parameters
    ----------
    admissible : {"auto", "adjacent", "all"}
        Which pairs count; see `admissible_pairs`.

    Raises
    ------
    ArgumentError
        If `admissible` is none of the three.

    Examples
    --------
    >>> from deepgraph.analysis import EdgeArrays
    >>> density(EdgeArrays.from_arrays([0], [1], 4, stage=[0, 1, 1, 1]))
    0.3333333333333333
    """
    pairs = admissible_pairs(graph, admissible)
    return num_edges(graph) / pairs if pairs else 0.0


def stage_pair_density(graph: Source) -> dict[tuple[int, int], float]:
    """Return the density in (0, 1] of each stage pair that holds edges, by (source stage, target stage).

    Examples
    --------
    >>> from deepgraph.analysis import EdgeArrays
    >>> stage_pair_density(EdgeArrays.from_arrays([0, 0], [1, 3], 4, stage=[0, 1, 1, 2]))
    {(0, 1): 0.5, (0, 2): 1.0}
    """
    view = arrays_of(graph)
    pairs = view.pairs
    share = (pairs.edges / pairs.admissible).tolist()
    keys = zip(view.stages[pairs.source].tolist(), view.stages[pairs.target].tolist(), strict=True)
    return dict(zip(keys, share, strict=True))


def skip_share(graph: Source) -> float:
    """Return the share in [0, 1] of edges that pass over at least one stage; NaN without edges.

    Examples
    --------
    >>> from deepgraph.analysis import EdgeArrays
    >>> skip_share(EdgeArrays.from_arrays([0, 1, 0], [1, 2, 2], 3))
    0.3333333333333333
    """
    lengths = _skip_lengths(arrays_of(graph))
    return float(np.mean(lengths > 1)) if lengths.size else math.nan


def mean_skip_length(graph: Source) -> float:
    """Return the mean number of stages that an edge climbs, >= 1; NaN without edges.

    Stages that hold no node are not counted.

    Examples
    --------
    >>> from deepgraph.analysis import EdgeArrays
    >>> mean_skip_length(EdgeArrays.from_arrays([0, 1, 0], [1, 2, 2], 3))
    1.3333333333333333
    """
    lengths = _skip_lengths(arrays_of(graph))
    return float(lengths.mean()) if lengths.size else math.nan


def _skip_lengths(view: EdgeArrays) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return how many stages each edge (E,) climbs."""
    return view.once("skip lengths", lambda: view.stage_index[view.dst] - view.stage_index[view.src])
