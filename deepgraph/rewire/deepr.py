"""`DEEPR`: deep rewiring."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from deepgraph.errors import ArgumentError
from deepgraph.graph.arrays import Array
from deepgraph.graph.edge_set import EdgeSet
from deepgraph.rewire.arguments import rests, weights_of
from deepgraph.rewire.candidates import lowest, split_rows
from deepgraph.rewire.groups import Group, Grouping
from deepgraph.rewire.growth import RandomGrowth
from deepgraph.rewire.langevin import Langevin
from deepgraph.rewire.reduced import refuse_reduced
from deepgraph.rewire.rewirer import Rewirer
from deepgraph.rewire.signs import pair_signs
from deepgraph.rewire.theta import ThetaDEEPR, is_parameters
from deepgraph.sparse.randomness import Seed, root_seed
from deepgraph.sparse.values import EdgeValues

__all__ = ["DEEPR", "reborn"]

Index = npt.NDArray[np.int64]

REBORN = 1e-12
"""theta of an edge that was just grown, as in the authors' code."""


class DEEPR(Rewirer):
    """Deep rewiring: edges have fixed signs and walk; one that reaches 0 is replaced at once by a random other one.

    An optimizer of its own. After every step each edge set has exactly as many edges as when the optimizer was made.

    Parameters
    ----------
    model : nn.Module
        A model with edge sets. Edges of sets that are neither dense nor frozen walk; all other parameters are stepped
        by plain SGD.
    lr : float
        Learning rate, >= 0. The authors start MNIST at 0.5 and multiply by 0.8 an epoch.
    l1 : float
        Pull towards 0, >= 0.
    temperature : float or None
        T of the noise sqrt(2 lr T), >= 0. None: the standard deviation lr * 1e-5 of the authors' code.
    group : {"set", "graph"}
        Whether the number of edges is kept in each edge set, or over all of them.
    seed : int, Generator or None
        None draws from torch's global generator, once, here.

    Attributes
    ----------
    edited : bool
        Whether the last step replaced an edge.

    Raises
    ------
    ArgumentError
        If the model has no edge sets, or an argument is out of range.
    DtypeError
        If `model` is no nn.Module.
    UnsupportedOperationError
        If a graph has nodes that reduce by maximum or product.

    Notes
    -----
    Algorithm 1 of Bellec et al. 2018 [1]_: w = s max(theta, 0), where only edges with theta > 0 exist. Each step moves
    theta by -lr s dL/dw - lr l1 + sqrt(2 lr T) noise; then edges with theta <= 0 are dropped and as many are drawn
    uniformly, without replacement, from all pairs that are no edges now, to start at theta = 1e-12. The sign s of a
    pair is that of its weight where it was an edge at the start, and else a hash of seed, edge set and pair, so that
    it costs no memory and does not depend on the order of events.

    Differs from the paper: edge sets that are dense have nothing to rewire and are stepped by SGD, signs free; an edge
    of weight 0 at the start is active with theta = 1e-12. With `group="graph"` places are drawn uniformly over all free
    pairs of the model; the authors' code first splits the deficit over layers by a categorical draw. Gradient, pull and
    noise are added up before edges are dropped, as in the paper; the authors' code leaves their order open, and where
    pull and noise come before the gradient most new edges are dropped before they see one.

    References
    ----------
    .. [1] Bellec, Kappel, Maass, Legenstein: Deep rewiring: training very sparse deep networks, ICLR 2018,
       arXiv 1711.05136.

    Examples
    --------
    >>> import deepgraph as dg
    >>> model = dg.MaskedDeepFFN(6, 3, [8], density=0.25, seed=0)
    >>> optimizer = DEEPR(model, lr=0.05, seed=0)
    >>> x = torch.randn(5, 6, generator=torch.Generator().manual_seed(0))
    >>> for _ in range(20):
    ...     optimizer.zero_grad()
    ...     model(x).square().sum().backward()
    ...     optimizer.step()
    >>> [edges.num_edges for edges in model.edge_sets]
    [12, 6]
    """

    growth = RandomGrowth()

    def __new__(cls, model: Any = None, *args: Any, **options: Any) -> Any:
        """Return the optimizer of parameters instead, where no model but an iterable of parameters is given."""
        if not is_parameters(model):
            return super().__new__(cls)
        return ThetaDEEPR(model, *args, **options)

    def __init__(
        self,
        model: nn.Module,
        lr: float = 0.2,
        l1: float = 1e-5,
        temperature: float | None = None,
        *,
        group: Grouping = "set",
        seed: Seed = None,
    ) -> None:
        if group not in ("set", "graph"):
            raise ArgumentError(f"group: expected 'set' or 'graph', got {group!r}")
        walkers = [one for one in weights_of(model) if not (rests(one) or self.leaves_alone(one.edge_set))]
        for one in walkers:
            refuse_reduced(one, type(self).__name__)
        walk = Langevin(model, walkers, lr=lr, l1=l1, temperature=temperature, generator=torch.Generator())
        super().__init__(model, walk, every=1, group=group, seed=root_seed(seed))
        self.walk = walk
        walk.generator = self.generator
        self.num_edges = [edges.num_edges for edges in self.edge_sets]
        self._first = [self._awake(index) for index in range(len(self.values))]

    def _awake(self, index: int) -> tuple[Tensor, Tensor]:
        """Return keys and signs (E,) of the edges of one set at the start, and give those of weight 0 a theta > 0."""
        one = self.values[index]
        src, dst = one.edge_set.pairs()
        weight = one.values()
        hashed = torch.from_numpy(pair_signs(self.seed, index, src, dst)).to(weight)
        sign = torch.where(weight == 0, hashed, weight.sign())
        if not self._dense[index]:
            one.set_values(torch.where(weight == 0, hashed * reborn(weight.dtype), weight))
        return torch.from_numpy(_keys(one.edge_set, src, dst)), sign.cpu().to(torch.int8)

    def signs(self, values: EdgeValues, u: Index, v: Index) -> npt.NDArray[np.int8]:
        """Return the sign, +1 or -1, that each pair (u, v) has as an edge of `values`, (K,)."""
        index = self._position(values)
        keys, first = (tensor.numpy() for tensor in self._first[index])
        hashed = pair_signs(self.seed, index, u, v)
        if not len(keys):
            return hashed
        wanted = _keys(values.edge_set, u, v)
        at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        found: npt.NDArray[np.int8] = np.where(keys[at] == wanted, first[at], hashed)
        return found

    def choose_drop(self, values: Sequence[EdgeValues], share: float) -> list[Index]:
        """Return the rows of each edge set with theta <= 0; where there are too many edges, the lowest theta too."""
        walked = [self.walk.theta[self._walker(one)].cpu() for one in values]
        theta = [(one.float() if one.dtype.itemsize < 4 else one).numpy() for one in walked]
        joined = np.concatenate(theta)
        if np.isnan(joined.min(initial=0.0)):
            # A comparison with NaN is false: the edge would stay for ever.
            raise ArgumentError(f"{type(self).__name__}: expected finite weights, got NaN; gradients diverged")
        rows = np.flatnonzero(joined <= 0)
        surplus = len(joined) - sum(self.num_edges[self._position(one)] for one in values)
        if surplus > len(rows):
            rows = lowest(joined, surplus)
        return split_rows(rows, [len(part) for part in theta])

    def grown_weights(self, values: EdgeValues, u: Index, v: Index) -> Tensor | Array:
        """Return the sign of each pair times theta = 1e-12, (K,)."""
        return self.signs(values, u, v) * reborn(values.parameter.dtype)

    def budget(self, step: int) -> int:
        """Return the number of edges of the model, the same at every step."""
        return sum(self.num_edges)

    def _grow_count(self, group: Group, dropped: Sequence[Index]) -> int:
        missing = sum(self.num_edges[index] - self.values[index].edge_set.num_edges for index in group.members)
        return missing + sum(len(rows) for rows in dropped)

    def _edit(self) -> bool:
        # Every step may replace edges; those that do are the ones that wrote a row.
        rows = len(self.log)
        super()._edit()
        return len(self.log) > rows

    def _walker(self, values: EdgeValues) -> int:
        return next(i for i, one in enumerate(self.walk.walkers) if one is values)

    def state_dict(self) -> dict[str, Any]:
        """Return the state of a `Rewirer`, and signs and numbers of the edges at the start."""
        state = super().state_dict()
        state["rewire"] |= {"num_edges": list(self.num_edges), "first": list(self._first)}
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict` returned; load the model first. Raises as `Rewirer.load_state_dict`."""
        super().load_state_dict(state_dict)
        self.num_edges = list(state_dict["rewire"]["num_edges"])
        self._first = [(keys.cpu(), signs.cpu()) for keys, signs in state_dict["rewire"]["first"]]


def reborn(dtype: torch.dtype) -> float:
    """Return theta of a just-grown edge: 1e-12, or the smallest normal number where that is larger (float16)."""
    return max(REBORN, torch.finfo(dtype).smallest_normal)


def _keys(edges: EdgeSet, u: Array, v: Array) -> npt.NDArray[np.int64]:
    """Return one number for each pair (K,), ascending in canonical order."""
    return u.astype(np.int64) * edges.num_targets + v
