"""Neurons that lost all edges on one side, and the edges that are of no use any more because of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from deepgraph.sparse.engine import Engine
from deepgraph.sparse.values import EdgeValues

__all__ = ["with_inactive"]

Index = npt.NDArray[np.int64]

_FIXED, _SAME = -1, -2
"""In place of the index of an edge set: one that is not rewired, and the border of two engines."""


def with_inactive(values: Sequence[EdgeValues], rows: Mapping[int, Index]) -> dict[int, Index]:
    """Return rows (K,) to drop, ascending, by edge set, and those of edges that they leave without use.

    A hidden neuron without incoming edges gives nothing but its bias, and one without outgoing edges gives to nobody:
    their other edges go too, and so on until there is no such neuron.

    Parameters
    ----------
    values : sequence of EdgeValues
        All edge sets of a model. Where neighbouring ones meet is known in modules of this package only.
    rows : mapping of int to (K,) int
        What goes already, by the index of the edge set; only these edge sets lose more.

    Examples
    --------
    >>> import deepgraph as dg
    >>> model = dg.MaskedDeepFFN(1, 1, [2], seed=0)
    >>> from deepgraph.sparse import edge_values
    >>> [part.tolist() for part in with_inactive(edge_values(model), {0: np.array([1]), 1: np.array([], int)}).values()]
    [[1], [1]]
    """
    found = {index: np.asarray(some, np.int64) for index, some in rows.items()}
    chains = {id(one.owner.chain): one.owner.chain for one in values if isinstance(one.owner, Engine)}
    for chain in chains.values():
        _drop_in(chain, values, found)
    return found


def _drop_in(chain: Sequence[Engine], values: Sequence[EdgeValues], rows: dict[int, Index]) -> None:
    """Add what goes in the edge sets of a chain of engines, whose parts say at which neurons they begin and end."""
    begins = np.cumsum([0, *(engine.topology.num_nodes for engine in chain)])
    fed, shown = np.zeros((2, begins[-1]), bool)
    fed[chain[0].topology.inputs] = True
    shown[begins[-2] + chain[-1].topology.outputs] = True
    mine, sides, stays = [], [], []
    for engine, begin in zip(chain, begins, strict=False):
        for layer, row, column in engine.parts:
            src, dst = layer.edge_set.pairs()
            mine.append(next((i for i, one in enumerate(values) if one is layer.edges), _FIXED))
            sides.append((src.astype(np.int64) + begin + row, dst.astype(np.int64) + begin + column))
            stays.append(np.ones(len(src), bool))
            stays[-1][rows.get(mine[-1], [])] = False
    for (engine, after), begin, end in zip(pairwise(chain), begins, begins[1:], strict=False):
        # What leaves one engine is what enters the next: the same neuron under two positions.
        mine.append(_SAME)
        sides.append((begin + engine.topology.outputs, end + after.topology.inputs))
        stays.append(np.ones(len(after.topology.inputs), bool))
    while True:
        incoming, outgoing = np.zeros((2, begins[-1]), np.int64)
        for (src, dst), stay in zip(sides, stays, strict=True):
            incoming += np.bincount(dst[stay], minlength=len(incoming))
            outgoing += np.bincount(src[stay], minlength=len(outgoing))
        useless = ((incoming == 0) & ~fed) | ((outgoing == 0) & ~shown)
        more = [
            stay & (useless[src] | useless[dst]) if index in rows or index == _SAME else np.zeros(len(stay), bool)
            for index, (src, dst), stay in zip(mine, sides, stays, strict=True)
        ]
        if not any(part.any() for part in more):
            break
        stays = [stay & ~part for stay, part in zip(stays, more, strict=True)]
    for index, stay in zip(mine, stays, strict=True):
        if index in rows:
            rows[index] = np.flatnonzero(~stay)
