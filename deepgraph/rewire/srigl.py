"""`SRigL`: RigL with a constant fan-in, which ablates neurons that have too few salient edges."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Unpack, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from deepgraph.errors import ArgumentError
from deepgraph.kernels.growth import AbsentPairs
from deepgraph.rewire.candidates import free_pairs, swap
from deepgraph.rewire.editing import Pairs
from deepgraph.rewire.groups import Group
from deepgraph.rewire.options import Options
from deepgraph.rewire.reduced import open_rows, reduced_targets
from deepgraph.rewire.rigl import RigL

__all__ = ["SRigL", "constant_fan_in"]

Index = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

Of = Literal["dense", "sparse"]


def constant_fan_in(room: Index, living: Mask, budget: int) -> Index:
    """Return the fan-in (C,) of every neuron: one number for all that live, as many as the budget of edges allows.

    Parameters
    ----------
    room : (C,) int
        Sources that each neuron can have; it takes no more.
    living : (C,) bool
        The others take none.
    budget : int
        Edges that are there at most.

    Examples
    --------
    >>> constant_fan_in(np.array([4, 4, 1, 4]), np.array([True, True, True, False]), 8).tolist()
    [3, 3, 1, 0]
    """
    mine = np.where(living, room, 0)
    low, high = 0, int(mine.max(initial=0))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if int(np.minimum(mine, middle).sum()) <= budget else (low, middle - 1)
    return np.minimum(mine, low)


class SRigL(RigL):
    """RigL with a constant fan-in: every neuron of a layer has as many edges, or none.

    Parameters
    ----------
    model, optimizer
        As for `Rewirer`.
    gamma : float in [0, 1]
        A neuron with fewer salient edges than this share of its fan-in loses all of them; 0 ablates none.
    of : {"dense", "sparse"}
        Whether the share is of all sources that a neuron could have, or of the edges that it has on average.
    **options
        Those of `Rewirer`, with the defaults of `RigL`; `group` is "set".

    Attributes
    ----------
    start : list of int
        The budget of each edge set: its edges when the optimizer was made.

    Raises
    ------
    ArgumentError, DtypeError
        As `Rewirer`, and if `gamma`, `of` or `group` is not valid.

    Notes
    -----
    Lasby et al. 2024 [1]_: of each edge set the E - k largest |w| stay and the k pairs of the largest |gradient| among
    the others are noted, k as for `RigL`. An edge that stays and a pair that is noted are salient. Neurons with fewer
    salient edges than gamma times their fan-in are ablated, and their edges go to those that live: the fan-in is the
    largest with which these have no more edges than the budget. A neuron that has more keeps its largest |w|, one that
    has fewer gets the pairs of its largest |gradient|. The last layer is never ablated. Ablation is decided anew at
    every edit, so a neuron comes back once enough pairs into it are salient.

    Differs from the paper: a network may start with any fan-in, the first edit makes it constant; pairs that are
    dropped by the edit may come back, as in `RigL`; an ablated neuron keeps its bias and the edges out of it, until
    these go by their own size; no neuron of a DAG is ablated, and there a neuron with fewer admissible sources than
    the fan-in takes all of them. The authors' code takes gamma of the dense fan-in, their text of the sparse one.

    References
    ----------
    .. [1] Lasby, Golubeva, Evci, Nica, Ioannou: Dynamic sparse training with structured sparsity, ICLR 2024,
       arXiv 2305.02299.

    Examples
    --------
    >>> import torch, deepgraph as dg
    >>> model = dg.MaskedDeepFFN(6, 3, [8], density=0.5, seed=0)
    >>> optimizer = SRigL(model, torch.optim.SGD(model.parameters(), lr=0.1), every=2, until=100, seed=0)
    >>> x = torch.randn(5, 6, generator=torch.Generator().manual_seed(0))
    >>> for _ in range(2):
    ...     optimizer.zero_grad()
    ...     model(x).square().sum().backward()
    ...     optimizer.step()
    >>> [sorted(set(np.bincount(edges.dst).tolist())) for edges in model.edge_sets]
    [[0, 4], [4]]
    """

    default_group = "set"

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        gamma: float = 0.3,
        of: Of = "dense",
        **options: Unpack[Options],
    ) -> None:
        if not isinstance(gamma, (int, float)) or isinstance(gamma, bool) or not 0 <= gamma <= 1:
            raise ArgumentError(f"gamma: expected a share in [0, 1], got {gamma!r}")
        if of not in get_args(Of):
            raise ArgumentError(f"of: expected one of {get_args(Of)}, got {of!r}")
        if options.get("group") not in (None, "set"):
            raise ArgumentError(f"group: expected 'set', got {options.get('group')!r}: a fan-in is that of a layer")
        self.gamma, self.of = float(gamma), of
        super().__init__(model, optimizer, **options)
        self.start = [edges.num_edges for edges in self.edge_sets]

    def _changes(self, group: Group, rows: Sequence[Index]) -> list[tuple[Pairs, Pairs]]:
        """Return what goes and what comes so that the living neurons of the one edge set have the same fan-in."""
        (index,), (lowest,) = group.members, rows
        one = self.values[index]
        edges, shut = one.edge_set, reduced_targets(one)
        gone = open_rows(one, lowest)
        stays = np.ones(edges.num_edges, bool)
        stays[gone] = False
        counted = np.ones(edges.num_edges, bool) if shut is None else ~shut[edges.dst]
        free = free_pairs(edges, gone, shut)
        _, noted, _ = self.pair_gradients(one).best(free, min(len(gone), free.count), ranked=False)
        salient = np.bincount(edges.dst[stays & counted], minlength=edges.num_targets)
        salient = salient + np.bincount(noted, minlength=edges.num_targets)
        budget = self.start[index] - int(np.count_nonzero(~counted))
        room = room_of(free)
        quota = constant_fan_in(room, self._living(index, salient, room, budget), budget)
        kept = largest_into(edges.dst, one.values().abs().double().cpu().numpy(), stays & counted, quota) | ~counted
        missing = quota - np.bincount(edges.dst[kept & counted], minlength=edges.num_targets)
        goes = np.flatnonzero(~kept)
        grown = self.growth.choose_per_target(self, one, free_pairs(edges, goes, shut), missing)
        return [swap(edges, goes, grown, keep=True)]

    def _living(self, index: int, salient: Index, room: Index, budget: int) -> Mask:
        """Return which neurons (C,) are not ablated: enough of them to hold the budget, and no more than it has edges.

        Of the others the most salient come first.
        """
        edges = self.edge_sets[index]
        wanted = self.gamma * (room if self.of == "dense" else budget / max(int(np.count_nonzero(room)), 1))
        ablates = edges.stage is None and index < len(self.values) - 1
        living = (room > 0) & ((salient >= wanted) | (not ablates))
        order = np.argsort(-np.where(living, salient + len(room) + int(room.sum()), salient), kind="stable")
        order = order[room[order] > 0]
        held = np.cumsum(room[order])
        fewest = int(np.searchsorted(held, min(budget, int(held[-1]) if len(held) else 0))) + 1
        count = min(max(int(np.count_nonzero(living)), fewest), max(budget, 0), len(order))
        chosen = np.zeros(len(room), bool)
        chosen[order[:count]] = True
        return chosen

    def _schedule(self) -> list[str]:
        return [*super()._schedule(), "gamma", "of", "start"]


def room_of(free: AbsentPairs) -> Index:
    """Return how many sources each target (C,) can have, edges or not.

    Examples
    --------
    >>> room_of(AbsentPairs(3, 3, [0], [2], stage=[0, 0, 1])).tolist()
    [0, 0, 2]
    """
    room = np.zeros(free.num_targets, np.int64)
    room[free.targets] = free.fan
    return room


def largest_into(dst: Index, size: npt.NDArray[np.float64], stays: Mask, quota: Index) -> Mask:
    """Return which edges (E,), of those that stay, are among the `quota[v]` of the largest size into each target v.

    Examples
    --------
    >>> largest_into(np.array([0, 0, 1]), np.array([1.0, 2.0, 3.0]), np.ones(3, bool), np.array([1, 1])).tolist()
    [False, True, True]
    """
    rows = np.flatnonzero(stays)
    rows = rows[np.lexsort((rows, -size[rows], dst[rows]))]
    targets = dst[rows]
    place = np.arange(len(rows)) - np.searchsorted(targets, targets)
    kept = np.zeros(len(dst), bool)
    kept[rows[place < quota[targets]]] = True
    return kept
