"""Layers, convolutions, graphs of cells: float32 against float64 at all batch sizes, gradients by differences."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn

import deepgraph as dg
from deepgraph.sparse import edge_values

BATCHES = [0, 1, 3, 128, 1000]
Make = Callable[[torch.dtype], nn.Module]


def of_cells(cell: dg.cells.Cell) -> Make:
    graph = dg.priors.random_layered([2, 4, 3, 2], 0.6, seed=0, skip=1)
    return lambda dtype: dg.MaskedDeepDAN.from_graph(graph, cell=cell, activation="tanh", seed=0, dtype=dtype)


KINDS: dict[str, tuple[Make, tuple[int, ...]]] = {
    **{
        f"{name}, {storage}": (lambda dtype, make=make, storage=storage: make(storage, dtype), size)
        for storage in ("csr", "coo", "masked")
        for name, (make, size) in {
            "layer": (lambda s, d: dg.SparseLinear(20, 12, 0.3, storage=s, seed=0, dtype=d), (20,)),
        }.items()
    },
    **{
        f"{name}, {storage}": (lambda dtype, make=make, storage=storage: make(storage, dtype), size)
        for storage in ("csr", "masked")
        for name, (make, size) in {
            "conv1d": (lambda s, d: dg.SparseConv1d(4, 6, 3, 0.4, 2, 1, storage=s, seed=0, dtype=d), (4, 9)),
            "conv2d": (
                lambda s, d: dg.SparseConv2d(4, 6, 3, 0.4, padding=1, storage=s, groups=2, seed=0, dtype=d),
                (4, 6, 5),
            ),
        }.items()
    },
    "cells conv2d": (of_cells(dg.cells.Conv2d(3)), (2, 5, 4)),
    "cells conv1d, 2 wide": (of_cells(dg.cells.Conv1d(3, width=2)), (4, 6)),
    "cells linear": (of_cells(dg.cells.Linear(3)), (6,)),
}


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("kind", KINDS)
def test_float32_is_within_2e_6_of_float64(kind: str, batch: int) -> None:
    make, size = KINDS[kind]
    single, generator = make(torch.float32), torch.Generator().manual_seed(0)
    double = copy.deepcopy(single).double()
    x = torch.randn(batch, *size, generator=generator)
    found = []
    for model in (single, double):
        leaf = x.detach().to(next(model.parameters()).dtype).requires_grad_()
        y = model(leaf)
        y.backward(torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(y.dtype))
        found.append([y.detach(), leaf.grad, *(p.grad for p in model.parameters())])
    for one, other in zip(*found, strict=True):
        assert one.dtype == torch.float32
        assert other.dtype == torch.float64
        assert (one.double() - other).norm() <= 2e-6 * other.norm()


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_by_differences(kind: str, batch: int) -> None:
    make, size = KINDS[kind]
    model = make(torch.float64)
    parameters = dict(model.named_parameters())
    masks = {id(values.parameter): values.mask() for values in edge_values(model) if values.storage == "masked"}
    # Entries off the mask are no parameters: their gradient is 0 by definition.
    free = {name: p for name, p in parameters.items() if id(p) not in masks}
    x = torch.randn(batch, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)

    def result(x: torch.Tensor, *given: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(model, dict(zip(free, given, strict=True)), (x,))

    assert torch.autograd.gradcheck(result, (x, *free.values()))
    for name, p in parameters.items():
        if id(p) in masks:
            edges = masks[id(p)].flatten().nonzero()[:, 0]
            assert torch.autograd.gradcheck(
                _of_edges(model, name, edges, x.detach()), p.detach().flatten()[edges].requires_grad_()
            )


def _of_edges(model: nn.Module, name: str, edges: torch.Tensor, x: torch.Tensor) -> Callable[..., torch.Tensor]:
    """Return the result as a function of the values of edges, the rest of the matrix being 0."""
    matrix = dict(model.named_parameters())[name]

    def result(values: torch.Tensor) -> torch.Tensor:
        weight = torch.zeros_like(matrix).flatten().index_copy(0, edges, values).view_as(matrix)
        return torch.func.functional_call(model, {name: weight}, (x,))

    return result
