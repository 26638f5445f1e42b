"""Checking the edges of a topology in full."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from deepgraph.errors import ArgumentError, EdgeError, ShapeError, StructureError
from deepgraph.kernels.index_arrays import check_positions

if TYPE_CHECKING:
    from deepgraph.kernels.topology import Topology

__all__ = ["check_edges"]

_MAX_INT32 = 2**31 - 1


def check_edges(topology: Topology) -> None:
    """Raise unless edges are canonical, go up in stage and enter no input; `Topology` says which errors there are."""
    src, dst, n = topology.src, topology.dst, topology.num_nodes
    if src.shape != dst.shape:
        raise ShapeError(f"expected src and dst of the same length, got {src.shape[0]} and {dst.shape[0]}")
    if src.shape[0] > _MAX_INT32:
        raise ArgumentError(f"expected at most {_MAX_INT32} edges, got {src.shape[0]}")
    check_positions("src", src, n)
    check_positions("dst", dst, n)
    rising = (src[:-1] < src[1:]) | ((src[:-1] == src[1:]) & (dst[:-1] < dst[1:]))
    if not rising.all():
        at = int(np.flatnonzero(~rising)[0])
        same = src[at] == src[at + 1] and dst[at] == dst[at + 1]
        raise EdgeError(
            f"expected edges sorted by (source, target) without duplicates, got {_edge(topology, at)} "
            f"{'twice' if same else 'before ' + _edge(topology, at + 1)}; sort and merge them first"
        )
    flat = np.flatnonzero(topology.stage[src] >= topology.stage[dst])
    if flat.size:
        at = int(flat[0])
        raise StructureError(
            f"expected every edge to go up in stage, got edge {_edge(topology, at)} from stage "
            f"{topology.stage[src[at]]} to stage {topology.stage[dst[at]]} ({flat.size} such edges); "
            "declare other stages or turn the edge around"
        )
    entering = np.flatnonzero(topology.is_input[dst])
    if entering.size:
        raise StructureError(
            f"expected no edge into an input, got edge {_edge(topology, int(entering[0]))} "
            f"({entering.size} such edges); "
            "an input passes x through, so remove these edges or give the node another role"
        )


def _edge(topology: Topology, at: int) -> str:
    names: Sequence[Any] = topology.labels if topology.labels is not None else range(topology.num_nodes)
    return f"({names[int(topology.src[at])]!r}, {names[int(topology.dst[at])]!r})"
