"""What a plan needs to know of a graph: a few numbers, taken from its topology."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from deepgraph.kernels.activations import activation
from deepgraph.kernels.topology import Topology

__all__ = ["Facts", "describe"]


@dataclass(frozen=True)
class Facts:
    """What a plan needs to know of a graph.

    Parameters
    ----------
    num_nodes : int
        N.
    widths : tuple of int
        Nodes per occupied stage.
    edges : tuple of int
        Edges per weight tensor.
    pairs : tuple of int
        Admissible pairs per weight tensor.
    masked_elements : int
        Elements of the masked storage.
    layered : bool
        Whether edges join neighbouring stages only, with one weight tensor for each.
    custom : tuple of str
        Registered activations in use.
    only_sums : bool
        Whether no node reduces by maximum or product.
    """

    num_nodes: int
    widths: tuple[int, ...]
    edges: tuple[int, ...]
    pairs: tuple[int, ...]
    masked_elements: int
    layered: bool
    custom: tuple[str, ...] = ()
    only_sums: bool = True

    @property
    def density(self) -> float:
        """Return edges over admissible pairs, 0 without pairs."""
        return sum(self.edges) / max(1, sum(self.pairs))


def describe(topology: Topology) -> Facts:
    """Return the facts of a topology that a plan needs.

    Examples
    --------
    >>> t = Topology(3, [0, 1], [2, 2], [0, 0, 1], inputs=[0, 1], outputs=[2], activation=[0, 0, 0])
    >>> describe(t).pairs
    (2,)
    """
    starts = topology.stage_starts
    widths = np.diff(starts)
    layered = topology.joins_neighbours
    computed = np.add.reduceat(topology.bias_index >= 0, starts[:-1], dtype=np.int64)
    if layered:
        pairs = topology.stage_pairs
        elements = int((widths[1:] * widths[:-1]).sum())
    else:
        total = int((computed * starts[:-1]).sum())
        # Several tensors that are no layers have no admissible pairs of their own: they share those of the graph.
        share = topology.num_edges or 1
        pairs = (total,) if len(topology.splits) == 1 else tuple(total * count // share for count in topology.splits)
        elements = int((widths * starts[:-1]).sum())
    custom = tuple(entry.name for code in topology.codes if (entry := activation(code)).is_custom)
    return Facts(
        topology.num_nodes, tuple(widths.tolist()), topology.splits, pairs, elements, layered, custom,
        topology.only_sums,
    )  # fmt: skip
