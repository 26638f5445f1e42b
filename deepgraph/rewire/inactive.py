"""Neurons that lost all edges on one side, and the edges that are of no use any more because of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from torch import nn

from deepgraph.sparse.networks import BORDER, Network, networks_of
from deepgraph.sparse.values import EdgeValues

__all__ = ["with_inactive"]

Index = npt.NDArray[np.int64]


def with_inactive(
    values: Sequence[EdgeValues], rows: Mapping[int, Index], model: nn.Module | None = None
) -> dict[int, Index]:
    """Return rows (K,) to drop, ascending, by edge set, and those of edges that they leave without use.

    A hidden neuron without incoming edges gives nothing but its bias, and one without outgoing edges gives to nobody:
    their other edges go too, and so on until there is no such neuron.

    Parameters
    ----------
    values : sequence of EdgeValues
        All edge sets of a model.
    rows : mapping of int to (K,) int
        What goes already, by the index of the edge set; only these edge sets lose more.
    model : nn.Module, optional
        Whose linear layers are looked through too, where they follow each other in an `nn.Sequential`; see
        `deepgraph.sparse.networks.networks_of`. Where others of PyTorch's modules meet is not known.

    Examples
    --------
    >>> import deepgraph as dg
    >>> model = dg.MaskedDeepFFN(1, 1, [2], seed=0)
    >>> from deepgraph.sparse import edge_values
    >>> [part.tolist() for part in with_inactive(edge_values(model), {0: np.array([1]), 1: np.array([], int)}).values()]
    [[1], [1]]
    """
    found = {index: np.asarray(some, np.int64) for index, some in rows.items()}
    for network in networks_of(values, model):
        _drop_in(network, found)
    return found


def _drop_in(network: Network, rows: dict[int, Index]) -> None:
    """Add what goes in the edge sets of a network."""
    stays = []
    for index, src, _ in network.parts:
        stays.append(np.ones(len(src), bool))
        stays[-1][rows.get(index, [])] = False
    while True:
        incoming, outgoing = np.zeros((2, network.num_nodes), np.int64)
        for (_, src, dst), stay in zip(network.parts, stays, strict=True):
            incoming += np.bincount(dst[stay], minlength=len(incoming))
            outgoing += np.bincount(src[stay], minlength=len(outgoing))
        useless = ((incoming == 0) & ~network.fed) | ((outgoing == 0) & ~network.shown)
        more = [
            stay & (useless[src] | useless[dst]) if index in rows or index == BORDER else np.zeros(len(stay), bool)
            for (index, src, dst), stay in zip(network.parts, stays, strict=True)
        ]
        if not any(part.any() for part in more):
            break
        stays = [stay & ~part for stay, part in zip(stays, more, strict=True)]
    for (index, _, _), stay in zip(network.parts, stays, strict=True):
        if index in rows:
            rows[index] = np.flatnonzero(~stay)
