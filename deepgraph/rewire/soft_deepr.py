"""`SoftDEEPR`: soft deep rewiring, where dormant edges walk too and no number of edges is kept."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from deepgraph.errors import ArgumentError, TooLargeError
from deepgraph.graph.arrays import Array
from deepgraph.graph.edge_set import EdgeSet
from deepgraph.rewire.arguments import at_least_zero, is_number
from deepgraph.rewire.deepr import DEEPR, reborn
from deepgraph.rewire.editing import Pairs
from deepgraph.rewire.groups import Group
from deepgraph.rewire.langevin import AUTHORS_NOISE
from deepgraph.rewire.theta import ThetaSoftDEEPR, is_parameters
from deepgraph.sparse.randomness import Seed, numpy_stream
from deepgraph.sparse.values import EdgeValues

__all__ = ["SoftDEEPR"]

Index = npt.NDArray[np.int64]

LIMIT = 1 << 30
"""Most bytes of theta, which is kept for every pair."""


class SoftDEEPR(DEEPR):
    """Soft deep rewiring: every pair has a theta that walks at random; those above 0 are the edges.

    An optimizer of its own. The number of edges follows from temperature and l1, and is not kept.

    Parameters
    ----------
    model, lr, l1, temperature, seed
        As for `DEEPR`. Edges of sets that are not dense walk; all other parameters are stepped by plain SGD.
    theta_min : float or None
        Where dormant pairs are reflected, < 0. None: -(1 - p) / (p beta) of each edge set, with its density p at the
        start and beta = l1 / temperature, so that about p of the pairs are edges where the loss is flat.

    Raises
    ------
    ArgumentError, DtypeError
        As `DEEPR`; if `theta_min` is not negative, or is None while `l1` is 0.
    TooLargeError
        If theta of all pairs takes more than 1 GiB: dormant pairs have a state here, of which DEEPR has none.

    Notes
    -----
    Algorithm 2 of Bellec et al. 2018 [1]_: theta moves by -lr s dL/dw - lr l1 where it is above 0, by the noise
    everywhere, and not below theta_min. Signs are those of `DEEPR`. Dormant pairs start uniformly in (theta_min, 0],
    which is where the walk takes them by itself.

    Differs from the paper: theta is clipped at theta_min after the noise, on edges too; a pair that becomes an edge
    starts with the theta it has walked to and takes its first gradient at the next step, as in the authors' code.

    References
    ----------
    .. [1] Bellec, Kappel, Maass, Legenstein: Deep rewiring: training very sparse deep networks, ICLR 2018,
       arXiv 1711.05136.

    Examples
    --------
    >>> import deepgraph as dg
    >>> model = dg.MaskedDeepFFN(6, 3, [8], density=0.25, seed=0)
    >>> optimizer = SoftDEEPR(model, lr=0.05, l1=1e-3, temperature=1e-4, seed=0)
    >>> for _ in range(20):
    ...     optimizer.zero_grad()
    ...     model(torch.ones(5, 6)).square().sum().backward()
    ...     optimizer.step()
    >>> optimizer.budget(20) == model.num_edges, optimizer.log[-1]["edges"] != 18
    (True, True)
    """

    def __new__(cls, model: Any = None, *args: Any, **options: Any) -> Any:
        """Return the optimizer of parameters instead, where no model but an iterable of parameters is given."""
        if not is_parameters(model):
            return super().__new__(cls)
        return ThetaSoftDEEPR(model, *args, **options)

    def __init__(
        self,
        model: nn.Module,
        lr: float = 0.05,
        l1: float = 1e-5,
        temperature: float | None = None,
        *,
        theta_min: float | None = None,
        seed: Seed = None,
    ) -> None:
        if theta_min is None and at_least_zero("l1", l1) == 0:
            raise ArgumentError(f"theta_min: expected a number < 0 where l1 is {l1}, got None")
        if theta_min is not None and not (is_number(theta_min) and -math.inf < theta_min < 0):
            raise ArgumentError(f"theta_min: expected a number < 0, got {theta_min!r}")
        super().__init__(model, lr, l1, temperature, group="set", seed=seed)
        heat = lr * AUTHORS_NOISE**2 / 2 if temperature is None else temperature
        size = sum(edges.num_sources * edges.num_targets for edges in self.edge_sets) * 8
        if size > LIMIT:
            raise TooLargeError(
                f"model: expected theta of all pairs to take at most 1 GiB, got {size / 2**30:.1f} GiB; use DEEPR"
            )
        self.floors: list[float] = []
        self.dormant: list[Tensor] = []
        for index, edges in enumerate(self.edge_sets):
            share = max(edges.density, 1e-12)
            found = theta_min if theta_min is not None else -max((1 - share) * heat / (share * l1), 1e-300)
            self.floors.append(float(found))
            drawn = numpy_stream(self.seed, 1, index).random((edges.num_sources, edges.num_targets))
            self.dormant.append(torch.from_numpy(drawn * found))

    def grown_weights(self, values: EdgeValues, u: Index, v: Index) -> Tensor | Array:
        """Return the sign of each pair times its theta, (K,)."""
        theta = self.dormant[self._position(values)].numpy()[u, v]
        weight: Array = self.signs(values, u, v) * np.maximum(theta, reborn(values.parameter.dtype))
        return weight

    def budget(self, step: int) -> int:
        """Return the number of edges that the model has now: it is not kept."""
        return sum(edges.num_edges for edges in self.edge_sets)

    def _changes(self, group: Group, rows: Sequence[Index]) -> list[tuple[Pairs, Pairs]]:
        """Return what falls to 0 and what rises above it, after the dormant pairs have walked."""
        (index,) = group.members
        one, theta = self.values[index], self.dormant[index]
        edges = one.edge_set
        src, dst = (side.astype(np.int64) for side in edges.pairs())
        walked = self.walk.theta[self._walker(one)].cpu().double().numpy()
        theta += self._noise() * self.walk.normal(one, theta.shape, theta.dtype)
        theta.clamp_(min=self.floors[index])
        risen = theta.numpy() > 0
        risen[src, dst] = False
        u, v = np.nonzero(risen)
        up = _admissible(edges, u, v)
        u, v = u[up], v[up]
        falls = walked <= 0
        gone = src[falls], dst[falls]
        theta.numpy()[gone] = np.maximum(walked[falls], self.floors[index])
        return [(gone, (u, v))]

    def _noise(self) -> float:
        group = next(group for group in self.param_groups if group["edges"])
        lr, temperature = float(group["lr"]), group["temperature"]
        return lr * AUTHORS_NOISE if temperature is None else math.sqrt(2 * lr * temperature)

    def state_dict(self) -> dict[str, Any]:
        """Return the state of `DEEPR`, and theta of all pairs."""
        state = super().state_dict()
        state["rewire"] |= {"dormant": [theta.clone() for theta in self.dormant], "floors": list(self.floors)}
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict` returned; load the model first. Raises as `Rewirer.load_state_dict`."""
        super().load_state_dict(state_dict)
        self.dormant = [theta.cpu().clone() for theta in state_dict["rewire"]["dormant"]]
        self.floors = list(state_dict["rewire"]["floors"])


def _admissible(edges: EdgeSet, u: Index, v: Index) -> npt.NDArray[np.bool_]:
    """Return which pairs (K,) may be edges."""
    if edges.stage is None:
        return np.ones(len(u), bool)
    up: npt.NDArray[np.bool_] = edges.stage[u] < edges.stage[v]
    return up if edges.closed is None else up & ~edges.closed[v]
