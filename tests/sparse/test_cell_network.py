"""DeepCellDAN: cells on a graph, joined and aligned by stated policies."""

from __future__ import annotations

import copy
from typing import Any

import networkx as nx
import pytest
import torch
from torch import nn

from deepgraph.sparse import DeepCellDAN

SKIP = nx.DiGraph([("a", "c"), ("b", "c"), ("a", "d"), ("c", "d"), ("a", "early")])


def reduction(into: int, out: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(into, out, 5, padding=2, stride=2), nn.ReLU(), nn.BatchNorm2d(out))


def conv(is_input: bool, in_degree: int, input_channel_size: int, **rest: Any) -> nn.Module:
    return reduction(input_channel_size if is_input else in_degree, 1)


def test_cells_are_told_where_they_are() -> None:
    told: list[dict[str, Any]] = []

    def note(**facts: Any) -> nn.Module:
        told.append(facts)
        return nn.Identity()

    DeepCellDAN(2, 1, note, SKIP)
    assert [one["in_degree"] for one in told] == [0, 2, 0, 2, 1]
    assert [one["out_degree"] for one in told] == [3, 1, 1, 0, 0]
    assert [one["layer"] for one in told] == [0, 1, 0, 2, 1]
    assert [one["is_output"] for one in told] == [False, False, False, True, True]
    assert {one["input_channel_size"] for one in told} == {1}


@pytest.mark.parametrize("align", ["pad", "crop", "interpolate", "pool"])
def test_results_of_different_sizes_are_aligned(align: str) -> None:
    torch.manual_seed(0)
    model = DeepCellDAN(10, 3, conv, SKIP, align=align)  # type: ignore[arg-type]
    y = model(torch.randn(4, 3, 20, 20))
    assert y.shape == (4, 10)
    y.sum().backward()
    # Sinks before the last layer learn as well.
    assert all(p.grad is not None for p in model.parameters())


def test_each_policy_does_what_it_says() -> None:
    small, large = torch.ones(1, 1, 2, 2), torch.arange(16.0).view(1, 1, 4, 4)
    cells = iter([small, large])

    class Constant(nn.Module):
        def __init__(self, value: torch.Tensor | None) -> None:
            super().__init__()
            self.value = value

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x if self.value is None else self.value

    def make(is_input: bool, **rest: Any) -> nn.Module:
        return Constant(next(cells) if is_input else None)

    g = nx.DiGraph()
    g.add_nodes_from("ab")
    head = nn.Identity()
    found = {}
    for align in ("pad", "crop", "interpolate", "pool"):
        cells = iter([small, large])
        model = DeepCellDAN(1, 1, make, g, align=align, head=head)  # type: ignore[arg-type]
        found[align] = model(torch.zeros(1, 1))
    assert found["pad"][0, 0].sum() == 4
    assert found["pad"][0, 0, 2:].sum() == 0
    assert torch.equal(found["crop"][0, 1], large[0, 0, :2, :2])
    assert torch.equal(found["interpolate"][0, 0], torch.ones(4, 4))
    assert torch.equal(found["pool"][0, 1], torch.tensor([[2.5, 4.5], [10.5, 12.5]]))
    cells = iter([small, large])
    with pytest.raises(ValueError, match="expected results of one size"):
        DeepCellDAN(1, 1, make, g, align="error", head=head)(torch.zeros(1, 1))


@pytest.mark.parametrize("join", ["sum", "weighted_sum"])
def test_sums_take_cells_of_any_channels(join: str) -> None:
    def cell(is_input: bool, input_channel_size: int, **rest: Any) -> nn.Module:
        return nn.Conv2d(input_channel_size if is_input else 6, 6, 3, padding=1)

    model = DeepCellDAN(10, 3, cell, SKIP, cell_channels=6, join=join)  # type: ignore[arg-type]
    model(torch.randn(4, 3, 8, 8)).sum().backward()
    if join == "weighted_sum":
        assert model.edge_weight.shape == (5,)
        assert (model.edge_weight.grad != 0).all()
    else:
        assert model.edge_weight is None


def test_copies_and_state_dicts() -> None:
    torch.manual_seed(0)
    model = DeepCellDAN(3, 1, conv, SKIP)
    twin = copy.deepcopy(model)
    fresh = DeepCellDAN(3, 1, conv, SKIP)
    fresh.load_state_dict(model.state_dict())
    x = torch.randn(4, 1, 12, 12)
    assert torch.equal(twin.eval()(x), fresh.eval()(x))
    model.graph.remove_edge("a", "c")
    assert model.graph.has_edge("a", "c")
    assert "join='cat'" in repr(model)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="join: expected one of"):
        DeepCellDAN(2, 1, conv, SKIP, join="max")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"expected an nn\.Module for each node, got int"):
        DeepCellDAN(2, 1, lambda **facts: 3, SKIP)  # type: ignore[arg-type, return-value]
    with pytest.raises(ValueError, match=r"x: expected shape \(batch, 1, ...\), got \(4, 3, 8, 8\)"):
        DeepCellDAN(2, 1, conv, SKIP)(torch.zeros(4, 3, 8, 8))
    with pytest.raises(ValueError, match="the cell of node 'a': expected 2 channels"):
        DeepCellDAN(2, 1, conv, SKIP, cell_channels=2)(torch.zeros(4, 1, 8, 8))
    with pytest.raises(ValueError, match="cycle"):
        DeepCellDAN(2, 1, conv, nx.DiGraph([(0, 1), (1, 0)]))
    g = nx.DiGraph([("a", "b")])
    g.nodes["b"]["role"] = "input"
    g.add_node("c", role="output")
    with pytest.raises(ValueError, match="expected inputs without predecessors"):
        DeepCellDAN(2, 1, conv, g)
