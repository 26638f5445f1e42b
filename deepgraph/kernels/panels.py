"""Panels: for which networks, and where in the edges of each node they begin."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepgraph.kernels.compiler import has_numba
from deepgraph.kernels.topology import Topology

__all__ = ["first_cache", "panel_rows", "panel_table", "widest_stage", "worth_panels"]

# From this density on a panel saves more loads than putting sums down and taking them up costs, by measurement.
_FROM_DENSITY = 0.1
# Stages of so many nodes do not fit the second cache: there larger panels, which do, save more, and from lower density.
_WIDE, _WIDE_FROM_DENSITY, _WIDE_BYTES = 2048, 0.04, 2**18
# Edges of a node in one panel, below which putting its sums down and taking them up is not worth it.
_EDGES = 40

Table = tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]


@cache
def first_cache() -> int:
    """Return the bytes of the first data cache, 32768 where the system does not tell.

    Panels change no result, so plans and numbers do not depend on it.

    Examples
    --------
    >>> first_cache() >= 8192
    True
    """
    described = Path("/sys/devices/system/cpu/cpu0/cache")
    for level in sorted(described.glob("index*")):
        try:
            kind, size = ((level / name).read_text().strip() for name in ("type", "size"))
        except OSError:
            continue
        if kind == "Data" and size.endswith("K") and size[:-1].isdigit():
            return max(8192, int(size[:-1]) * 1024)
    return 32768


def panel_rows(tile: int, itemsize: int, density: float, cache_bytes: int | None = None, widest: int = 0) -> int:
    """Return how many rows of a tile a panel has: the first cache full of them, or more for enough edges to a node.

    Networks with wide stages have panels of a quarter megabyte.

    Parameters
    ----------
    tile : int
        Columns.
    itemsize : int
        Bytes of one value.
    density : float
        Edges over pairs, in (0, 1].
    cache_bytes : int, optional
        Default `first_cache()`.
    widest : int
        Nodes of the widest stage.

    Examples
    --------
    >>> panel_rows(64, 4, 0.5, cache_bytes=32768), panel_rows(64, 4, 0.1, cache_bytes=32768)
    (128, 400)
    >>> panel_rows(64, 4, 0.1, cache_bytes=32768, widest=4096)
    1024
    """
    if widest >= _WIDE:
        return max(_WIDE_BYTES // (tile * itemsize), int(_EDGES / density))
    size = first_cache() if cache_bytes is None else cache_bytes
    return max(size // (tile * itemsize), int(_EDGES / density))


def widest_stage(topology: Topology) -> int:
    """Return the nodes of the widest stage.

    Examples
    --------
    >>> widest_stage(Topology(3, [0, 1], [2, 2], [0, 0, 1], inputs=[0, 1], outputs=[2], activation=[0, 0, 0]))
    2
    """
    return int(np.diff(topology.stage_starts).max(initial=0))


def worth_panels(topology: Topology) -> bool:
    """Return whether the network is layered, with sums only, and dense enough for panels.

    Examples
    --------
    >>> worth_panels(Topology(2, [0], [1], [0, 1], inputs=[0], outputs=[1], activation=[0, 0]))
    True
    """
    if not topology.only_sums:
        return False
    limit = _WIDE_FROM_DENSITY if widest_stage(topology) >= _WIDE else _FROM_DENSITY
    # A hair less, because a share of the pairs is rounded to whole edges. Where this holds edges are looked at.
    return topology.num_edges >= 0.99 * limit * sum(topology.stage_pairs) and topology.joins_neighbours


def panel_table(topology: Topology, rows: int, by_source: bool) -> Table:
    """Return stage starts (S + 1,), panels per stage (S,), and where each panel's edges begin for each node (N, P + 1).

    Parameters
    ----------
    topology : Topology
        Layered, its positions in program order.
    rows : int
        Of a panel.
    by_source : bool
        False: panels of the stage before, edges by target, for the forward pass. True: panels of the stage behind,
        edges by source, for the backward pass.

    Examples
    --------
    >>> t = Topology(4, [0, 1, 2], [3, 3, 3], [0, 0, 0, 1], [0, 1, 2], [3], [0] * 4)
    >>> panel_table(t, 2, False)[2][3]
    array([0, 2, 3], dtype=int32)
    """
    starts = topology.stage_starts
    width = np.diff(starts)
    stage = np.repeat(np.arange(len(width)), width)
    near = np.r_[width[1:], 0] if by_source else np.r_[0, width[:-1]]
    panels = np.maximum(1, -(-near // rows))
    indptr = topology.source_indptr if by_source else topology.target_indptr
    begin = starts[np.clip(stage + (1 if by_source else -1), 0, len(width))]
    most = int(panels.max())
    if has_numba():
        from deepgraph.kernels.numba_transpose import panel_bounds

        pointers = np.empty((topology.num_nodes, most + 1), np.int32)
        if by_source:
            panel_bounds(indptr, topology.target_rank, begin, rows, pointers)
        else:
            panel_bounds(indptr, topology.source_step, begin - np.arange(topology.num_nodes), rows, pointers)
        return starts.astype(np.int32), panels.astype(np.int32), pointers
    other = topology.target_rank if by_source else topology.source_rank
    node = np.repeat(np.arange(topology.num_nodes), np.diff(indptr))
    counts = np.bincount(node * most + (other - begin[node]) // rows, minlength=topology.num_nodes * most)
    within = np.cumsum(counts.reshape(-1, most), axis=1)
    pointers = (indptr[:-1, None] + np.c_[np.zeros(topology.num_nodes, np.int64), within]).astype(np.int32)
    return starts.astype(np.int32), panels.astype(np.int32), pointers
