"""PHEW: edges that random walks through the network find early, the more likely the larger their weights."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from torch import nn

from deepgraph.errors import ArgumentError, UnsupportedOperationError
from deepgraph.pruning.criterion import Criterion, Sample, Scores
from deepgraph.sparse.networks import Network, networks_of
from deepgraph.sparse.values import EdgeValues

__all__ = ["PHEW"]

Index = npt.NDArray[np.int64]

_TOGETHER = 512
"""Walks that are made side by side."""


class PHEW(Criterion):
    """Earlier is better: when a random walk between inputs and outputs first came over an edge.

    Parameters
    ----------
    walks : int, optional
        How many at most, >= 1; default four for each edge. They end when every edge was found. Edges that no walk
        found rank behind all others, by |w|.

    Raises
    ------
    ArgumentError
        If `walks` is not >= 1.
    UnsupportedOperationError
        From `scores`, if the edge sets do not say how they make up one network.

    Notes
    -----
    Patil and Dovrolis 2021 [1]_, section 4: a walk goes from a random input to the outputs, in each neuron along an
    edge with a chance in proportion to |w|; every other walk goes back from a random output. What they find until
    there are as many edges as wanted stays. No data is needed; use it at initialisation, with scope "global".

    Differs from the paper: linear layers and graphs only; the last walk is cut where the number of edges is reached.
    Where edge sets meet is known in modules of this package and in an `nn.Sequential` of linear layers.

    References
    ----------
    .. [1] Patil, Dovrolis: PHEW: constructing sparse networks that learn fast and generalize well without training
       data, ICML 2021, arXiv 2010.11354.

    Examples
    --------
    Two paths from the input to the output: the one of larger weights is likely to stay.

    >>> import torch, deepgraph as dg
    >>> model = dg.MaskedDeepFFN(1, 1, [2], seed=0)
    >>> for layer in model.layers:
    ...     layer.edges.set_values(torch.tensor([0.01, 1.0]))
    >>> [edges.pairs()[k].tolist() for k, edges in enumerate(dg.prune(model, 2, criterion="phew", seed=0).edge_sets)]
    [[0], [0]]
    """

    def __init__(self, walks: int | None = None) -> None:
        if walks is not None and (isinstance(walks, bool) or not isinstance(walks, (int, np.integer)) or walks < 1):
            raise ArgumentError(f"walks: expected an integer >= 1, got {walks!r}")
        self.walks = walks

    def scores(self, model: nn.Module, values: list[EdgeValues], sample: Sample) -> list[Scores]:
        """Return the scores (E,) of each edge set: in (0, 1] by the time of the first visit, below 0 without one."""
        whole = [
            net for net in networks_of(values, model) if {part[0] for part in net.parts} >= set(range(len(values)))
        ]
        if not whole:
            raise UnsupportedOperationError(
                "criterion: expected edge sets that make up one network for 'phew', of a module of deepgraph or of an "
                "nn.Sequential of linear layers, got others; use 'synflow' or 'snip'"
            )
        weights = [np.abs(one.values().double().cpu().numpy()) for one in values]
        network = whole[-1]
        first = _first_visits(network, weights, self.walks, sample.generator)
        largest = max((float(weight.max()) for weight in weights if len(weight)), default=0.0) or 1.0
        found = [weight / largest - 2 for weight in weights]
        begin = 0
        for index, src, _ in network.parts:
            mine = first[begin : begin + len(src)]
            begin += len(src)
            if index >= 0:
                found[index] = np.where(mine < _NEVER, 1 / (1.0 + mine), found[index])
        return found


_NEVER = np.iinfo(np.int64).max


class _Steps:
    """Chooses the next edge of many walks at once, in one direction."""

    def __init__(self, at: Index, to: Index, weight: Scores, num_nodes: int) -> None:
        self.order = np.argsort(at, kind="stable")
        self.to = to
        counts = np.bincount(at, minlength=num_nodes)
        self.total = np.concatenate([[0.0], np.cumsum(weight[self.order])])
        self.ends = np.concatenate([[0], np.cumsum(counts)])

    def next(self, nodes: Index, rng: np.random.Generator) -> tuple[Index, npt.NDArray[np.bool_]]:
        """Return an edge for each node (W,), and whether there is one with a weight."""
        low, high = self.total[self.ends[nodes]], self.total[self.ends[nodes + 1]]
        place = low + rng.random(len(nodes)) * (high - low)
        goes = high > low
        row = np.searchsorted(self.total, place, side="right") - 1
        row = np.clip(row, self.ends[nodes], np.maximum(self.ends[nodes + 1] - 1, self.ends[nodes]))
        return self.order[np.minimum(row, len(self.order) - 1)], goes


def _first_visits(network: Network, weights: list[Scores], walks: int | None, rng: np.random.Generator) -> Index:
    """Return when each edge of a network (E,), borders among them, was first walked over, `_NEVER` where it was not."""
    src, dst = (np.concatenate([part[side] for part in network.parts]) for side in (1, 2))
    weight = np.concatenate([weights[index] if index >= 0 else np.ones(len(u)) for index, u, _ in network.parts])
    first = np.full(len(src), _NEVER)
    if not len(src):
        return first
    sides = (
        (_Steps(src, dst, weight, network.num_nodes), np.flatnonzero(network.fed)),
        (_Steps(dst, src, weight, network.num_nodes), np.flatnonzero(network.shown)),
    )
    limit = 4 * len(src) if walks is None else walks
    longest = network.num_nodes
    for begin in range(0, limit, _TOGETHER):
        for back, (steps, starts) in enumerate(sides):
            number = np.arange(begin + back, min(begin + _TOGETHER, limit), 2)
            nodes, step = rng.choice(starts, len(number)), 0
            while len(nodes):
                edge, goes = steps.next(nodes, rng)
                edge, number = edge[goes], number[goes]
                np.minimum.at(first, edge, number * longest + step)
                nodes, step = steps.to[edge], step + 1
        if (first[weight > 0] < _NEVER).all():
            break
    return first
