"""Where compiled loops find the values of edges: each weight tensor stays where it is, by address."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepgraph.kernels.topology import Topology

__all__ = ["Parts", "Values", "steps"]


def steps(to: NDArray[np.int32], origin: NDArray[np.int32], count: int | None = None) -> NDArray[Any]:
    """Return to - origin (E,) as int16 where that fits, else int32; both are below `count` where that is given.

    Examples
    --------
    >>> steps(np.array([5, 9]), np.array([2, 11]))
    array([ 3, -2], dtype=int16)
    >>> steps(np.array([40_000]), np.array([0])).dtype
    dtype('int32')
    """
    step = np.subtract(to, origin, dtype=np.int32)
    limits = np.iinfo(np.int16)
    fits = (
        (count is not None and count <= limits.max)
        or step.size == 0
        or (limits.min <= step.min() and step.max() <= limits.max)
    )
    step = step.astype(np.int16) if fits else step
    step.flags.writeable = False
    return step


@dataclass(frozen=True)
class Parts:
    """How the edges of a topology are split over weight tensors.

    Parameters
    ----------
    topology : Topology
    bounds : (P + 1,) int64
        Canonical edges bounds[k]:bounds[k + 1] are those of tensor k.
    part : (N,) int32
        Tensor of each position's out-edges.
    by_source : bool
        Whether no position has out-edges in several tensors.
    by_target : bool
        Whether the target-major order has the edges of each tensor in the same range.
    """

    topology: Topology
    bounds: NDArray[np.int64]
    part: NDArray[np.int32]
    by_source: bool
    by_target: bool
    _known: list[tuple[list[int], NDArray[np.int64]]] = field(default_factory=lambda: [([], np.empty(0, np.int64))])

    @staticmethod
    def of(topology: Topology) -> Parts:
        """Return the parts of a topology.

        Examples
        --------
        >>> t = Topology(3, [0, 1], [1, 2], [0, 1, 2], inputs=[0], outputs=[2], activation=[0] * 3, splits=(1, 1))
        >>> Parts.of(t).part.tolist(), Parts.of(t).by_source
        ([0, 1, 1], True)
        """
        bounds = np.r_[0, np.cumsum(topology.splits)].astype(np.int64)
        if topology.part_of is not None:
            return Parts(topology, bounds, topology.part_of, True, True)
        last, indptr = len(bounds) - 2, topology.source_indptr
        part = np.minimum(np.searchsorted(bounds, indptr[:-1], side="right") - 1, last).astype(np.int32)
        by_source = bool((indptr[1:] <= bounds[part + 1]).all())
        perm = topology.target_perm
        # The edges of a target ascend, so the first and the last one speak for those between.
        cuts = np.unique(np.concatenate([topology.target_indptr, bounds]))
        at = np.searchsorted(bounds, cuts[:-1], side="right") - 1
        ends = perm[cuts[:-1]] >= bounds[at], perm[cuts[1:] - 1] < bounds[at + 1]
        by_target = last == 0 or all(side.all() for side in ends)
        return Parts(topology, bounds, part, by_source, by_target)

    def addresses(self, weights: list[Tensor]) -> NDArray[np.int64]:
        """Return (P,): where edge 0 of each weight tensor would be."""
        places = [weights[0].element_size(), *[weight.data_ptr() for weight in weights]]
        known, found = self._known[0]
        if places != known:
            found = np.array(places[1:]) - places[0] * self.bounds[:-1]
            self._known[0] = places, found
        return found


class Values:
    """The weight tensors of one pass.

    Parameters
    ----------
    parts : Parts
    weights : list of (capacity,) Tensor
        Contiguous numbers in memory that outlive the pass.
    """

    def __init__(self, parts: Parts, weights: list[Tensor]) -> None:
        self.parts, self.weights, self._joined = parts, weights, Tensor()
        self._addresses = parts.addresses(weights)

    @staticmethod
    def of(parts: Parts, weights: list[Tensor]) -> Values:
        """Return the values of a list of tensors.

        Examples
        --------
        >>> t = Topology(2, [0], [1], [0, 1], inputs=[0], outputs=[1], activation=[0, 0])
        >>> values = Values.of(Parts.of(t), [torch.tensor([3.0])])
        >>> values.by_target[1].tolist()
        [0, 1]
        """
        return Values(parts, weights)

    def by_node(self, whole: bool = False) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Return (addresses (P,), part (N,)): where edge 0 of a tensor would be, and which one a position has.

        With `whole` every position has one tensor, of all edges.
        """
        if self.parts.by_source and not (whole and len(self.weights) > 1):
            return self._addresses, self.parts.part
        return self._join(), np.zeros_like(self.parts.part)

    @property
    def by_target(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return (addresses (P,), bounds (P + 1,)) of the tensors' ranges in target-major order."""
        if self.parts.by_target:
            return self._addresses, self.parts.bounds
        return self._join(), self.parts.bounds[[0, -1]]

    def _join(self) -> NDArray[np.int64]:
        counts = np.diff(self.parts.bounds).tolist()
        self._joined = torch.cat([weight[:count] for weight, count in zip(self.weights, counts, strict=True)])
        return np.array([self._joined.data_ptr()])
