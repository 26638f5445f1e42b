"""Growing neurons: function, parameters and optimizer state are kept, and training goes on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from deepgraph.errors import ArgumentError, EditRefusedError, UnsupportedOperationError
from deepgraph.pruning import grow
from deepgraph.rewire import RigL
from deepgraph.sparse import MaskedDeepDAN, MaskedDeepFFN, edge_values, follow


def make(kind: str, storage: str, seed: int = 0) -> Any:
    ffn = MaskedDeepFFN(6, 3, [8, 5], density=0.5, activation="tanh", storage=storage, seed=seed, dtype=torch.float64)
    if kind == "ffn":
        return ffn
    return MaskedDeepDAN.from_graph(ffn.graph, activation="tanh", storage=storage, dtype=torch.float64)


def x() -> torch.Tensor:
    return torch.randn(7, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def step(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    model(x()).square().sum().backward()
    optimizer.step()


def by_edge(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[dict[tuple[int, int], tuple[float, ...]]]:
    found = []
    for one in edge_values(model):
        state = optimizer.state[one.parameter]
        columns = [one.values(), *(state[key].reshape(-1)[one.index()] for key in ("exp_avg", "exp_avg_sq"))]
        pairs = zip(*(side.tolist() for side in one.edge_set.pairs()), strict=True)
        found.append(dict(zip(pairs, zip(*(c.tolist() for c in columns), strict=True), strict=True)))
    return found


@pytest.mark.parametrize("kind", ["ffn", "graph"])
@pytest.mark.parametrize("storage", ["csr", "masked"])
@pytest.mark.parametrize("following", [True, False])
def test_function_parameters_and_state_are_kept(kind: str, storage: str, following: bool) -> None:
    model = make(kind, storage)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    if following:
        follow(model, optimizer)
    for _ in range(3):
        step(model, optimizer)
    before, y = by_edge(model, optimizer), model(x()).detach()
    identities = [id(p) for p in model.parameters()]
    biases = [optimizer.state[layer.bias]["exp_avg"].clone() for layer in model._layers()]
    assert grow(model, [4, 2], None if following else optimizer, seed=0) is model
    assert identities == [id(p) for p in model.parameters()]
    torch.testing.assert_close(model(x()).detach(), y, rtol=1e-12, atol=1e-12)
    assert model.graph.number_of_nodes() == 6 + 12 + 7 + 3
    for old, new in zip(before, by_edge(model, optimizer), strict=True):
        assert old.items() <= new.items()
        assert all(state[1:] == (0.0, 0.0) for pair, state in new.items() if pair not in old)
    for layer, old in zip(model._layers(), biases, strict=True):
        state = optimizer.state[layer.bias]["exp_avg"]
        assert torch.equal(state[: len(old)], old)
        assert state.shape == layer.bias.shape
    for _ in range(3):
        step(model, optimizer)
    assert not torch.allclose(model(x()), y)
    dead = [int((values != 0).sum()) for values in (one.values() for one in edge_values(model))]
    assert dead == [one.edge_set.num_edges for one in edge_values(model)]


@pytest.mark.parametrize("kind", ["ffn", "graph"])
@pytest.mark.parametrize("storage", ["csr", "masked"])
def test_every_new_neuron_is_connected(kind: str, storage: str) -> None:
    model = make(kind, storage)
    grow(model, {1: 3}, seed=0)
    graph = model.graph
    src, dst = graph.edge_arrays()
    new = np.flatnonzero(graph.stage_array() == 1)[-3:]
    into, out = np.bincount(dst, minlength=len(graph))[new], np.bincount(src, minlength=len(graph))[new]
    assert (into >= 1).all()
    assert (out >= 1).all()
    weight = graph.column("weight")
    assert (weight[np.isin(src, new)] == 0).all()
    assert (weight[np.isin(dst, new)] != 0).all()
    rebuilt = MaskedDeepDAN.from_graph(graph, activation="tanh", dtype=torch.float64)
    torch.testing.assert_close(rebuilt(x()), model(x()))


@pytest.mark.parametrize("kind", ["ffn", "graph"])
def test_saving_undoing_and_growing_again(kind: str) -> None:
    model = make(kind, "csr")
    before = model(x()).detach()
    grow(model, 2, seed=0)
    other = type(model).from_config(model.config())
    other.load_state_dict(model.state_dict())
    torch.testing.assert_close(other(x()), model(x()))
    grow(model, 1, seed=1)
    torch.testing.assert_close(model(x()), before)
    assert grow(model, 0) is model
    edges = model.edge_sets[0]
    count = edges.num_edges
    edges.undo()
    assert edges.num_edges < count
    torch.testing.assert_close(model(x()), before)


@pytest.mark.parametrize("kind", ["ffn", "graph"])
def test_a_rewirer_goes_on(kind: str) -> None:
    model = make(kind, "csr")
    rewirer = RigL(model, torch.optim.AdamW(model.parameters(), lr=0.01), every=2, until=50, seed=0)
    for _ in range(3):
        step(model, rewirer)
    grow(model, 3, seed=0)
    total = model.num_edges
    for _ in range(5):
        step(model, rewirer)
    assert model.num_edges == total
    new = np.flatnonzero(model.graph.stage_array() == 1)[-3:]
    assert any(np.isin(new, pairs).any() for pairs in model.graph.edge_arrays())


@pytest.mark.usefixtures("global_rng_untouched")
def test_seeds() -> None:
    def grown(seed: int) -> str:
        return str(grow(make("ffn", "csr"), 2, seed=seed).graph.digest())

    assert grown(1) == grown(1) != grown(2)


def test_labels_that_are_taken() -> None:
    graph = make("graph", "csr").graph.copy()
    import networkx as nx

    named = nx.relabel_nodes(graph, {0: len(graph)})
    model = MaskedDeepDAN.from_graph(type(graph)(named), activation="tanh", dtype=torch.float64)
    assert "grown 22" in grow(model, [1, 0], seed=0).graph


def test_edge_sets_only_become_wider() -> None:
    edges = make("ffn", "csr").edge_sets[0]
    with pytest.raises(ArgumentError, match="layer 0: expected at least 6 sources and 8 targets, got 6 and 7"):
        edges.widen(6, 7)


def test_mistakes() -> None:
    with pytest.raises(UnsupportedOperationError, match=r"grow: expected a MaskedDeepFFN or .*, got Linear"):
        grow(nn.Linear(2, 2), 1)
    normed = MaskedDeepFFN(4, 2, [3], True, seed=0)
    with pytest.raises(UnsupportedOperationError, match="without layer norm, got MaskedDeepFFN"):
        grow(normed, 1)
    with pytest.raises(ArgumentError, match="grow: expected a model with hidden layers, got one without"):
        grow(MaskedDeepFFN(4, 2, [], seed=0), 1)
    with pytest.raises(ArgumentError, match="nodes: expected hidden layers from 1 to 2, got 3"):
        grow(make("ffn", "csr"), {3: 1})
    for nodes in ([1], [1, -1], -1, [1.5, 1], True):
        with pytest.raises(ArgumentError, match="nodes: expected numbers >= 0, one for each of 2 hidden layers"):
            grow(make("ffn", "csr"), nodes)  # type: ignore[arg-type]
    model = make("ffn", "csr")
    y = model(x())
    with pytest.raises(EditRefusedError, match="cannot add neurons between a forward and its backward"):
        grow(model, 1)
    y.sum().backward()


@pytest.mark.parametrize(("activation", "gain"), [("relu", np.sqrt(2)), ("identity", 1.0)])
def test_new_weights_are_drawn_by_fan_in_with_the_gain_of_the_activation(activation: str, gain: float) -> None:
    model = MaskedDeepFFN(50, 3, [4], density=0.4, activation=activation, seed=0)
    grow(model, 500, seed=0)
    into, out = edge_values(model)
    new = into.edge_set.dst >= 4
    fan_in = np.bincount(into.edge_set.dst[new])[4:]
    assert set(fan_in.tolist()) == {20}
    assert float(into.values()[torch.from_numpy(new)].std()) == pytest.approx(gain / np.sqrt(20), rel=0.03)
    assert not out.values()[torch.from_numpy(out.edge_set.pairs()[0] >= 4)].any()
