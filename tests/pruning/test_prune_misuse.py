"""What `prune` cannot use is refused with a reason; frozen and idle weights are scored like others."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from deepgraph.errors import ArgumentError, DtypeError, ShapeError, UnsupportedOperationError
from deepgraph.pruning import prune
from deepgraph.sparse import MaskedDeepFFN, edge_values, sparsify

X = torch.randn(20, 6, generator=torch.Generator().manual_seed(0))
Y = (X[:, 0] > 0).long()
NEED_DATA = ["snip", "taylor", "synflow", "grasp", "wanda", "obd", "obs"]


def ffn(**options: Any) -> MaskedDeepFFN:
    return MaskedDeepFFN(6, 3, [8], **{"density": 0.5, "seed": 0, **options})


class Half(nn.Module):
    """Uses one of its two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.idle = nn.Linear(6, 3), nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (B, 3)."""
        result: torch.Tensor = self.used(x)
        return result


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"criterion": "synflow", "data": []},
            ArgumentError,
            "data: expected at least one .* 'synflow', got none",
        ),
        ({"criterion": "wanda", "data": []}, ArgumentError, "data: expected at least one .* 'wanda', got none"),
        ({"criterion": "snip", "data": X}, ShapeError, r"data: expected a batch \(x, y\) .* got Tensor in place of"),
        ({"criterion": "snip", "data": [(X, Y, Y)]}, ShapeError, r"got tuple in place of a pair"),
        ({"criterion": "snip", "data": (X, Y), "loss": "mse"}, DtypeError, "loss: expected a function .* got 'mse'"),
        ({"strategy": "percentage"}, DtypeError, "strategy: expected a PruningStrategy or None, got 'percentage'"),
        ({"retrain": 3, "rounds": 2}, DtypeError, "retrain: expected a function of the model, got 3"),
    ],
)
def test_arguments(options: dict[str, Any], error: type[Exception], message: str) -> None:
    model = ffn()
    before = [edges.digest() for edges in model.edge_sets]
    with pytest.raises(error, match=message):
        prune(model, 0.5, **options)
    assert [edges.digest() for edges in model.edge_sets] == before


def test_weights_without_numbers() -> None:
    with pytest.raises(UnsupportedOperationError, match="model: expected weights, got a model on the device meta"):
        prune(ffn(device="meta"), 0.5)


@pytest.mark.parametrize("criterion", NEED_DATA)
def test_frozen_weights_are_pruned_as_others(criterion: str) -> None:
    model, frozen = ffn(), ffn().requires_grad_(False)
    for one in (model, frozen):
        prune(one, 0.5, criterion=criterion, data=(X, Y), seed=0)
    assert [edges.digest() for edges in frozen.edge_sets] == [edges.digest() for edges in model.edge_sets]
    assert not any(parameter.requires_grad or parameter.grad is not None for parameter in frozen.parameters())


@pytest.mark.parametrize("criterion", ["snip", "taylor", "synflow"])
def test_weights_that_do_nothing_go_first(criterion: str) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = sparsify(Half(), 1.0, seed=0)
    prune(model, 18, criterion=criterion, data=(X, Y))
    assert [one.edge_set.num_edges for one in edge_values(model)] == [18, 0]


def test_a_layer_that_no_batch_comes_through_has_no_inputs() -> None:
    with pytest.raises(ArgumentError, match=r"idle\.weight: expected layers that the model uses, .* 'wanda'"):
        prune(sparsify(Half(), 1.0, seed=0), 0.5, criterion="wanda", data=(X, Y))


def test_data_that_can_be_read_once_serve_all_rounds() -> None:
    model = ffn()
    other = copy.deepcopy(model)
    prune(model, 0.5, criterion="snip", data=[(X, Y)], rounds=3)
    prune(other, 0.5, criterion="snip", data=iter([(X, Y)]), rounds=3)
    assert [edges.digest() for edges in other.edge_sets] == [edges.digest() for edges in model.edge_sets]
