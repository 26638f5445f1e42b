"""`Options`: what every rewirer takes by name, in one place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np
import numpy.typing as npt

from deepgraph.graph.edge_set import EdgeSet
from deepgraph.rewire.groups import Group, Grouping
from deepgraph.rewire.schedule import Decay
from deepgraph.sparse.randomness import Seed

if TYPE_CHECKING:
    from deepgraph.rewire.growth import Growth
    from deepgraph.sparse.values import EdgeValues

__all__ = ["Drop", "GroupBy", "Grown", "Options"]

Index = npt.NDArray[np.int64]

Drop = Callable[["EdgeValues"], Any]
"""From edge values to a score (E,) for each edge; the lowest go."""

Grown = Callable[["EdgeValues", Index, Index], Any]
"""From edge values and pairs (u, v), each (K,), to the weights (K,) that they start with as edges."""

GroupBy = Callable[[Sequence[EdgeSet], Sequence[bool]], list[Group]]
"""From edge sets, and which of them are dense, to those that share a budget."""


class Options(TypedDict, total=False):
    """The keywords of `Rewirer`; see there."""

    every: int
    until: int | None
    drop_fraction: float | Callable[[int], float] | None
    decay: Decay | None
    group: Grouping | GroupBy | None
    average: int
    drop: Drop | None
    growth: Growth | None
    grown: Grown | None
    seed: Seed
