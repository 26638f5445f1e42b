"""Weights of the `csr` storage: one-dimensional tensors of edge values with room to grow."""

from __future__ import annotations

import torch
from torch import Tensor

from deepgraph.errors import ShapeError
from deepgraph.kernels.topology import Topology

__all__ = ["check_values", "live_parts", "live_values", "split_gradient", "values_view"]


def check_values(topology: Topology, weights: list[Tensor]) -> None:
    """Raise unless each tensor is one-dimensional and holds at least the edges of its split.

    Raises
    ------
    ShapeError
        If the number of tensors, their dimension or their length does not fit `topology.splits`.

    Examples
    --------
    >>> t = Topology(2, [0], [1], [0, 1], inputs=[0], outputs=[1], activation=[0, 0])
    >>> check_values(t, [torch.zeros(5)])
    """
    splits = topology.splits
    fits = len(weights) == len(splits) and all(
        weight.dim() == 1 and weight.shape[0] >= count for weight, count in zip(weights, splits, strict=True)
    )
    if not fits:
        raise ShapeError(
            f"expected {len(splits)} one-dimensional weight tensors with room for {splits} edges, "
            f"got shapes {[tuple(weight.shape) for weight in weights]}"
        )


def live_values(topology: Topology, weights: list[Tensor]) -> Tensor:
    """Return (E,), the values of all edges in canonical order, without the spare room; no copy where memory allows.

    Examples
    --------
    >>> t = Topology(3, [0, 1], [1, 2], [0, 1, 2], inputs=[0], outputs=[2], activation=[0, 0, 0], splits=(1, 1))
    >>> live_values(t, [torch.tensor([1.0, 9.0]), torch.tensor([2.0])])
    tensor([1., 2.])
    """
    view = values_view(topology, weights)
    return torch.cat(live_parts(topology, weights)) if view is None else view


def live_parts(topology: Topology, weights: list[Tensor]) -> list[Tensor]:
    """Return the tensors without their spare room and apart from autograd.

    Examples
    --------
    >>> t = Topology(2, [0], [1], [0, 1], inputs=[0], outputs=[1], activation=[0, 0])
    >>> live_parts(t, [torch.tensor([1.0, 9.0])])
    [tensor([1.])]
    """
    return [weight.detach()[:count] for weight, count in zip(weights, topology.splits, strict=True)]


def values_view(topology: Topology, weights: list[Tensor]) -> Tensor | None:
    """Return the values (E,) as a view, if the live parts lie one after the other in one storage; otherwise None.

    Examples
    --------
    >>> t = Topology(3, [0, 1], [1, 2], [0, 1, 2], inputs=[0], outputs=[2], activation=[0, 0, 0], splits=(1, 1))
    >>> values_view(t, list(torch.tensor([1.0, 2.0]).split(1)))
    tensor([1., 2.])
    """
    first = weights[0].detach()
    if len(weights) == 1:
        return first[: topology.num_edges].contiguous()
    storage, expected = first.untyped_storage().data_ptr(), first.data_ptr()
    for weight, count in zip(weights, topology.splits, strict=True):
        if weight.data_ptr() != expected or weight.untyped_storage().data_ptr() != storage or weight.stride() != (1,):
            return None
        expected += count * weight.element_size()
    return first.as_strided((topology.num_edges,), (1,))


def split_gradient(topology: Topology, flat: Tensor, weights: list[Tensor]) -> list[Tensor]:
    """Return the gradient (E,) as one tensor per weight, with zeros in the spare room.

    A gradient that has the shape of a single weight already is that weight's gradient.

    Examples
    --------
    >>> t = Topology(2, [0], [1], [0, 1], inputs=[0], outputs=[1], activation=[0, 0])
    >>> split_gradient(t, torch.tensor([3.0]), [torch.zeros(2)])
    [tensor([3., 0.])]
    """
    if len(weights) == 1 and flat.shape == weights[0].shape:
        return [flat]
    parts = torch.split(flat, list(topology.splits))
    return [
        part if part.shape == weight.shape else torch.cat([part, part.new_zeros(weight.shape[0] - part.shape[0])])
        for part, weight in zip(parts, weights, strict=True)
    ]
