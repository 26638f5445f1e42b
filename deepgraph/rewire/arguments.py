"""Checks of what a rewirer is given."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from deepgraph.errors import ArgumentError, DtypeError, EditRefusedError, UnsupportedOperationError
from deepgraph.rewire.groups import Group
from deepgraph.rewire.growth import Growth
from deepgraph.sparse.values import EdgeValues, edge_values

__all__ = [
    "at_least_one",
    "at_least_zero",
    "check_ready",
    "check_room",
    "check_scales",
    "function_or_none",
    "growth_object",
    "held_values",
    "is_number",
    "rests",
    "share_or_function",
    "values_of",
    "weights_of",
]


def is_number(value: Any) -> bool:
    """Return whether a value is a real number, NaN and infinity among them, and no bool."""
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def share_or_function(name: str, value: Any) -> Any:
    """Return a share in (0, 1] or a function; ArgumentError for anything else."""
    if callable(value) or (is_number(value) and 0 < value <= 1):
        return value
    raise ArgumentError(f"{name}: expected a share in (0, 1], or a function of the step, got {value!r}")


def function_or_none(name: str, value: Any) -> Any:
    """Return a function or None; DtypeError for anything else."""
    if value is None or callable(value):
        return value
    raise DtypeError(f"{name}: expected a function, or None for that of the algorithm, got {value!r}")


def growth_object(value: Any) -> Growth:
    """Return a growth; DtypeError for anything else, a class among them."""
    if isinstance(value, Growth):
        return value
    raise DtypeError(f"growth: expected a Growth, such as RandomGrowth() or GradientGrowth(), got {value!r}")


def at_least_zero(name: str, value: Any) -> float:
    """Return a finite number >= 0; ArgumentError for anything else."""
    if not is_number(value) or not 0 <= value < math.inf:
        raise ArgumentError(f"{name}: expected a finite number >= 0, got {value!r}")
    return float(value)


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


def weights_of(model: Any) -> list[EdgeValues]:
    """Return the edge values of a model as `values_of`; UnsupportedOperationError on the device meta."""
    values = values_of(model)
    if any(one.parameter.is_meta for one in values):
        raise UnsupportedOperationError(
            "model: expected weights, got a model on the device meta, which has none; call "
            "model.to_empty(device='cpu') and load a state first"
        )
    return values


def held_values(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[EdgeValues]:
    """Return the edge values of a model as `weights_of`; ArgumentError where the optimizer lacks some that train."""
    values = weights_of(model)
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    missing = [one.edge_set.name for one in values if id(one.parameter) not in held and one.parameter.requires_grad]
    if missing:
        raise ArgumentError(
            f"optimizer: expected one that holds the model's weights, got one without those of {', '.join(missing)}; "
            "build it from model.parameters()"
        )
    return values


def rests(values: EdgeValues) -> bool:
    """Return whether weights are frozen: what does not train says nothing about which edges to drop and to grow."""
    return not values.parameter.requires_grad


def check_ready(values: Sequence[EdgeValues], left_alone: Sequence[bool]) -> None:
    """Raise EditRefusedError between a forward and its backward, and where weights were frozen after the start."""
    for one, alone in zip(values, left_alone, strict=True):
        one.check_idle("edit edges")
        if rests(one) and not alone:
            raise EditRefusedError(
                f"{one.edge_set.name}: expected weights that train, as when the rewirer was made, got frozen ones; "
                "make a new rewirer, which leaves frozen weights alone, or let them train; nothing was changed"
            )


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
