"""Checks of a rewirer's saved state, before anything of it is taken over."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from deepgraph.errors import ArgumentError, DtypeError
from deepgraph.graph.edge_set import EdgeSet

if TYPE_CHECKING:
    from deepgraph.rewire.rewirer import Rewirer

__all__ = ["checked_state", "structure_of"]


def structure_of(edges: EdgeSet) -> str:
    """Return a SHA-256 of sizes and pairs, without weights: equal for the same edges.

    Examples
    --------
    >>> one, other, wider = (EdgeSet.from_pairs([0], [1], 2, targets) for targets in (2, 2, 3))
    >>> structure_of(one) == structure_of(other), structure_of(one) == structure_of(wider)
    (True, False)
    """
    sha = hashlib.sha256(f"{edges.num_sources} {edges.num_targets}".encode())
    sha.update(np.ascontiguousarray(edges.indptr, np.int64).tobytes())
    sha.update(np.ascontiguousarray(edges.dst, np.int32).tobytes())
    return sha.hexdigest()


def checked_state(state_dict: Any, rewirer: Rewirer) -> dict[str, Any]:
    """Return the part "rewire" of a state dict that a rewirer can go on from.

    Raises
    ------
    DtypeError
        If it is no mapping.
    ArgumentError
        If it is that of a plain optimizer, of another algorithm, of another wrapped optimizer, of another model, or of
        other edges than those of the model now.
    """
    if not isinstance(state_dict, Mapping):
        raise DtypeError(f"state_dict: expected what state_dict() returned, got {type(state_dict).__name__}")
    name = type(rewirer).__name__
    rewire: Any = state_dict.get("rewire")
    found = "a plain optimizer" if rewire is None else rewire.get("algorithm", "no rewirer")
    if found != name:
        raise ArgumentError(f"state_dict: expected the state of a {name}, got that of {found}")
    wrapped = type(rewirer.optimizer).__name__
    if rewire.get("optimizer", wrapped) != wrapped:
        raise ArgumentError(
            f"state_dict: expected the state of a {name} around {wrapped}, got one around {rewire['optimizer']}; "
            "wrap the optimizer that was saved"
        )
    sets = rewirer.edge_sets
    if len(rewire["capacities"]) != len(sets):
        raise ArgumentError(
            f"state_dict: expected the state for {len(sets)} edge sets, as the model has, got that for "
            f"{len(rewire['capacities'])}; load it into the model that was saved"
        )
    for edges, saved in zip(sets, rewire.get("structures", ()), strict=False):
        if structure_of(edges) != saved:
            raise ArgumentError(
                f"state_dict: expected the state for the edges of {edges.name} as they are now, got that for other "
                "edges; load the model's state first, then that of the rewirer"
            )
    return dict(rewire)
