"""The modules: shapes, initialisation, the live graph, storages, state, copies, and what they refuse."""

from __future__ import annotations

import copy
import pickle

import networkx as nx
import numpy as np
import pytest
import torch
from torch import nn

import deepgraph as dg
from deepgraph.errors import (
    ArgumentError,
    CycleError,
    DtypeError,
    EdgeError,
    EditRefusedError,
    ShapeError,
    StructureError,
    TooLargeError,
    UnknownNodeError,
    UnsupportedOperationError,
)
from deepgraph.kernels.plan import has_numba
from deepgraph.sparse import edge_values

STORAGES = ("csr", "masked")


def small_world(n=60, seed=0):
    return dg.priors.watts_strogatz(n, 6, 0.3, seed=seed)


def layered():
    return dg.priors.random_layered([6, 9, 3], 0.5, seed=1)


def models(storage, seed=0):
    """One model of each kind, with an input width of 6 and 3 outputs."""
    return {
        "ffn": dg.MaskedDeepFFN(6, 3, [8, 7], density=0.5, storage=storage, seed=seed),
        "dan": dg.MaskedDeepDAN(6, 3, small_world(30), storage=storage, seed=seed, stem_density=0.5),
        "graph": dg.MaskedDeepDAN.from_graph(
            dg.priors.random_layered([6, 9, 3], 0.5, seed=1), storage=storage, seed=seed
        ),
        "linear": dg.SparseLinear(6, 3, 0.4, storage=storage, seed=seed),
    }


KINDS = tuple(models("csr"))


def reference(graph, x, hidden="relu"):
    """Compute a graph neuron by neuron in double precision, with no code of the library."""
    act = {"relu": lambda z: np.maximum(z, 0), "identity": lambda z: z, "tanh": np.tanh}
    g = nx.DiGraph(graph)
    order = list(nx.topological_sort(g))
    labels = list(g)
    inputs = graph.labels(graph.input_positions())
    value = {}
    for node in order:
        if node in inputs:
            value[node] = sum(x[:, i] for i, label in enumerate(inputs) if label == node)
            continue
        z = g.nodes[node].get("bias", 0.0) + np.zeros(len(x))
        for u in g.predecessors(node):
            z = z + g[u][node]["weight"] * value[u]
        value[node] = act[g.nodes[node].get("activation") or hidden](z)
    return np.stack([value[labels[p]] for p in graph.output_positions()], 1)


@pytest.mark.parametrize("storage", STORAGES)
def test_a_dan_computes_its_graph(storage):
    torch.manual_seed(3)
    g = dg.priors.random_layered([4, 6, 5, 3], 0.5, seed=2, skip=1)
    model = dg.MaskedDeepDAN.from_graph(g, storage=storage, dtype=torch.float64, seed=0)
    for node in model.graph:
        if model.graph.nodes[node]["role"] != "input":
            model.graph.nodes[node]["bias"] = 0.1 * node
    x = torch.randn(9, 4, dtype=torch.float64)
    live = model.graph.copy()
    live.set_node_column("activation", np.where(live.role_array() == "output", "identity", "relu"))
    np.testing.assert_allclose(model(x).detach().numpy(), reference(live, x.numpy()), atol=1e-12)


@pytest.mark.parametrize("storage", STORAGES)
def test_an_ffn_computes_its_graph(storage):
    model = dg.MaskedDeepFFN(5, 3, [7, 6], density=0.4, storage=storage, dtype=torch.float64, seed=0)
    nn.init.normal_(model.layers[1].bias)
    x = torch.randn(9, 5, dtype=torch.float64)
    np.testing.assert_allclose(model(x).detach().numpy(), reference(model.graph.copy(), x.numpy()), atol=1e-12)


@pytest.mark.parametrize("storage", STORAGES)
def test_stem_structure_and_head_compute_the_generated_structure(storage):
    model = dg.MaskedDeepDAN(
        5, 3, small_world(), stem_density=0.5, head_density=0.7, storage=storage, seed=0, dtype=torch.float64
    )
    nn.init.normal_(model.stem.bias)
    nn.init.normal_(model.core.bias)
    nn.init.normal_(model.head.bias)
    whole = model.generate_structure(include_input=True, include_output=True)
    x = torch.randn(4, 5, dtype=torch.float64)
    np.testing.assert_allclose(model(x).detach().numpy(), reference(whole, x.numpy()), atol=1e-12)
    again = dg.MaskedDeepDAN.from_graph(whole, dtype=torch.float64)
    torch.testing.assert_close(again(x), model(x))
    assert whole.number_of_edges() == model.num_edges


def test_generate_structure_without_ends_is_the_structure():
    g = small_world()
    model = dg.MaskedDeepDAN(5, 3, g, seed=0)
    found = model.generate_structure()
    assert list(found.edges) == list(g.edges)
    assert len(model.generate_structure(include_output=True)) == len(g) + 3
    with pytest.raises(ArgumentError, match="compiled by from_graph"):
        dg.MaskedDeepDAN.from_graph(g).generate_structure(include_input=True)


def test_layer_norm_is_that_of_torch():
    model = dg.MaskedDeepFFN(5, 3, [7, 6], use_layer_norm=True, density=0.4, seed=0)
    x = torch.randn(4, 5)
    z = x
    for k, layer in enumerate(model.layers):
        dense = torch.zeros(layer.edge_set.num_targets, layer.edge_set.num_sources)
        src, dst = layer.edge_set.pairs()
        dense[torch.from_numpy(dst.astype(np.int64)), torch.from_numpy(src.astype(np.int64))] = layer.edges.values()
        z = z @ dense.T + layer.bias
        if k < 2:
            z = torch.relu(nn.functional.layer_norm(z, z.shape[1:]))
    torch.testing.assert_close(model(x), z)


def test_layer_norm_on_a_dan_normalises_each_stage():
    g = dg.CachedLayeredGraph.from_arrays([0, 0, 1, 1, 0], [2, 3, 2, 3, 4], 5)
    g.set_node_column("stage", np.array([0, 0, 1, 1, 2]))
    model = dg.MaskedDeepDAN(2, 1, g, use_layer_norm=True, storage="masked", seed=0)
    x = torch.randn(6, 2)
    a = torch.relu(x @ model.stem.weight.T + model.stem.bias)
    w = model.core.edges.values()
    z = torch.stack([a[:, 0] * w[0] + a[:, 1] * w[3], a[:, 0] * w[1] + a[:, 1] * w[4]], 1) + model.core.bias[:2]
    hidden = torch.relu(nn.functional.layer_norm(z, (2,)))
    last = torch.relu(nn.functional.layer_norm(a[:, :1] * w[2] + model.core.bias[2:], (1,)))
    expected = torch.cat([hidden, last], 1) @ model.head.weight.T + model.head.bias
    torch.testing.assert_close(model(x), expected)
    model(x).sum().backward()
    assert model.core.weight.grad.shape == (5,)


@pytest.mark.parametrize("kind", KINDS)
def test_storages_agree(kind):
    x = torch.randn(16, 6)
    csr, masked = models("csr")[kind], models("masked")[kind]
    torch.testing.assert_close(csr(x), masked(x), atol=1e-5, rtol=1e-5)
    csr(x).square().sum().backward()
    masked(x).square().sum().backward()
    for a, b in zip(edge_values(csr), edge_values(masked), strict=True):
        assert torch.equal(a.values(), b.values())
        torch.testing.assert_close(a.gradient(), b.gradient(), atol=1e-4, rtol=1e-4)
        dense = b.parameter.grad.clone().view(-1)
        dense[b.index()] = 0
        assert not dense.any()


@pytest.mark.parametrize("kind", KINDS)
def test_state_dict_does_not_depend_on_storage_and_carries_the_edges(kind):
    csr, masked = models("csr", seed=0)[kind], models("masked", seed=9)[kind]
    state = csr.state_dict()
    assert list(state) == list(masked.state_dict())
    masked.load_state_dict(state)
    for key, value in masked.state_dict().items():
        assert torch.equal(value, state[key]), key
    x = torch.randn(3, 6)
    torch.testing.assert_close(masked(x), csr(x), atol=1e-5, rtol=1e-5)
    assert any(len(s.history) for s in masked.edge_sets) or kind in ("dan", "graph")


def test_load_state_dict_says_why_not_and_changes_nothing():
    model = dg.MaskedDeepFFN(6, 3, [8], density=0.5, seed=0)
    other = dg.MaskedDeepFFN(6, 3, [9], density=0.5, seed=0)
    digests = [s.digest() for s in model.edge_sets]
    with pytest.raises(RuntimeError, match="expected 8 biases"):
        model.load_state_dict(other.state_dict())
    state = model.state_dict()
    del state["layers.0.src"]
    with pytest.raises(RuntimeError, match="Missing key"):
        model.load_state_dict(state)
    assert [s.digest() for s in model.edge_sets] == digests


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("kind", KINDS)
def test_copies_are_independent(kind, storage):
    model = models(storage)[kind]
    x = torch.randn(3, 6)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(twin(x), model(x))
        u, v = next(iter(twin.graph.edges))
        before = model.num_edges
        twin.graph.remove_edge(u, v)
        assert twin.num_edges == before - 1 == model.num_edges - 1
        twin(x).sum().backward()


@pytest.mark.parametrize("kind", KINDS)
def test_config_builds_the_same_shape(kind):
    model = models("csr")[kind]
    twin = type(model).from_config(model.config())
    twin.load_state_dict(model.state_dict())
    x = torch.randn(3, 6)
    assert torch.equal(twin(x), model(x))
    assert list(twin.graph.edges) == list(model.graph.edges)


def test_dtype_and_double():
    model = dg.MaskedDeepFFN(6, 3, [8], density=0.5, seed=0).double()
    assert model(torch.randn(2, 6, dtype=torch.float64)).dtype == torch.float64
    assert (
        dg.MaskedDeepDAN(6, 3, small_world(), dtype=torch.float64, seed=0)(torch.zeros(1, 6).double()).dtype
        == torch.float64
    )


def test_bfloat16_runs_in_both_storages():
    for storage in STORAGES:
        model = dg.MaskedDeepFFN(6, 3, [8], density=0.5, seed=0, storage=storage, dtype=torch.bfloat16)
        full = dg.MaskedDeepFFN(6, 3, [8], density=0.5, seed=0, storage=storage)
        x = torch.randn(4, 6)
        y = model(x.bfloat16())
        assert y.dtype == torch.bfloat16
        torch.testing.assert_close(y.float(), full(x), atol=0.1, rtol=0.1)
        y.sum().backward()
        assert isinstance(model.graph.column("weight")[0].item(), float)


# -- seeds ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_decides_and_leaves_global_state(kind, global_rng_untouched):
    a, b = models("csr", seed=4)[kind], models("csr", seed=4)[kind]
    assert all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))
    c = models("csr", seed=5)[kind]
    assert any(not torch.equal(p, q) for p, q in zip(a.parameters(), c.parameters(), strict=True) if p.shape == q.shape)


def test_without_a_seed_torch_decides():
    drawn = []
    for _ in range(2):
        torch.manual_seed(7)
        drawn.append(dg.MaskedDeepFFN(6, 3, [8], density=0.5))
    assert all(torch.equal(p, q) for p, q in zip(drawn[0].parameters(), drawn[1].parameters(), strict=True))
    assert drawn[0].edge_sets[0].digest() != dg.MaskedDeepFFN(6, 3, [8], density=0.5).edge_sets[0].digest()


def test_seeds_that_are_none():
    with pytest.raises(ArgumentError, match=r"seed: expected an integer in \[0, 2\*\*63\), got -1"):
        dg.MaskedDeepFFN(6, 3, [8], seed=-1)
    with pytest.raises(DtypeError, match="seed: expected an integer, a torch or numpy Generator, or None, got 'x'"):
        dg.MaskedDeepFFN(6, 3, [8], seed="x")
    generator = torch.Generator().manual_seed(1)
    assert dg.MaskedDeepFFN(6, 3, [8], seed=generator).num_edges == 72
    assert dg.MaskedDeepFFN(6, 3, [8], seed=np.random.default_rng(1)).num_edges == 72


# -- initialisation -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("init", "gain"), [("fan_in", 2.0), ("xavier", 2.0)])
def test_variance_follows_the_true_fan_in(init, gain):
    rng = np.random.default_rng(0)
    src = np.concatenate([np.arange(1000), rng.choice(1000, 50, replace=False)])
    dst = np.repeat([0, 1], [1000, 50])
    g = dg.CachedLayeredGraph.from_arrays(src, dst + 1000, 1003)
    g.add_edges_from([(1000, 1002), (1001, 1002)])
    found = {0: [], 1: []}
    for seed in range(20):
        model = dg.MaskedDeepDAN.from_graph(g, init=init, seed=seed)
        weight = model.graph.column("weight")
        target = model.graph.edge_arrays()[1]
        for k in found:
            found[k].append(weight[target == 1000 + k])
    for k, fan_in in ((0, 1000), (1, 50)):
        variance = np.concatenate(found[k]).var()
        expected = gain / fan_in if init == "fan_in" else gain * 2 / (fan_in + 1.05)
        assert abs(variance / expected - 1) < 0.1


def test_torch_init_is_that_of_linear():
    weight = dg.SparseLinear(400, 300, 0.5, init="torch", seed=0).layer.edges.values()
    assert weight.abs().max() <= 0.05
    assert abs(float(weight.std()) / (0.05 / 3**0.5) - 1) < 0.02
    with pytest.raises(ArgumentError, match="init: expected one of"):
        dg.SparseLinear(4, 3, init="orthogonal")


# -- the live graph -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("storage", STORAGES)
def test_networkx_edits_are_edits_of_the_module(storage):
    model = dg.MaskedDeepFFN(6, 3, [8], density=0.5, seed=0, storage=storage)
    parameter, graph = model.layers[0].weight, model.graph
    u, v = next(iter(graph.edges))
    graph[u][v]["weight"] = 2.5
    assert model.layers[0].edges.values()[0] == 2.5
    graph.remove_edge(u, v)
    assert model.num_edges == 35
    graph.add_edge(u, v, weight=-1.0)
    assert graph[u][v]["weight"] == -1.0
    assert model.layers[0].weight is parameter
    graph.remove_edges_from(list(graph.out_edges(0)))
    graph.add_edges_from([(0, 6), (0, 7, {"weight": 4.0})])
    assert graph[0][6]["weight"] == 0.0
    assert graph[0][7]["weight"] == 4.0
    x = torch.randn(5, 6, dtype=torch.float32)
    np.testing.assert_allclose(model(x).detach().numpy(), reference(graph.copy(), x.double().numpy()), atol=1e-5)


def test_the_weight_column_is_the_parameter():
    model = dg.MaskedDeepDAN.from_graph(dg.priors.random_layered([4, 5, 2], 0.6, seed=0), storage="csr", seed=0)
    column = model.graph.column("weight")
    assert np.shares_memory(column, model.core.weight.detach().numpy())
    with pytest.raises(ValueError, match="read-only"):
        column[0] = 1.0
    model.graph.set_column("weight", np.arange(len(column), dtype=np.float32))
    assert model.core.weight.tolist() == list(range(len(column)))


def test_biases_are_live():
    model = dg.MaskedDeepFFN(3, 2, [4], seed=0)
    model.graph.nodes[4]["bias"] = 1.5
    assert model.layers[0].bias[1] == 1.5
    with pytest.raises(ArgumentError, match="got one for an input"):
        model.graph.nodes[0]["bias"] = 1.0


def test_history_joins_the_layers_and_undo_takes_it_back():
    model = dg.MaskedDeepFFN(6, 3, [8], density=0.5, seed=0)
    before = [s.digest() for s in model.edge_sets]
    src, dst = model.graph.edge_arrays()
    edit = model.graph.edit(drop=(src[[0, -1]], dst[[0, -1]]), step=5, reason="test")
    assert (edit.num_dropped, len(model.graph.history), model.graph.history[0].step) == (2, 1, 5)
    assert edit.dropped[0].tolist() == src[[0, -1]].tolist()
    model.graph.undo()
    assert [s.digest() for s in model.edge_sets] == before
    with pytest.raises(EditRefusedError, match="empty history"):
        model.graph.undo()


def refused(model, error, match, change):
    """An edit is refused with a message, and nothing has changed."""
    before = [s.digest() for s in model.edge_sets], [len(s.history) for s in model.edge_sets]
    with pytest.raises(error, match=match):
        change(model.graph)
    assert before == ([s.digest() for s in model.edge_sets], [len(s.history) for s in model.edge_sets])


@pytest.mark.parametrize("storage", STORAGES)
def test_what_a_live_graph_refuses(storage):
    g = dg.priors.random_layered([4, 5, 2], 0.6, seed=0)
    dan = dg.MaskedDeepDAN.from_graph(g, seed=0, storage=storage)
    u, v = next(iter(g.edges))
    refused(dan, EdgeError, "go up in stage", lambda graph: graph.add_edge(v, u))
    refused(dan, EdgeError, "go up in stage", lambda graph: graph.edit(grow=([0], [1])))
    refused(dan, EditRefusedError, "nodes are fixed", lambda graph: graph.add_node(99))
    refused(dan, EditRefusedError, "nodes are fixed", lambda graph: graph.add_edge(0, 99))
    refused(dan, EditRefusedError, "nodes are fixed", lambda graph: graph.remove_node(0))
    refused(dan, EditRefusedError, "nodes are fixed", lambda graph: graph.clear())
    refused(dan, EdgeError, "duplicate", lambda graph: graph.edit(drop=([u, u], [v, v])))
    refused(dan, EdgeError, "expected edges that exist", lambda graph: graph.edit(drop=([0], [10])))
    refused(dan, EdgeError, "that exist", lambda graph: graph.edit(grow=([u], [v])))
    refused(dan, ArgumentError, "below 11", lambda graph: graph.edit(grow=([0], [99])))
    refused(dan, ArgumentError, "finite", lambda graph: graph.edit(grow=([0], [10]), weight=np.nan))
    refused(dan, ArgumentError, "finite", lambda graph: graph[u][v].update(weight=float("nan")))
    refused(dan, DtypeError, "expected numbers", lambda graph: graph[u][v].update(weight="x"))
    refused(dan, UnknownNodeError, "expected a node of the graph, got 77", lambda graph: graph.positions([77]))
    ffn = dg.MaskedDeepFFN(3, 2, [4], density=0.5, seed=0, storage=storage)
    refused(ffn, EditRefusedError, "consecutive layers", lambda graph: graph.add_edge(0, 8))


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("kind", KINDS)
def test_no_edit_between_forward_and_backward(kind, storage):
    model = models(storage)[kind]
    x = torch.randn(3, 6)
    u, v = next(iter(model.graph.edges))
    y = model(x)
    refused(model, EditRefusedError, "between a forward and its backward", lambda graph: graph.remove_edge(u, v))
    refused(model, EditRefusedError, "set weights", lambda graph: graph[u][v].update(weight=1.0))
    y.sum().backward()
    model.graph.remove_edge(u, v)
    with torch.no_grad():
        y = model(x)
    model.graph.add_edge(u, v)
    y = model(x)
    del y
    model.graph.remove_edge(u, v)


def test_a_backward_after_an_edit_is_refused():
    model = models("csr")["graph"]
    loss = model(torch.randn(3, 6)).sum()
    loss.backward(retain_graph=True)
    model.graph.remove_edge(*next(iter(model.graph.edges)))
    with pytest.raises(EditRefusedError, match="before 1 edits"):
        loss.backward()


# -- optimizers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("storage", STORAGES)
def test_followed_optimizers_keep_the_state_of_surviving_edges(storage):
    model = dg.MaskedDeepFFN(6, 3, [8], density=0.5, seed=0, storage=storage)
    optimizer = torch.optim.Adam(model.parameters())
    dg.follow(model, optimizer)
    model(torch.randn(5, 6)).square().sum().backward()
    optimizer.step()
    values = edge_values(model)[0]

    def by_pair():
        pairs = zip(*(a.tolist() for a in values.edge_set.pairs()), strict=True)
        moments = optimizer.state[values.parameter]["exp_avg"].view(-1)[values.index()].tolist()
        return dict(zip(pairs, zip(values.values().tolist(), moments, strict=True), strict=True))

    before = by_pair()
    src, dst = values.edge_set.pairs()
    absent = [(u, v) for u in range(6) for v in range(8) if (u, v) not in before][:4]
    values.edge_set.edit(drop=(src[:3], dst[:3]), grow=tuple(np.array(absent).T), weight=0.5)
    after = by_pair()
    assert len(after) == len(before) + 1
    assert all(found == before.get(pair, (0.5, 0.0)) for pair, found in after.items())
    assert optimizer.state[values.parameter]["exp_avg"].shape == values.parameter.shape


def test_room_is_reserved_and_given_back():
    model = dg.MaskedDeepFFN(6, 3, [8], density=0.5, storage="csr", seed=0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    dg.follow(model, optimizer)
    values = edge_values(model)[0]
    x = torch.randn(5, 6)
    expected = model(x).detach()
    values.reserve(40)
    assert values.parameter.shape == (40,)
    torch.testing.assert_close(model(x), expected)
    model(x).sum().backward()
    optimizer.step()
    assert not values.parameter[24:].any()
    values.compact()
    assert values.parameter.shape == (24,) == optimizer.state[values.parameter]["momentum_buffer"].shape


def test_an_edge_beyond_the_room_keeps_the_parameter_even_while_results_are_alive():
    model = dg.MaskedDeepFFN(6, 3, [8], density=0.5, storage="csr", seed=0)
    optimizer = torch.optim.Adam(model.parameters())
    dg.follow(model, optimizer)
    x, parameter = torch.randn(5, 6), model.layers[0].weight
    loss = model(x).sum()
    for _ in range(3):
        loss.backward()
        optimizer.step()
        src, dst = next((u, v) for u in range(6) for v in range(6, 14) if not model.graph.has_edge(u, v))
        model.graph.add_edge(src, dst)
        optimizer.zero_grad()
        loss = model(x).sum()
    assert model.layers[0].weight is parameter
    assert model.layers[0].edge_set.num_edges == 27


def test_follow_needs_edges():
    plain = nn.Linear(3, 2)
    with pytest.raises(ArgumentError, match="expected a model with edge sets, got Linear"):
        dg.follow(plain, torch.optim.SGD(plain.parameters(), lr=0.1))


# -- bad input ------------------------------------------------------------------------------------------------------


def test_what_models_refuse():
    g = small_world()
    for density in (0, -0.1, 1.5, float("nan"), True):
        with pytest.raises(ArgumentError, match=r"in \(0, 1\]"):
            dg.MaskedDeepFFN(4, 2, [3], density=density)
    with pytest.raises(ShapeError, match="one for each of 2 layers, got 3"):
        dg.MaskedDeepFFN(4, 2, [3], density=[0.5, 0.5, 0.5])
    with pytest.raises(ArgumentError, match="size_input: expected a positive integer"):
        dg.MaskedDeepFFN(0, 2, [3])
    with pytest.raises(UnsupportedOperationError, match="storage: expected"):
        dg.MaskedDeepFFN(4, 2, [3], storage="coo2")
    with pytest.raises(ArgumentError, match="relu"):
        dg.MaskedDeepFFN(4, 2, [3], activation="rleu")
    with pytest.raises(StructureError, match="empty graph"):
        dg.MaskedDeepDAN(4, 2, dg.CachedLayeredGraph())
    with pytest.raises(DtypeError, match="expected a directed graph"):
        dg.MaskedDeepDAN(4, 2, nx.path_graph(4))
    with pytest.raises(CycleError, match="cycle of 2 edges"):
        dg.MaskedDeepDAN(4, 2, dg.CachedLayeredGraph([(0, 1), (1, 0)]))
    with pytest.raises(ArgumentError, match="stem_density"):
        dg.MaskedDeepDAN(4, 2, g, stem_density=2)
    with pytest.raises(DtypeError, match="floating"):
        dg.MaskedDeepFFN(4, 2, [3], dtype=torch.int64)


def test_what_from_graph_refuses():
    g = dg.CachedLayeredGraph.from_arrays([0, 1], [1, 2], weight=[1.0, np.nan])
    with pytest.raises(StructureError, match=r"expected finite weights, got nan at edge \(1, 2\)"):
        dg.MaskedDeepDAN.from_graph(g)
    g = dg.CachedLayeredGraph([(0, 1), (1, 2)])
    g.set_node_column("role", np.array(["hidden", "input", "output"]))
    with pytest.raises(dg.DeepGraphError, match="into an input"):
        dg.MaskedDeepDAN.from_graph(g)
    g.set_node_column("role", np.array(["hidden", "hidden", "output"]))
    with pytest.raises(StructureError, match="expected inputs and outputs, got 0 and 1"):
        dg.MaskedDeepDAN.from_graph(g)
    g.set_node_column("role", np.array(["in", "hidden", "output"]))
    with pytest.raises(StructureError, match="expected a role of"):
        dg.MaskedDeepDAN.from_graph(g)
    g = dg.CachedLayeredGraph([(0, 1)])
    g.nodes[1]["reduce"] = "median"
    with pytest.raises(UnsupportedOperationError, match="'reduce'"):
        dg.MaskedDeepDAN.from_graph(g)
    g = dg.CachedLayeredGraph([(0, 1)], output_shape=[3])
    with pytest.raises(StructureError, match="output_shape"):
        dg.MaskedDeepDAN.from_graph(g)
    with pytest.raises(UnsupportedOperationError, match="got one of order 1, whose nodes are channels"):
        dg.MaskedDeepDAN.from_graph(dg.CachedLayeredGraph([(0, 1)], order=1))
    big = dg.CachedLayeredGraph.from_arrays([0], [20_000], 40_000)
    big.set_node_column("stage", np.arange(40_000) // 20_000)
    with pytest.raises(TooLargeError, match=r"1\.5 GB"):
        dg.MaskedDeepDAN.from_graph(big, storage="masked")


@pytest.mark.parametrize("kind", KINDS)
def test_what_forward_refuses(kind):
    model = models("csr")[kind]
    with pytest.raises(ShapeError, match="6"):
        model(torch.zeros(2, 7))
    with pytest.raises(DtypeError, match=r"torch\.float64"):
        model(torch.zeros(2, 6, dtype=torch.float64))


def test_bottlenecks_are_warned_of():
    with pytest.warns(UserWarning, match="bottleneck"):
        dg.MaskedDeepDAN(4, 10, dg.CachedLayeredGraph([(0, 1), (1, 2)]))


def test_repeated_inputs_and_outputs():
    g = dg.CachedLayeredGraph.from_arrays([0, 1], [2, 2], weight=[2.0, 3.0])
    g.graph.update(inputs=[0, 1, 0], outputs=[2, 2, 0], output_shape=[3, 1])
    model = dg.MaskedDeepDAN.from_graph(g)
    y = model(torch.tensor([[1.0, 10.0, 100.0]]))
    assert y.shape == (1, 3, 1)
    assert y.flatten().tolist() == [232.0, 232.0, 101.0]


def test_nodes_without_edges_and_one_node():
    g = dg.CachedLayeredGraph()
    g.add_nodes_from(range(20))
    model = dg.MaskedDeepDAN(5, 2, g, seed=0)
    assert model(torch.zeros(3, 5)).shape == (3, 2)
    one = dg.CachedLayeredGraph()
    one.add_node("only")
    assert dg.MaskedDeepDAN.from_graph(one)(torch.tensor([[4.0]])).item() == 4.0


def test_plan_names_every_part():
    model = dg.MaskedDeepDAN(6, 3, small_world(100), seed=0)
    text = str(model.plan)
    assert all(name in text for name in ("stem", "structure", "head", "csr"))
    wide = dg.MaskedDeepDAN(20_000, 3, small_world(100), seed=0).plan.parts
    assert [part.storage for part in wide] == ["dense", "csr", "csr" if has_numba() else "dense"]
