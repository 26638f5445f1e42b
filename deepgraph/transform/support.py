"""Which entries of a constant matrix are edges: a declared support, or what a foreign dense weight has but zeros."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from deepgraph.transform.rules import Call
from deepgraph.transform.traced import Array

__all__ = ["Matrix", "constant_matrix", "plain_matrix"]

DECLARED = "declared"
"""Edges are what a mask, a pattern or a graph declares, whatever the values."""
FIXED = "operation"
"""Edges are what the operation is defined to read (pools, means, pointwise operations)."""


@dataclass(frozen=True)
class Matrix:
    """The entries of a constant matrix that are edges.

    Parameters
    ----------
    shape : tuple of int
        (K, M): inputs by outputs.
    row, column : torch.Tensor, shape (P,), int64
        Places of the entries.
    weight : np.ndarray, shape (P,)
        Their values.
    origin : np.ndarray, shape (P,), int64
        The parameter entries behind them, -1 for none.
    rule : str
        How the entries were chosen.
    """

    shape: tuple[int, int]
    row: Tensor
    column: Tensor
    weight: Array
    origin: Array
    rule: str

    @property
    def num_edges(self) -> int:
        """Number of entries that are edges, P."""
        return len(self.weight)

    def dense(self) -> Tensor:
        """Return the matrix with zeros where there is no edge, shape (K, M), float64."""
        dense = torch.zeros(self.shape, dtype=torch.float64)
        dense[self.row, self.column] = torch.from_numpy(self.weight).double()
        return dense


def constant_matrix(
    call: Call, weight: Tensor, scale: float = 1.0, layout: Callable[[Tensor], Tensor] = lambda entries: entries
) -> Matrix:
    """Return the edges of a constant operand.

    Parameters
    ----------
    call : Call
        The operation that is traced.
    weight : torch.Tensor
        The effective weight, the operand itself or a view of it; strided, or sparse, whose pattern is the support then.
    scale : float
        Factor on the weights.
    layout : callable
        weight -> (K, M), inputs by outputs; run on the values, the support and the parameter entries alike.
    """
    if weight.layout != torch.strided:
        return _sparse_matrix(layout(weight), scale)
    provenance = call.tracer.provenance
    declared = provenance.support.read(weight)
    known = declared >= 0
    support = declared > 0
    rule = DECLARED
    if not bool(known.all()):
        chosen, rule = _by_value(call, weight)
        support = torch.where(known, support, chosen)
    values = layout(weight.detach().cpu())
    # Ordered by output, then input, as a neuron's inputs are read.
    column, row = layout(support).t().nonzero(as_tuple=True)
    chosen_values = values[row, column]
    chosen_values = chosen_values.double() if values.dtype == torch.float64 else chosen_values.float()
    origin = np.full(len(row), -1, dtype=np.int64)
    if provenance.has_origin(weight):
        origin = layout(provenance.origins(weight))[row, column].numpy()
    shape = (values.shape[0], values.shape[1])
    return Matrix(shape, row, column, _times(chosen_values.numpy(), scale), origin, rule)


def _by_value(call: Call, weight: Tensor) -> tuple[Tensor, str]:
    settings = call.tracer.settings
    size = weight.detach().abs().cpu()
    if settings.density is not None:
        count = max(1, round(settings.density * size.numel())) if size.numel() else 0
        # NaN sorts as the largest, so that it is kept and seen; ties go to the first entry.
        order = size.reshape(-1).argsort(stable=True, descending=True)[:count]
        keep = torch.zeros(size.numel(), dtype=torch.bool)
        keep[order] = True
        return keep.view(size.shape) & (size != 0), f"the largest |w| of each weight, density {settings.density:g}"
    if settings.threshold > 0:
        return ~(size <= settings.threshold), f"|w| > {settings.threshold:g}"
    return size != 0, "value != 0"


def _sparse_matrix(matrix: Tensor, scale: float) -> Matrix:
    entries: Tensor = matrix.detach().cpu().to_sparse_coo().coalesce()  # type: ignore[no-untyped-call]
    row, column = entries.indices()
    weight = entries.values()
    weight = weight.double() if weight.dtype == torch.float64 else weight.float()
    origin = np.full(len(weight), -1, dtype=np.int64)
    return Matrix((matrix.shape[0], matrix.shape[1]), row, column, _times(weight.numpy(), scale), origin, DECLARED)


def plain_matrix(entries: Tensor) -> Matrix:
    """Return the edges of a matrix that belongs to the operation itself, such as the ones of a sum.

    Parameters
    ----------
    entries : torch.Tensor, shape (K, M)
        Those that are not 0 are edges.
    """
    column, row = entries.t().nonzero(as_tuple=True)
    origin = np.full(len(row), -1, dtype=np.int64)
    return Matrix(
        (entries.shape[0], entries.shape[1]), row, column, entries[row, column].double().numpy(), origin, FIXED
    )


def _times(weight: Array, scale: float) -> Array:
    return weight if scale == 1 else (weight.astype(np.float64) * scale).astype(weight.dtype)
