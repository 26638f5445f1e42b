"""Which edge sets share a budget, and against what their pairs are ranked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from deepgraph.errors import ArgumentError
from deepgraph.graph.edge_set import EdgeSet

__all__ = ["Group", "Grouping", "groups_of"]

Grouping: TypeAlias = Literal["auto", "set", "target", "graph"]


@dataclass(frozen=True)
class Group:
    """Edge sets that share one budget.

    Attributes
    ----------
    members : tuple of int
        Positions in the list of edge sets.
    scaled : bool
        Divide gradients by the root mean square of dZ_v over the batch, so that early and late neurons compare.
    per_target : bool
        Every target neuron keeps its number of incoming edges.
    """

    members: tuple[int, ...]
    scaled: bool = False
    per_target: bool = False


def groups_of(edge_sets: Sequence[EdgeSet], grouping: Grouping, dense: Sequence[bool]) -> list[Group]:
    """Return the groups of a model's edge sets; sets marked `dense` have no absent pairs and are in none.

    Parameters
    ----------
    edge_sets : sequence of EdgeSet
    grouping : {"auto", "set", "target", "graph"}
        "set": each for itself. "target": each for itself, every target keeps its fan-in. "graph": all together, with
        scaled gradients. "auto": "graph" for the edges of a DAG, "set" for those between two layers.
    dense : sequence of bool

    Raises
    ------
    ArgumentError
        If `grouping` is none of these.

    Examples
    --------
    >>> edges = EdgeSet.from_pairs([0], [1], 2, 2)
    >>> groups_of([edges, edges, edges], "graph", [True, False, False])
    [Group(members=(1, 2), scaled=True, per_target=False)]
    """
    if grouping not in get_args(Grouping):
        raise ArgumentError(f"group: expected one of {get_args(Grouping)}, got {grouping!r}")
    sparse = [index for index, full in enumerate(dense) if not full]
    if grouping == "graph":
        return [Group(tuple(sparse), scaled=True)] if sparse else []
    return [
        Group((index,), grouping == "auto" and edge_sets[index].stage is not None, grouping == "target")
        for index in sparse
    ]
