"""Sums over places that an index names: what scatter_add, index_add, index_put and fold have in common."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from deepgraph.transform.neurons import unit
from deepgraph.transform.operands import Term
from deepgraph.transform.provenance import CONSTANT
from deepgraph.transform.rules import Call
from deepgraph.transform.traced import Array

__all__ = ["accumulate", "accumulate_put", "constant_index", "places"]


def accumulate_put(call: Call) -> Tensor:
    """Return ids of index_put with accumulate=True: self, plus values at the indexed places."""
    base = call["self"]
    indices = tuple(slice(None) if index is None else constant_index(call, index) for index in call["indices"])
    target = places(base)[indices]
    return accumulate(call, base, call["values"].expand(target.shape), target)


def constant_index(call: Call, index: Tensor) -> Tensor:
    """Return an index on the CPU; one that depends on the input marks the graph."""
    if call.tracked(index):
        call.tracer.input_dependent = True
    return index.cpu()


def places(tensor: Tensor) -> Tensor:
    """Return the flat index of every element of a tensor, int64 of its shape."""
    return torch.arange(tensor.numel()).view(tensor.shape)


def accumulate(call: Call, base: Tensor, source: Tensor, target: Tensor, factor: float = 1.0) -> Tensor:
    """Return ids of base plus factor times the source elements whose target is the place, int64 of base's shape.

    Parameters
    ----------
    call : Call
        The operation.
    base, source : torch.Tensor
        What is added to, and what is added.
    target : torch.Tensor, int64, of source's shape
        Flat index into base, -1 for none.
    factor : float
        On the source.
    """
    goal = target.reshape(-1).numpy()
    order = np.argsort(goal, kind="stable")
    order = order[goal[order] >= 0]
    rank = _rank_in_group(goal[order])
    ids, values = call.ids(source).reshape(-1), source.detach().cpu().reshape(-1)
    # Flattened, a tensor may be a copy, which has no ids.
    terms = [Term(base.reshape(-1), ids=call.ids(base).reshape(-1))]
    for number in range(int(rank.max(initial=-1)) + 1):
        mine = torch.from_numpy(order[rank == number])
        where = torch.from_numpy(goal[order[rank == number]])
        column, value = torch.full((base.numel(),), CONSTANT), torch.zeros(base.numel(), dtype=torch.float64)
        column[where], value[where] = ids[mine], values[mine].double()
        terms.append(Term(value, factor, column))
    return unit(call, terms, (base.numel(),), kind="pool").view(base.shape)


def _rank_in_group(groups: Array) -> Array:
    """Return how many equal ones come before each entry of a sorted array.

    Examples
    --------
    >>> _rank_in_group(np.array([3, 3, 5, 5, 5])).tolist()
    [0, 1, 0, 1, 2]
    """
    rank: Array = np.arange(len(groups)) - np.searchsorted(groups, groups)
    return rank
