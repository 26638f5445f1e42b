"""Motifs of three nodes: how often each way to join three nodes of an acyclic graph occurs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from deepgraph.analysis.edges import arrays_of
from deepgraph.analysis.smallworld import triangles

if TYPE_CHECKING:
    from deepgraph.analysis.edges import Source

__all__ = ["Motifs", "motifs"]


@dataclass(frozen=True)
class Motifs:
    """Numbers of connected sets of three nodes, by how they are joined; each set counts once, for all its edges.

    Attributes
    ----------
    feed_forward : int
        u -> v, v -> w and u -> w: the feed-forward loop, a skip edge over a path of two. 0 in strictly layered nets.
    chain : int
        u -> v -> w, u and w not joined.
    fan_out : int
        u -> v and u -> w, v and w not joined.
    fan_in : int
        u -> w and v -> w, u and v not joined.

    Examples
    --------
    >>> sum(Motifs(1, 2, 0, 4).to_dict().values())
    7
    """

    feed_forward: int
    chain: int
    fan_out: int
    fan_in: int

    def to_dict(self) -> dict[str, int]:
        """Return the counts by name."""
        return asdict(self)


def motifs(graph: Source) -> Motifs:
    """Return the number of each motif of three nodes.

    The four are all that an acyclic graph can have. `analyse(graph, measures=["motif_feed_forward"], nulls=20)` gives
    them with z-scores.

    Raises
    ------
    TooLargeError
        If the count of triangles would visit more than 1e10 two-step paths.

    References
    ----------
    Milo et al., "Network Motifs: Simple Building Blocks of Complex Networks", Science 298 (2002), 824-827.

    Notes
    -----
    Every triangle of an acyclic graph is a feed-forward loop and holds one path and one pair of each of the others,
    so that degrees and triangles give all counts: O(E^1.5).

    Examples
    --------
    >>> from deepgraph.analysis import EdgeArrays
    >>> motifs(EdgeArrays.from_arrays([0, 0, 1, 2], [1, 2, 2, 3], 4))
    Motifs(feed_forward=1, chain=2, fan_out=0, fan_in=0)
    """
    view = arrays_of(graph)
    loops = int(triangles(view).sum()) // 3
    into, out = view.fan_in.astype("int64"), view.fan_out.astype("int64")
    return Motifs(
        feed_forward=loops,
        chain=int((into * out).sum()) - loops,
        fan_out=int((out * (out - 1)).sum()) // 2 - loops,
        fan_in=int((into * (into - 1)).sum()) // 2 - loops,
    )
