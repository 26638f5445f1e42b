"""Opaque operators: their schemas; autograd, compilers and the direct call agree for every form of operands."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from deepgraph.errors import UnsupportedOperationError
from deepgraph.kernels.convolution_operator import convolution_operator
from deepgraph.kernels.opaque import OpaqueOperator, Rules
from deepgraph.kernels.operator import graph_operator
from deepgraph.sparse.cell_operator import cells_operator

Operands = list[torch.Tensor | list[torch.Tensor]]


def flat(given: Operands) -> list[torch.Tensor]:
    return [t for operand in given for t in ([operand] if isinstance(operand, torch.Tensor) else operand)]


def product(name: str, operands: str, keeps_x: bool) -> OpaqueOperator:
    """y = handle times the product of all tensors, whose backward pass gets x itself, or as what was saved."""

    def nested(tensors: list[torch.Tensor], like: Operands) -> Operands:
        left = iter(tensors)
        return [next(left) if isinstance(one, torch.Tensor) else [next(left) for _ in one] for one in like]

    def forward(x: torch.Tensor, *rest: Any) -> tuple[torch.Tensor, torch.Tensor]:
        *given, handle = rest
        return torch.stack([x, *flat(given)]).prod(0) * handle, x.new_zeros(1) if keeps_x else x.clone()

    def forward_fake(x: torch.Tensor, *rest: Any) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.empty_like(x), x.new_empty(1) if keeps_x else torch.empty_like(x)

    def backward(dy: torch.Tensor, saved: torch.Tensor, *rest: Any) -> tuple[Any, ...]:
        *given, handle, need_dx = rest
        x = given.pop(0) if keeps_x else saved
        tensors = [x, *flat(given)]
        dx, *others = [torch.stack([dy * handle, *tensors[:i], *tensors[i + 1 :]]).prod(0) for i in range(len(tensors))]
        return (dx if need_dx else dy.new_empty(0), *nested(others, given))

    def backward_fake(dy: torch.Tensor, saved: torch.Tensor, *rest: Any) -> tuple[Any, ...]:
        *given, _, need_dx = rest
        like = given[1:] if keeps_x else given
        dx = torch.empty_like(dy) if need_dx else dy.new_empty(0)
        return (dx, *nested([torch.empty_like(t) for t in flat(like)], like))

    return OpaqueOperator(
        Rules(name, operands, forward, forward_fake, backward, backward_fake, instead="use *", keeps_x=keeps_x)
    )


FORMS = {
    "test_one": ("Tensor a", True),
    "test_two": ("Tensor a, Tensor b", False),
    "test_list": ("Tensor[] many", True),
    "test_ends": ("Tensor a, Tensor[] many, Tensor b, Tensor c", False),
    "test_first": ("Tensor[] many, Tensor b", True),
}
OPERATORS = {name: product(name, *form) for name, form in FORMS.items()}


def operands(operator: OpaqueOperator) -> Operands:
    generator = torch.Generator().manual_seed(0)

    def one() -> torch.Tensor:
        return torch.randn(3, dtype=torch.float64, generator=generator).requires_grad_()

    kinds = [operand.split()[0] for operand in operator.rules.operands.split(", ")]
    return [one(), *([one(), one(), one()] if kind == "Tensor[]" else one() for kind in kinds)]


@pytest.mark.parametrize("name", FORMS)
def test_an_operator_of_any_form_passes_gradcheck_and_opcheck(name: str) -> None:
    operator = OPERATORS[name]
    given = operands(operator)
    assert torch.allclose(operator(*given, 2)[0], 2 * torch.stack(flat(given)).prod(0))
    leaves = flat(given)

    def called(*leaves: torch.Tensor) -> torch.Tensor:
        return operator(leaves[0], *operator.nest(leaves[1:]), 3)[0]

    def direct(*leaves: torch.Tensor) -> torch.Tensor:
        return operator.direct(leaves[0], *operator.nest(leaves[1:]), 3)

    assert torch.autograd.gradcheck(called, leaves)
    assert torch.autograd.gradcheck(direct, leaves)
    tests = ("test_schema", "test_autograd_registration", "test_faketensor", "test_aot_dispatch_dynamic")
    torch.library.opcheck(operator.forward, (*given, 2), test_utils=tests)
    with torch.no_grad():
        assert not operator(*given, 2)[0].requires_grad


@pytest.mark.parametrize("name", FORMS)
def test_x_without_gradient_gets_none(name: str) -> None:
    operator = OPERATORS[name]
    given = operands(operator)
    given[0] = given[0].detach()
    for run in (lambda: operator(*given, 2)[0], lambda: operator.direct(*given, 2)):
        gradients = torch.autograd.grad(run().sum(), flat(given)[1:])
        for tensor, gradient in zip(flat(given)[1:], gradients, strict=True):
            assert torch.allclose(gradient * tensor, run())
    assert given[0].grad is None


@pytest.mark.parametrize("name", FORMS)
def test_second_order_is_an_error_that_names_the_operator(name: str) -> None:
    operator = OPERATORS[name]
    given = operands(operator)
    for y in (operator(*given, 2)[0], operator.direct(*given, 2)):
        (gradient,) = torch.autograd.grad(y.sum(), flat(given)[-1], create_graph=True)
        with pytest.raises(UnsupportedOperationError, match=rf"second-order .* deepgraph::{name} are not .*; use \*"):
            gradient.sum().backward()


def test_the_schemas_of_the_package() -> None:
    assert [operator.rules.schemas() for operator in (graph_operator, convolution_operator, cells_operator)] == [
        (
            "graph(Tensor x, Tensor[] weights, Tensor bias, int handle) -> (Tensor y, Tensor saved)",
            "graph_backward(Tensor dy, Tensor saved, Tensor[] weights, Tensor bias, int handle, bool need_dx) "
            "-> (Tensor dx, Tensor[] dweights, Tensor dbias)",
        ),
        (
            "convolution(Tensor x, Tensor weight, Tensor bias, int handle) -> (Tensor y, Tensor saved)",
            "convolution_backward(Tensor dy, Tensor saved, Tensor x, Tensor weight, Tensor bias, int handle, "
            "bool need_dx) -> (Tensor dx, Tensor dweight, Tensor dbias)",
        ),
        (
            "cells(Tensor x, Tensor[] parameters, int handle) -> (Tensor y, Tensor saved)",
            "cells_backward(Tensor dy, Tensor saved, Tensor x, Tensor[] parameters, int handle, bool need_dx) "
            "-> (Tensor dx, Tensor[] dparameters)",
        ),
    ]
