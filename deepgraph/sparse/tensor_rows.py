"""Tensors that hold one entry for each edge: moved along an edit, resized, written at some places."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from deepgraph.graph.arrays import Array
from deepgraph.graph.row_moves import RowMoves

__all__ = ["as_tensor", "give", "moved_rows", "put"]

_BITS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def as_tensor(array: Array) -> Tensor:
    """Return an array as a tensor; a read-only one is copied, since torch knows no read-only tensors."""
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def moved_rows(data: Tensor, moves: RowMoves, room: int) -> Tensor:
    """Return `data` (capacity,) after an edit of its rows as (room,): grown rows and the room behind are 0."""
    fresh = data.new_empty(room)
    rows = fresh[: moves.num_after]
    fresh[moves.num_after :] = 0
    if data.device.type == "cpu":
        # numpy has no bfloat16; to be moved, bits of the same size do.
        bits = _BITS[data.element_size()]
        held = data.detach().contiguous().view(bits)[: moves.num_before]
        moves.apply(held.numpy(), out=rows.view(bits).numpy())
    else:
        gather = torch.from_numpy(moves.gather()).to(data.device)
        kept = gather >= 0
        rows.zero_()[kept] = data[gather[kept]]
    return fresh


def give(parameter: nn.Parameter, fresh: Tensor) -> None:
    """Give a parameter a tensor of another shape; its gradient is dropped."""
    # autograd remembers the shape for as long as any result of the parameter is alive; it forgets it only where the
    # dtype changes, so the parameter passes through another one.
    other = torch.float64 if fresh.dtype == torch.float32 else torch.float32
    parameter.grad = None
    parameter.data = fresh.new_empty(0, dtype=other)
    parameter.data = fresh


def put(tensor: Tensor, index: Tensor, values: Tensor | float) -> None:
    """Write elements of a tensor of any memory format, given by their places (K,) in row-major order."""
    if tensor.is_contiguous():
        tensor.view(-1)[index] = values
    else:
        tensor[torch.unravel_index(index, tensor.shape)] = values
