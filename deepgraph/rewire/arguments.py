"""Checks of what a rewirer is given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from deepgraph.errors import ArgumentError, DtypeError
from deepgraph.rewire.groups import Group
from deepgraph.sparse.values import EdgeValues, edge_values

__all__ = ["at_least_one", "check_room", "check_scales", "held_values", "share_or_function", "values_of"]


def share_or_function(name: str, value: Any) -> Any:
    """Return a share in (0, 1] or a function; ArgumentError for anything else."""
    if callable(value) or (isinstance(value, (int, float, np.number)) and 0 < value <= 1):
        return value
    raise ArgumentError(f"{name}: expected a share in (0, 1], or a function of the step, got {value!r}")


def at_least_one(name: str, value: Any) -> int:
    """Return a number of steps; ArgumentError unless it is an integer >= 1."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ArgumentError(f"{name}: expected a number of steps, an integer >= 1, got {value!r}")
    return int(value)


def values_of(model: Any) -> list[EdgeValues]:
    """Return the edge values of a model; DtypeError for anything else, ArgumentError where there are none."""
    if not isinstance(model, nn.Module):
        raise DtypeError(f"model: expected an nn.Module with edge sets, got {type(model).__name__}")
    values = edge_values(model)
    if not values:
        raise ArgumentError(
            f"model: expected a model with edge sets, got a {type(model).__name__} without any; "
            "build one with MaskedDeepFFN, MaskedDeepDAN or sparsify"
        )
    return values


def held_values(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[EdgeValues]:
    """Return the edge values of a model as `values_of`; ArgumentError where the optimizer does not hold them."""
    values = values_of(model)
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    missing = [one.edge_set.name for one in values if id(one.parameter) not in held]
    if missing:
        raise ArgumentError(
            f"optimizer: expected one that holds the model's weights, got one without those of {', '.join(missing)}; "
            "build it from model.parameters()"
        )
    return values


def check_room(values: Sequence[EdgeValues], groups: Sequence[Group]) -> None:
    """Raise ArgumentError if an edge set may outgrow its parameter, whose length several processes rely on."""
    for group in groups:
        members = [values[index] for index in group.members] if len(group.members) > 1 else []
        total = sum(one.edge_set.num_edges for one in members)
        for one in members:
            needed = min(total, one.edge_set.num_admissible)
            if one.capacity < needed:
                raise ArgumentError(
                    f"model: expected room for {needed} edges in {one.edge_set.name}, which shares a budget with other "
                    f"edge sets, got {one.capacity}; call reserve({needed}) on its edge values before "
                    "DistributedDataParallel wraps the model"
                )


def check_scales(values: Sequence[EdgeValues], groups: Sequence[Group]) -> None:
    """Raise ArgumentError if a group ranks gradients known by factors against dense ones: their scales differ."""
    for group in groups:
        kinds = {values[index].has_factors for index in group.members}
        if group.scaled and len(kinds) > 1:
            raise ArgumentError(
                "group: expected 'set' or 'target' for a model that mixes linear layers or graphs of deepgraph with "
                "sparsified modules or convolutions, got 'graph': their gradients cannot be scaled alike"
            )
