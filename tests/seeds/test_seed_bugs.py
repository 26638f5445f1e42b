"""Bugs of earlier systems that are not about one class: each test is one that their behaviour would fail."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
import torch
from seed_bugs import BUGS, Bug
from torch import nn

import deepgraph as dg

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: f"{bug.system}: {bug.what}")
def test_every_bug_has_its_test(bug: Bug) -> None:
    file, name = bug.test.split("::")
    body = ast.parse((ROOT / file).read_text(encoding="utf-8")).body
    assert name in {node.name for node in body if isinstance(node, ast.FunctionDef)}


def test_no_system_is_left_out() -> None:
    assert Counter(bug.system for bug in BUGS) == {
        "deepstruct": 11, "deeprewire": 7, "actuallysparse": 6, "fastsparse": 5, "aslp": 4
    }  # fmt: skip


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


def test_a_step_after_an_edit_takes_its_own_gradient_only() -> None:
    # fastsparse cancels the batch of an edit together with its zero_grad, and adds that gradient to the next one.
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(12, 6))
    dg.sparse.sparsify(model, 0.5, seed=0)
    optimizer = dg.RigL(model, torch.optim.SGD(model.parameters(), lr=0.5), every=1, until=2, seed=0)
    for edits in (True, False):
        before = model[0].weight.detach().clone()
        optimizer.zero_grad()
        model(torch.randn(8, 12)).square().sum().backward()
        gradient = model[0].weight.grad.clone()
        optimizer.step()
        assert optimizer.edited == edits
        if not edits:
            assert torch.equal(model[0].weight, before - 0.5 * gradient)
            assert torch.equal(optimizer.optimizer.param_groups[0]["params"][0], model[0].weight)


def test_layers_of_a_chain_are_found_without_recursion() -> None:
    chain = dg.CachedLayeredGraph(nx.path_graph(5000, create_using=nx.DiGraph))
    assert chain.num_layers == 5000
    assert chain.get_layer(4999) == 4999


def test_layers_take_one_pass_over_the_edges() -> None:
    # A ladder has 2**n paths from its first node: whoever follows each of them never ends.
    n = 300
    src = np.repeat(np.arange(0, 2 * n, 2), 4) + np.tile([0, 0, 1, 1], n)
    dst = np.repeat(np.arange(2, 2 * n + 2, 2), 4) + np.tile([0, 1, 0, 1], n)
    ladder = dg.CachedLayeredGraph.from_arrays(src, dst)
    assert ladder.layer_array().tolist() == np.repeat(np.arange(n + 1), 2).tolist()


def test_layers_are_those_of_the_edges_there_are() -> None:
    g = dg.CachedLayeredGraph([(0, 1), (1, 2), (0, 2)])
    assert g.get_layer(2) == 2
    g.remove_edge(1, 2)
    assert (g.get_layer(2), g.num_layers, g.get_vertices(1)) == (1, 2, [1, 2])
    g.add_edge(2, 1)
    assert [g.get_layer(v) for v in range(3)] == [0, 2, 1]
