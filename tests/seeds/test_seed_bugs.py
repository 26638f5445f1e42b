"""Bugs of earlier systems that are not about one class: each test is one that their behaviour would fail."""

from __future__ import annotations

import networkx as nx
import numpy as np
import torch
from torch import nn

import deepgraph as dg


def skip_graph() -> dg.CachedLayeredGraph:
    g = dg.CachedLayeredGraph.from_arrays([0, 0, 1, 1], [1, 2, 2, 3], weight=[1.0, -3.0, 2.0, 1.0])
    g.set_node_column("activation", np.array(["", "", "relu", ""]))
    return g


def test_one_activation_of_the_sum_of_all_inputs() -> None:
    # deepstruct: relu(2 * a1) + relu(-3 * a0), one relu for each skip block.
    model = dg.MaskedDeepDAN.from_graph(skip_graph())
    assert model(torch.tensor([[2.0]]))[0, 0].item() == max(0.0, 2 * 2.0 - 3 * 2.0)


def test_sinks_before_the_last_layer_learn() -> None:
    # deepstruct reads the last layer only.
    g = nx.DiGraph([(0, 2), (1, 2), (2, 3), (0, "early"), (3, 4)])
    model = dg.MaskedDeepDAN(3, 2, g, activation="tanh", seed=0)
    model(torch.randn(5, 3)).square().sum().backward()
    edges = list(model.graph.edges)
    gradient = dict(zip(edges, model.core.edges.gradient().tolist(), strict=True))
    assert gradient[0, "early"] != 0


def test_three_hundred_nodes_are_three_edge_layers() -> None:
    # deepstruct: one dense matrix per pair of layers, thousands of modules.
    chain = nx.path_graph(300, create_using=nx.DiGraph)
    chain.add_edges_from((u, v) for u in range(0, 300, 7) for v in range(u + 2, 300, 11))
    model = dg.MaskedDeepDAN.from_graph(chain, seed=0)
    assert len(list(model.parameters())) == 2
    assert sum(p.numel() for p in model.parameters()) == chain.number_of_edges() + 299


def test_momentum_of_kept_edges_stays_and_of_grown_ones_is_zero() -> None:
    # fastsparse does the reverse.
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 10))
    dg.sparse.sparsify(model, 0.5, seed=0)
    inner = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    optimizer = dg.RigL(model, inner, every=2, until=10, seed=0)
    before: dict[tuple[int, int], float] = {}
    (values,) = dg.sparse.edge_values(model)
    for _ in range(6):
        src, dst = values.edge_set.pairs()
        state = inner.state.get(values.parameter, {}).get("momentum_buffer")
        before = {} if state is None else {(u, v): state[v, u].item() for u, v in zip(src, dst, strict=True)}
        optimizer.zero_grad()
        model(torch.randn(8, 20)).square().sum().backward()
        optimizer.step()
        if optimizer.edited and before:
            break
    assert before
    src, dst = values.edge_set.pairs()
    state = inner.state[values.parameter]["momentum_buffer"]
    for u, v in zip(src, dst, strict=True):
        assert state[v, u].item() == before.get((u, v), 0.0)
