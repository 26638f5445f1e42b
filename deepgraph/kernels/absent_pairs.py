"""`AbsentPairs`: the pairs of nodes that may become edges."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepgraph.errors import ArgumentError, CapacityError, EdgeError, ShapeError

__all__ = ["AbsentPairs"]

Int64 = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class AbsentPairs:
    """The admissible pairs that are no edges.

    Parameters
    ----------
    num_sources, num_targets : int
        Sources are 0..S-1 and targets 0..T-1; on a DAG both are the nodes.
    src, dst : (E,) int
        The pairs that are edges, in any order, without duplicates.
    stage : (N,) int, optional
        On a DAG: only pairs with stage[u] < stage[v] are admissible. Default: all pairs are.
    closed : (T,) bool, optional
        Targets that take no edges, such as inputs.

    Raises
    ------
    ShapeError
        If stage or closed do not have one entry per node, or src and dst differ in length.

    Examples
    --------
    >>> AbsentPairs(3, 3, [0], [2], stage=[0, 1, 2]).count
    2
    """

    num_sources: int
    num_targets: int
    src: Any
    dst: Any
    stage: Any = None
    closed: Any = None

    def __post_init__(self) -> None:
        for name in ("src", "dst"):
            object.__setattr__(self, name, np.asarray(getattr(self, name), dtype=np.int64).reshape(-1))
        if len(self.src) != len(self.dst):
            raise ShapeError(f"expected src and dst of the same length, got {len(self.src)} and {len(self.dst)}")
        for name in ("stage", "closed"):
            values = getattr(self, name)
            if values is not None and np.shape(values) != (self.num_targets,):
                raise ShapeError(f"expected {name} of shape ({self.num_targets},), got {np.shape(values)}")
        if self.stage is not None and self.num_sources != self.num_targets:
            raise ShapeError(
                f"expected as many sources as targets where stages are given, "
                f"got {self.num_sources} and {self.num_targets}"
            )

    @cached_property
    def source_order(self) -> Int64:
        """Return (S,), the sources by stage."""
        order: Int64 = np.arange(self.num_sources) if self.stage is None else np.argsort(self.stage, kind="stable")
        return order

    @cached_property
    def targets(self) -> Int64:
        """Return the targets that take edges, by stage."""
        order: Int64 = np.arange(self.num_targets) if self.stage is None else self.source_order
        return order if self.closed is None else order[~np.asarray(self.closed, dtype=bool)[order]]

    @cached_property
    def fan(self) -> Int64:
        """Return for each of `targets` how many of `source_order`, from the first on, may be its source."""
        if self.stage is None:
            return np.full(len(self.targets), self.num_sources)
        stage = np.asarray(self.stage)
        below: Int64 = np.searchsorted(stage[self.source_order], stage[self.targets], side="left")
        return below

    @cached_property
    def _starts(self) -> Int64:
        starts: Int64 = np.r_[0, np.cumsum(self.fan)].astype(np.int64)
        return starts

    @cached_property
    def places(self) -> tuple[Int64, Int64]:
        """Return the place of every source in `source_order` and of every target in `targets`, -1 where closed."""
        source, target = np.empty(self.num_sources, np.int64), np.full(self.num_targets, -1, np.int64)
        source[self.source_order] = np.arange(self.num_sources)
        target[self.targets] = np.arange(len(self.targets))
        return source, target

    @cached_property
    def placed(self) -> tuple[Int64, Int64]:
        """Return the places of the edges' sources, which ascend, and targets; none into closed targets."""
        if self.stage is None and self.closed is None and (self.src[1:] >= self.src[:-1]).all():
            return self.src, self.dst
        source, target = self.places[0][self.src], self.places[1][self.dst]
        source, target = source[target >= 0], target[target >= 0]
        order = np.argsort(source, kind="stable")
        return source[order], target[order]

    @cached_property
    def _present(self) -> Int64:
        """Return the sorted numbers of the edges among all admissible pairs, counted target by target."""
        source, target = self.places[0][self.src], self.places[1][self.dst]
        admissible = target >= 0
        admissible[admissible] = source[admissible] < self.fan[target[admissible]]
        return _distinct(np.sort(self._starts[target[admissible]] + source[admissible]))

    @property
    def num_edges(self) -> int:
        """Return the number of edges."""
        return len(self.src)

    @property
    def num_admissible(self) -> int:
        """Return the number of admissible pairs, edges or not."""
        return int(self._starts[-1])

    @cached_property
    def count(self) -> int:
        """Return the number of absent admissible pairs."""
        if self.stage is None and self.closed is None:
            return self.num_admissible - len(self._keys)
        return self.num_admissible - len(self._present)

    @cached_property
    def _keys(self) -> Int64:
        """Return the edges as ascending numbers src * num_targets + dst."""
        keys: Int64 = self.src * self.num_targets + self.dst
        return keys if (keys[1:] > keys[:-1]).all() else _distinct(np.sort(keys))

    @cached_property
    def compressed(self) -> tuple[Int64, NDArray[np.int32], NDArray[np.uint8]]:
        """Return (indptr (S + 1,), dst (P,), stays (P,)): pairs as compressed rows, and 1 for those that are edges."""
        src, dst = np.divmod(self._keys, max(self.num_targets, 1))
        indptr = np.r_[0, np.cumsum(np.bincount(src, minlength=self.num_sources))]
        return indptr.astype(np.int64), dst.astype(np.int32), np.ones(len(dst), np.uint8)

    def taken(self, u: Int64, v: Int64) -> NDArray[np.bool_]:
        """Return which of the pairs (u, v), each (K,), are edges."""
        wanted, keys = u * self.num_targets + v, self._keys
        at = np.searchsorted(keys, wanted)
        found: NDArray[np.bool_] = (
            keys[np.minimum(at, len(keys) - 1)] == wanted if len(keys) else np.zeros(len(u), bool)
        )
        return found

    def pairs_of(self, numbers: Int64) -> tuple[Int64, Int64]:
        """Return (u, v) of admissible pairs, edges or not, by their number, counted target by target."""
        if self.stage is None:
            at, u = np.divmod(numbers, self.num_sources)
            return u, self.targets[at]
        at = np.searchsorted(self._starts, numbers, side="right") - 1
        return self.source_order[numbers - self._starts[at]], self.targets[at]

    def take(self, numbers: Int64) -> tuple[Int64, Int64]:
        """Return (u, v) of absent pairs by their number 0..count-1, counted target by target."""
        gaps = self._present - np.arange(len(self._present))
        return self.pairs_of(numbers + np.searchsorted(gaps, numbers, side="right"))

    def check(self, k: int) -> None:
        """Raise unless 0 <= k <= count.

        Raises
        ------
        ArgumentError
            If k is negative.
        CapacityError
            If fewer than k pairs are absent.
        """
        if k < 0:
            raise ArgumentError(f"expected a number of pairs of at least 0, got {k}")
        if k > self.count:
            raise CapacityError(
                f"expected at most {self.count:,} new edges, got {k:,}: all other admissible pairs are edges already; "
                "ask for fewer, or drop edges first"
            )


def _distinct(numbers: Int64) -> Int64:
    """Return sorted numbers of pairs; EdgeError if one is there twice."""
    if (numbers[1:] == numbers[:-1]).any():
        raise EdgeError("expected edges without duplicates, got a pair twice; merge duplicates first")
    return numbers
