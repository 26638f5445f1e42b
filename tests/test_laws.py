"""The laws that tie the parts together, as properties over random graphs and models. Law 1 is in tests/graph."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
import resumable_run
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

import deepgraph as dg
from deepgraph.sparse import edge_values

relaxed = settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))

SHAPES = ("one node", "no edges", "one layer", "disconnected", "deep", "any")


@st.composite
def dags(draw, shapes=SHAPES):
    """A random graph to compile: weights, biases, activations and stages included."""
    shape = draw(st.sampled_from(shapes))
    seed = draw(st.integers(0, 2**20))
    rng = np.random.default_rng(seed)
    n = {"one node": 1, "deep": 1000}.get(shape, int(rng.integers(2, 25)))
    if shape in ("one node", "no edges"):
        src = dst = np.empty(0, np.int64)
    elif shape == "deep":
        src, dst = np.arange(n - 1), np.arange(1, n)
    else:
        a, b = np.triu_indices(n, 1)
        if shape == "one layer":
            keep = (a < n // 2) & (b >= n // 2)
        elif shape == "disconnected":
            keep = (a < n // 2) == (b < n // 2)
        else:
            keep = np.ones(len(a), bool)
        keep &= rng.random(len(a)) < 0.4
        order = rng.permutation(n)
        src, dst = order[a[keep]], order[b[keep]]
    scale = 1.0 if shape == "deep" else 0.7
    g = dg.CachedLayeredGraph.from_arrays(src, dst, n, weight=scale * rng.standard_normal(len(src)).astype(np.float32))
    role = g.role_array()
    passed = np.isin(role, ("input", "input/output"))
    g.set_node_column("role", role)
    g.set_node_column("bias", np.where(passed, 0, rng.standard_normal(n)).astype(np.float32))
    g.set_node_column("activation", np.where(passed, "identity", rng.choice(["relu", "tanh", "identity"], n)))
    return g


def same_graph(a, b, atol=0.0):
    """Assert that two graphs have the same nodes, edges, weights, biases and roles."""
    assert list(a) == list(b)
    for mine, other in zip(a.edge_arrays(), b.edge_arrays(), strict=True):
        np.testing.assert_array_equal(mine, other)
    np.testing.assert_allclose(a.column("weight"), b.column("weight"), atol=atol)
    np.testing.assert_allclose(a.node_column("bias", 0.0), b.node_column("bias", 0.0), atol=atol)
    np.testing.assert_array_equal(a.role_array(), b.role_array())


def normwise(a, b):
    """Return the distance of two results over their norm."""
    return float(((a - b).norm() / b.norm().clamp(min=1e-3)).detach())


class SameProducts(nn.Module):
    """A plain module that does the products of a graph with torch's own operations, one stage after the other."""

    def __init__(self, g):
        super().__init__()
        self.order = [np.flatnonzero(g.stage_array() == k) for k in range(int(g.stage_array().max()) + 1)]
        dense = np.zeros((len(g), len(g)), np.float32)
        src, dst = g.edge_arrays()
        dense[dst, src] = g.column("weight")
        self.weights = [
            torch.from_numpy(dense[np.ix_(self.order[k], np.concatenate(self.order[:k]))])
            for k in range(1, len(self.order))
        ]
        self.biases = [
            torch.from_numpy(np.asarray(g.node_column("bias"))[self.order[k]]) for k in range(1, len(self.order))
        ]
        self.outputs = (
            torch.from_numpy(np.concatenate(self.order)[None] == g.output_positions()[:, None]).int().argmax(1)
        )

    def forward(self, x):
        state = x
        for weight, bias in zip(self.weights, self.biases, strict=True):
            state = torch.cat([state, torch.relu(state @ weight.T + bias)], 1)
        return state[:, self.outputs]


# -- law 2: structure round trip --------------------------------------------------------------------------------------


@relaxed
@given(dags(), st.sampled_from(["csr", "masked"]))
def test_law_2_the_graph_comes_back_out_of_the_module(g, storage):
    model = dg.MaskedDeepDAN.from_graph(g, storage=storage)
    found = dg.extract(model, torch.randn(2, len(g.input_positions())))
    same_graph(found, g)


@relaxed
@given(dags(shapes=("one layer", "disconnected", "any")))
def test_law_2_through_operations_with_weights_of_zero_and_no_look_at_the_graph(g):
    model = dg.MaskedDeepDAN.from_graph(g)
    for values in edge_values(model):
        values.set_values(torch.zeros(values.edge_set.num_edges))
    wanted = model.graph.copy()

    class Blind(type(model)):
        @property
        def graph(self):
            raise AssertionError("the tracer looked at model.graph")

        @property
        def edge_sets(self):
            raise AssertionError("the tracer looked at model.edge_sets")

    model.__class__ = Blind
    same_graph(dg.extract(model, torch.randn(1, len(g.input_positions()))), wanted)


@relaxed
@given(st.integers(0, 10_000))
def test_law_2_through_a_plain_module_that_does_the_same_products(seed):
    rng = np.random.default_rng(seed)
    g = dg.priors.random_layered([int(n) for n in rng.integers(2, 6, 3)], 0.7, seed=seed, skip=1)
    g.set_column(
        "weight", rng.choice([-1, 1], g.number_of_edges()) * (0.1 + rng.random(g.number_of_edges())).astype(np.float32)
    )
    g.set_node_column("bias", np.where(g.role_array() == "input", 0, rng.standard_normal(len(g))).astype(np.float32))
    found = dg.extract(SameProducts(g), torch.randn(1, len(g.input_positions())))
    assert nx.utils.graphs_equal(nx.DiGraph(g.edges), nx.DiGraph(found.edges))
    np.testing.assert_allclose(found.column("weight"), g.column("weight"), rtol=1e-6)
    np.testing.assert_allclose(found.node_column("bias", 0.0), g.node_column("bias"), rtol=1e-6)


@pytest.mark.parametrize("storage", ["csr", "masked"])
def test_law_2_straight_after_an_edit_of_rigl(storage):
    torch.manual_seed(0)
    model = dg.MaskedDeepFFN(12, 4, [10, 9], density=0.3, storage=storage, seed=0)
    optimizer = dg.RigL(model, torch.optim.SGD(model.parameters(), lr=0.1), every=2, until=100, seed=0)
    x = torch.randn(16, 12)
    for _ in range(8):
        optimizer.zero_grad()
        model(x).square().sum().backward()
        optimizer.step()
        same_graph(dg.extract(model, x), model.graph.copy())
    assert len(model.graph.history)


def test_law_2_of_a_sparsified_module_with_weights_of_zero():
    torch.manual_seed(0)
    model = dg.sparsify(nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)), 0.4, seed=0)
    pairs = [{(int(u), int(v)) for u, v in zip(*one.edge_set.pairs(), strict=True)} for one in edge_values(model)]
    for one in edge_values(model):
        one.set_values(torch.zeros(one.edge_set.num_edges))
    g = dg.extract(model, torch.randn(1, 6))
    assert {(u, v - 6) for u, v in g.edges if v < 14} == pairs[0]
    assert {(u - 6, v - 14) for u, v in g.edges if v >= 14} == pairs[1]


# -- law 3: function round trip ---------------------------------------------------------------------------------------


class Mixed(nn.Module):
    """Linear layers, activations, reshapes, residual sums and concatenation in an order drawn from a seed."""

    def __init__(self, seed):
        super().__init__()
        rng = np.random.default_rng(seed)
        torch.manual_seed(seed)
        self.width = int(rng.integers(2, 6)) * 2
        self.steps = [str(s) for s in rng.choice(["linear", "relu", "tanh", "residual", "cat", "reshape", "scale"], 6)]
        self.linears = nn.ModuleList()
        width = self.width
        for step in self.steps:
            if step in ("linear", "residual"):
                out = width if step == "residual" else int(rng.integers(1, 5)) * 2
                self.linears.append(nn.Linear(width, out))
                width = out
            elif step == "cat":
                width *= 2
                if width > 40:
                    self.linears.append(nn.Linear(width, 4))
                    width = 4

    def forward(self, x):
        linears = iter(self.linears)
        for step in self.steps:
            if step == "linear":
                x = next(linears)(x)
            elif step == "residual":
                x = x + torch.relu(next(linears)(x))
            elif step == "cat":
                x = torch.cat([x, torch.sigmoid(x)], 1)
                if x.shape[1] > 40:
                    x = next(linears)(x)
            elif step == "reshape":
                x = x.reshape(len(x), 2, -1).transpose(1, 2).reshape(len(x), -1)
            elif step == "scale":
                x = 0.5 * x + 1.0
            else:
                x = getattr(torch, step)(x)
        return x


@relaxed
@given(st.integers(0, 10_000))
def test_law_3_the_compiled_graph_computes_the_model_on_new_inputs(seed):
    model = Mixed(seed).eval()
    g = dg.extract(model, torch.randn(1, model.width))
    again = dg.MaskedDeepDAN.from_graph(g)
    for _ in range(5):
        x = torch.randn(7, model.width)
        assert normwise(again(x), model(x)) < 1e-5


def test_law_3_saved_and_loaded_in_a_process_without_the_models_code(tmp_path):
    model = Mixed(11).eval()
    x = torch.randn(5, model.width)
    dg.save(dg.extract(model, x), tmp_path / "model.dg")
    np.save(tmp_path / "x.npy", x.numpy())
    code = f"""
        import numpy as np, torch, deepgraph as dg
        model = dg.MaskedDeepDAN.from_graph(dg.load(r"{tmp_path / "model.dg"}"))
        np.save(r"{tmp_path / "y.npy"}", model(torch.from_numpy(np.load(r"{tmp_path / "x.npy"}"))).detach().numpy())
    """
    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert normwise(torch.from_numpy(np.load(tmp_path / "y.npy")), model(x)) < 1e-5


# -- law 4: the trace is honest ---------------------------------------------------------------------------------------


def reachability(g):
    """Return which output (O, I) each input reaches, by networkx."""
    inputs, outputs = g.input_positions(), g.output_positions()
    result = np.zeros((len(outputs), len(inputs)), bool)
    for i, u in enumerate(inputs):
        seen = nx.descendants(g, g.labels([u])[0]) | {g.labels([u])[0]}
        result[:, i] = [label in seen for label in g.labels(outputs)]
    return result


@relaxed
@given(st.integers(0, 10_000))
def test_law_4_the_jacobian_lies_inside_reachability(seed):
    model = Mixed(seed).eval()
    for linear in model.linears:
        with torch.no_grad():
            linear.weight[torch.rand_like(linear.weight) < 0.6] = 0
    x = torch.randn(1, model.width)
    inside = reachability(dg.extract(model, x))
    for _ in range(3):
        jacobian = torch.autograd.functional.jacobian(lambda v: model(v[None])[0], torch.randn(model.width))
        assert not (jacobian.abs().numpy() > 0)[~inside].any()


def test_law_4_an_operation_without_a_rule_is_named():
    class Odd(nn.Module):
        def forward(self, x):
            return torch.linalg.svdvals(x.reshape(len(x), 2, 2))

    with pytest.raises(dg.errors.UnsupportedOperationError, match="svd"):
        dg.extract(Odd(), torch.randn(1, 4))


# -- law 5: one truth -------------------------------------------------------------------------------------------------


def dense_of(values):
    """Return the weights of an edge set as a dense matrix (targets, sources), 0 off the edges."""
    edges = values.edge_set
    dense = torch.zeros(edges.num_targets, edges.num_sources)
    src, dst = (torch.from_numpy(a.astype(np.int64)) for a in edges.pairs())
    dense[dst, src] = values.values()
    return dense


@relaxed
@given(st.integers(0, 10_000), st.sampled_from(["csr", "masked"]))
def test_law_5_after_any_edits_the_module_computes_with_exactly_the_edges_of_its_graph(seed, storage):
    rng = np.random.default_rng(seed)
    model = dg.MaskedDeepFFN(6, 3, [7, 5], density=0.4, storage=storage, seed=seed)
    optimizer = torch.optim.Adam(model.parameters(), weight_decay=0.1)
    dg.follow(model, optimizer)
    parameters = list(model.parameters())
    for step in range(6):
        x = torch.randn(4, 6)
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()
        values = edge_values(model)[int(rng.integers(3))]
        src, dst = values.edge_set.pairs()
        dense = dense_of(values)
        gone = rng.random(len(src)) < 0.3
        absent = np.argwhere((dense == 0).numpy().T)
        absent = absent[values.edge_set.find(absent[:, 0], absent[:, 1]) < 0]
        new = absent[rng.random(len(absent)) < 0.1]
        values.edge_set.edit(drop=(src[gone], dst[gone]), grow=tuple(new.T), step=step)
        z = x
        for k, one in enumerate(edge_values(model)):
            z = z @ dense_of(one).T + model.layers[k].bias
            z = torch.relu(z) if k < 2 else z
        torch.testing.assert_close(model(x), z, atol=1e-5, rtol=1e-4)
        assert model.graph.number_of_edges() == sum(len(v.values()) for v in edge_values(model))
    assert all(a is b for a, b in zip(parameters, model.parameters(), strict=True))
    assert nx.is_directed_acyclic_graph(model.graph)


# -- law 6: same seed, same bytes -------------------------------------------------------------------------------------


def trained(threads, seed=3):
    """Train a small model with edits under a number of threads and return every byte of its state."""
    torch.set_num_threads(threads)
    try:
        model = dg.MaskedDeepDAN(40, 5, dg.priors.watts_strogatz(120, 6, 0.3, seed=1), seed=seed)
        optimizer = dg.RigL(model, torch.optim.Adam(model.parameters(), lr=0.01), every=3, until=50, seed=seed)
        generator = torch.Generator().manual_seed(0)
        for _ in range(8):
            x = torch.randn(300, 40, generator=generator)
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), torch.arange(300) % 5).backward()
            optimizer.step()
        return b"".join(value.numpy().tobytes() for value in model.state_dict().values())
    finally:
        torch.set_num_threads(1)


def test_law_6_same_seed_same_bytes_whatever_the_threads(global_rng_untouched):
    assert trained(1) == trained(2) == trained(1)
    assert trained(1) != trained(1, seed=4)


# -- law 7: nothing is lost -------------------------------------------------------------------------------------------


def test_law_7_a_run_that_is_killed_and_resumed_equals_an_uninterrupted_one(tmp_path):
    command = [sys.executable, str(Path(resumable_run.__file__)), str(tmp_path / "run.dg")]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    rng = np.random.default_rng(0)
    for lines in (6, 9):
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env)
        for _ in range(lines):
            assert child.stdout.readline().startswith("sav")
        # Somewhere between two saves, or in the middle of one.
        time.sleep(float(rng.random()) * 0.02)
        child.send_signal(signal.SIGKILL)
        child.communicate()
    resumed = subprocess.run(command, check=True, capture_output=True, text=True, env=env).stdout.splitlines()
    with torch.random.fork_rng():
        assert dict(line.split() for line in resumed[-4:]) == resumable_run.train()
    assert 6 <= int(resumed[0].split()[-1]) <= 60


def test_law_7_a_module_comes_back_with_its_history_and_its_plan(tmp_path):
    model = dg.MaskedDeepDAN(5, 3, dg.priors.watts_strogatz(30, 4, 0.3, seed=0), seed=0)
    model.graph.remove_edge(*next(iter(model.graph.edges)))
    dg.save(model, tmp_path / "model.dg")
    found = dg.load(tmp_path / "model.dg")
    x = torch.randn(4, 5)
    assert torch.equal(found(x), model(x))
    assert str(found.plan) == str(model.plan)
    assert list(found.graph.edges(data="weight")) == list(model.graph.edges(data="weight"))


# -- law 8: storage is invisible --------------------------------------------------------------------------------------


@relaxed
@given(dags())
def test_law_8_storages_give_the_same_outputs_and_gradients(g):
    csr, masked = (dg.MaskedDeepDAN.from_graph(g, storage=s, dtype=torch.float64) for s in ("csr", "masked"))
    x = torch.randn(5, len(g.input_positions()), dtype=torch.float64)
    a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
    ya, yb = csr(a), masked(b)
    torch.testing.assert_close(ya, yb)
    ya.square().sum().backward()
    yb.square().sum().backward()
    torch.testing.assert_close(a.grad, b.grad)
    torch.testing.assert_close(csr.core.bias.grad, masked.core.bias.grad)
    for p, q in zip(edge_values(csr), edge_values(masked), strict=True):
        torch.testing.assert_close(p.gradient(), q.gradient())
    assert all(torch.equal(u, v) for u, v in zip(csr.state_dict().values(), masked.state_dict().values(), strict=True))
