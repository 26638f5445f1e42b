"""How a neuron joins its inputs: names and codes, and maximum and product nodes with torch operations.

A node that reduces by "max" or "prod" computes `act(b_v + max or prod over edges (u, v) of w_uv a_u)`. Without edges it
computes `act(b_v)`, like a sum.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepgraph.errors import ArgumentError
from deepgraph.kernels.topology import Topology

__all__ = ["MAX", "PROD", "REDUCTIONS", "SUM", "Windows", "reduction", "reduction_windows"]

REDUCTIONS = ("sum", "max", "prod")
"""Names, in the order of their codes."""

SUM, MAX, PROD = range(3)

_CHUNK_ELEMENTS = 4_000_000


def reduction(name: str) -> int:
    """Return the code of a reduction.

    Raises
    ------
    ArgumentError
        If there is none of that name.

    Examples
    --------
    >>> reduction("max")
    1
    """
    if name not in REDUCTIONS:
        raise ArgumentError(f"unknown reduction {name!r}: expected one of {', '.join(REDUCTIONS)}")
    return REDUCTIONS.index(name)


@dataclass(frozen=True)
class Windows:
    """Nodes of one stage and one reduction with about as many edges each, as a table padded with the last edge.

    Parameters
    ----------
    code : int
        MAX or PROD.
    rows : (R,) int64
        The nodes, counted among the computed rows of their stage.
    ranks : (R,) int64
        The nodes again, by rank.
    edges : (R, K) int64
        Canonical edges into each node, ascending.
    sources : (R, K) int64
        Ranks of their sources.
    padding : (R, K) bool
        Which entries stand for no edge.
    """

    code: int
    rows: Tensor
    ranks: Tensor
    edges: Tensor
    sources: Tensor
    padding: Tensor

    def _tables(self) -> tuple[Tensor, ...]:
        return self.rows, self.ranks, self.edges, self.sources, self.padding

    def to(self, device: torch.device) -> Windows:
        """Return the same on a device."""
        return Windows(self.code, *(table.to(device) for table in self._tables()))

    def chunks(self, batch: int) -> Iterator[Windows]:
        """Yield parts of the nodes, so that a table of activations (R, K, B) stays within bounds."""
        step = max(1, _CHUNK_ELEMENTS // max(1, self.edges.shape[1] * batch))
        for at in range(0, len(self.rows), step):
            yield Windows(self.code, *(table[at : at + step] for table in self._tables()))

    def factors(self, values: Tensor, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return weights (R, K, 1) and activations (R, K, B) of the edges; an entry that pads has weight 1, value e.

        e is the element that changes nothing: minus infinity for a maximum, 1 for a product.
        """
        w = values[self.edges].unsqueeze(2).masked_fill(self.padding.unsqueeze(2), 1)
        a = outputs[self.sources].masked_fill(self.padding.unsqueeze(2), -torch.inf if self.code == MAX else 1)
        return w, a

    def reduce(self, values: Tensor, outputs: Tensor) -> Tensor:
        """Return the maxima or products (R, B) for values (E,) and outputs (N, B)."""
        w, a = self.factors(values, outputs)
        return (w * a).amax(1) if self.code == MAX else (w * a).prod(1)

    def gradients(self, dz: Tensor, values: Tensor, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return (of the sources' outputs (R, K, B), of the values (R, K)) for the gradients dz (R, B).

        The gradient of a maximum goes to its first maximal edge; that of a product leaves each factor out in turn,
        without a division.
        """
        w, a = self.factors(values, outputs)
        p = w * a
        if self.code == MAX:
            share = torch.zeros_like(p).scatter_(1, p.max(1, keepdim=True).indices, dz.unsqueeze(1))
        else:
            one = torch.ones_like(p[:, :1])
            before = torch.cat([one, p[:, :-1]], 1).cumprod(1)
            behind = torch.cat([one, p.flip(1)[:, :-1]], 1).cumprod(1).flip(1)
            share = dz.unsqueeze(1) * before * behind
        share = share.masked_fill(self.padding.unsqueeze(2), 0)
        a = a.masked_fill(self.padding.unsqueeze(2), 0)
        return share * w, (share * a).sum(2)


def reduction_windows(topology: Topology, begin: int, end: int, local: NDArray[np.int64]) -> list[Windows]:
    """Return the maximum and product nodes of the ranks `begin:end` that have edges.

    Parameters
    ----------
    topology : Topology
    begin, end : int
        One stage.
    local : (c,) int64
        Its computed rows, counted from `begin`.

    Examples
    --------
    >>> t = Topology(3, [0, 1], [2, 2], [0, 0, 1], [0, 1], [2], [0, 0, 0], reduce=[0, 0, MAX])
    >>> reduction_windows(t, 2, 3, np.array([0]))[0].reduce(torch.ones(2), torch.tensor([[5.0], [7.0], [0.0]]))
    tensor([[7.]])
    """
    perm, source = topology.canonical_by_target
    degree = np.diff(topology.target_indptr)[begin + local]
    codes = topology.ranked_reduce[begin + local]
    # Degrees between two powers of two share a table, of which at most half is padding.
    width = np.ceil(np.log2(np.maximum(degree, 1))).astype(np.int64)
    found = []
    for code in (MAX, PROD):
        mine = (codes == code) & (degree > 0)
        for size in np.unique(width[mine]):
            rows = np.flatnonzero(mine & (width == size))
            ranks = begin + local[rows]
            count = degree[rows]
            column = np.arange(count.max())
            padding = column >= count[:, None]
            at = topology.target_indptr[ranks][:, None] + np.minimum(column, count[:, None] - 1)
            tables = (rows, ranks, perm[at].astype(np.int64), source[at].astype(np.int64), padding)
            found.append(Windows(code, *map(torch.from_numpy, tables)))
    return found
