"""Law 5 for every rewirer, model, storage and torch optimizer: what an edit may change, and what it must not."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rewire_models import INPUTS, OPTIMIZERS, OUTPUTS, batch, layered_dag, make_model, make_rewirer, pairs_of, train
from torch import Tensor, nn

from deepgraph.graph import CachedLayeredGraph
from deepgraph.rewire import Rewirer
from deepgraph.sparse import MaskedDeepDAN, edge_values


def states_of(model: nn.Module, optimizer: Rewirer) -> list[dict[str, Tensor]]:
    """Return weight and optimizer state of each edge, by edge set: name -> (E,)."""
    found = []
    for one in edge_values(model):
        state = {"weight": one.values()}
        for key, entry in optimizer.state.get(one.parameter, {}).items():
            if isinstance(entry, Tensor) and entry.shape == one.parameter.shape:
                state[key] = entry.reshape(-1)[one.index()].clone()
        found.append(state)
    return found


def by_pair(model: nn.Module, optimizer: Rewirer) -> list[dict[tuple[int, int], dict[str, float]]]:
    """Return the same as `states_of` by edge."""
    found = []
    for edges, state in zip(model.edge_sets, states_of(model, optimizer), strict=True):
        pairs = list(zip(*(side.tolist() for side in edges.pairs()), strict=True))
        columns = {name: column.tolist() for name, column in state.items()}
        found.append({pair: {name: column[i] for name, column in columns.items()} for i, pair in enumerate(pairs)})
    return found


def step_before_edit(algorithm: str, kind: str, storage: str, optimizer: str) -> tuple[nn.Module, Rewirer]:
    """Return a model that was trained for three steps, so that the next one edits."""
    model = make_model(kind, storage)
    rewirer = make_rewirer(algorithm, model, optimizer)
    train(model, rewirer, 3)
    return model, rewirer


@pytest.mark.parametrize(
    ("algorithm", "optimizer"),
    [
        *itertools.product(["static", "set", "rigl"], OPTIMIZERS),
        ("deepr", "sgd"),
        ("snfs", "adamw"),
        ("cht", "sgd"),
        ("mest", "adamw"),
    ],
)
def test_survivors_keep_weight_and_state_and_the_grown_start_at_zero_state(
    algorithm: str, kind: str, storage: str, optimizer: str
) -> None:
    model, rewirer = step_before_edit(algorithm, kind, storage, optimizer)
    identities = [id(parameter) for parameter in model.parameters()]
    # What an optimizer's step alone does is seen on a twin without edits.
    twin = copy.deepcopy(model)
    plain = OPTIMIZERS[optimizer](twin)
    if algorithm != "deepr":
        plain.load_state_dict(copy.deepcopy(rewirer.optimizer.state_dict()))
    before = by_pair(model, rewirer)
    train(model, rewirer, range(3, 4))
    if algorithm in ("set", "snfs", "cht", "mest"):
        x, y = batch(3)
        plain.zero_grad()
        (twin(x) - y).square().mean().backward()
        plain.step()
        for one, other in zip(edge_values(twin), before, strict=True):
            src, dst = one.edge_set.pairs()
            state = {"weight": one.values()} | {
                key: entry.reshape(-1)[one.index()]
                for key, entry in plain.state[one.parameter].items()
                if entry.shape == one.parameter.shape
            }
            for i, pair in enumerate(zip(src.tolist(), dst.tolist(), strict=True)):
                other[pair] = {name: float(column[i]) for name, column in state.items()}
    edits = {i: e for i, edges in enumerate(model.edge_sets) for e in edges.history if e.step == rewirer.steps}
    assert algorithm == "deepr" or bool(edits) == (algorithm != "static")
    assert identities == [id(parameter) for parameter in model.parameters()]
    for index, (old, new) in enumerate(zip(before, by_pair(model, rewirer), strict=True)):
        edit = edits.get(index)
        grown = set() if edit is None else set(zip(*(side.tolist() for side in edit.grown), strict=True))
        for pair, state in new.items():
            if pair in grown:
                assert abs(state.pop("weight")) == (pytest.approx(1e-12) if algorithm == "deepr" else 0.0)
                assert all(entry == 0 for entry in state.values())
            elif algorithm not in ("deepr", "static"):
                assert state == old[pair], (pair, state, old[pair])


def test_budget_is_met_and_the_graph_stays_a_dag(algorithm: str, kind: str, storage: str) -> None:
    model = make_model(kind, storage)
    rewirer = make_rewirer(algorithm, model)
    sizes = [edges.num_edges for edges in model.edge_sets]
    for step in range(12):
        train(model, rewirer, range(step, step + 1))
        if algorithm != "snfs":  # which moves edges between sets
            assert [edges.num_edges for edges in model.edge_sets] == sizes
        assert model.num_edges == sum(sizes) == rewirer.budget(step)
        assert nx.is_directed_acyclic_graph(nx.DiGraph(model.graph))
    changed = [row["step"] for row in rewirer.log]
    if algorithm not in ("static", "deepr"):
        assert changed == [2, 4, 6, 8, 10, 12]
    elif algorithm == "static":
        assert changed == []
    else:
        assert len(changed) >= 3


def test_one_truth(algorithm: str, kind: str, storage: str) -> None:
    """The module computes with exactly the edges of its edge sets, and an independent dense copy agrees."""
    model = make_model(kind, storage)
    rewirer = make_rewirer(algorithm, model)
    train(model, rewirer, 8)
    rebuilt = make_model(kind, "masked" if storage == "csr" else "csr")
    rebuilt.load_state_dict(model.state_dict())
    x, _ = batch(99)
    torch.testing.assert_close(model(x), rebuilt(x), rtol=1e-10, atol=1e-12)
    assert pairs_of(model) == pairs_of(rebuilt)
    graph = model.graph
    src, dst = graph.edge_arrays()
    assert len(src) == graph.number_of_edges() == len(set(zip(src.tolist(), dst.tolist(), strict=True)))
    assert graph.digest() == rebuilt.graph.digest()


def test_absent_edges_never_move(algorithm: str, kind: str) -> None:
    """Weight decay and momentum of a dense masked parameter leave everything off the mask at exactly 0."""
    model = make_model(kind, "masked")
    rewirer = make_rewirer(algorithm, model, "sgd")
    for step in range(8):
        train(model, rewirer, range(step, step + 1))
        for one in edge_values(model):
            off = torch.ones(one.parameter.numel(), dtype=torch.bool)
            off[one.index()] = False
            assert not one.parameter.detach().reshape(-1)[off].any()
            for entry in rewirer.state.get(one.parameter, {}).values():
                if isinstance(entry, Tensor) and entry.shape == one.parameter.shape:
                    assert not entry.reshape(-1)[off].any()


def history_of(model: nn.Module) -> list[list[Any]]:
    return [[[p.tolist() for p in (*e.dropped, *e.grown)] + [e.step] for e in s.history] for s in model.edge_sets]


@pytest.mark.parametrize(
    ("algorithm", "group"),
    [*itertools.product(["set", "rigl"], ["auto", "set", "target", "graph"]), ("deepr", "set"), ("deepr", "graph")],
)
def test_storages_make_the_same_edits(algorithm: str, kind: str, group: str) -> None:
    runs = []
    for storage in ("csr", "masked"):
        model = make_model(kind, storage)
        train(model, make_rewirer(algorithm, model, group=group), 8)
        runs.append((history_of(model), [one.values() for one in edge_values(model)]))
    assert runs[0][0] == runs[1][0]
    for one, other in zip(runs[0][1], runs[1][1], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize("group", ["target", "graph"])
def test_groups_keep_their_budget(kind: str, storage: str, group: str) -> None:
    for algorithm in ("set", "rigl"):
        model = make_model(kind, storage)
        rewirer = make_rewirer(algorithm, model, group=group)
        fan_in = [np.bincount(edges.dst, minlength=edges.num_targets) for edges in model.edge_sets]
        total = sum(edges.num_edges for edges in model.edge_sets)
        train(model, rewirer, 8)
        assert len(rewirer.history)
        after = [np.bincount(edges.dst, minlength=edges.num_targets) for edges in model.edge_sets]
        if group == "target":
            assert all((one == other).all() for one, other in zip(fan_in, after, strict=True))
        assert sum(edges.num_edges for edges in model.edge_sets) == total


@settings(max_examples=40)
@given(
    seed=st.integers(0, 10**6),
    algorithm=st.sampled_from(["set", "rigl", "deepr", "snfs", "cht", "chts", "mest"]),
    masked=st.booleans(),
)
def test_any_dag(seed: int, algorithm: str, masked: bool) -> None:
    """Random DAGs, down to no edges at all: budget, stages, inputs, and the outputs of a rebuilt one."""
    rng = np.random.default_rng(seed)
    widths = (INPUTS, *rng.integers(1, 5, rng.integers(0, 4)).tolist(), OUTPUTS)
    g = layered_dag(seed, widths, density=float(rng.choice([0.0, 0.05, 0.4, 0.9, 1.0])))
    storage = "masked" if masked else "csr"
    model = MaskedDeepDAN.from_graph(g, activation="tanh", storage=storage, seed=seed, dtype=torch.float64)
    rewirer = make_rewirer(algorithm, model, every=1) if algorithm != "deepr" else make_rewirer(algorithm, model)
    train(model, rewirer, 3)
    edges = model.edge_sets[0]
    src, dst = edges.pairs()
    assert edges.num_edges == g.number_of_edges() == rewirer.budget(3)
    stage = g.stage_array()
    assert (stage[src] < stage[dst]).all()
    assert (dst >= INPUTS).all()
    rebuilt = MaskedDeepDAN.from_graph(model.graph, activation="tanh", dtype=torch.float64)
    x, _ = batch(5)
    torch.testing.assert_close(model(x), rebuilt(x), rtol=1e-10, atol=1e-12)


def test_dense_sets_are_left_alone(algorithm: str) -> None:
    model = make_model("dan", "csr")
    assert [edges.density for edges in model.edge_sets][::2] == [1.0, 1.0]
    train(model, make_rewirer(algorithm, model), 8)
    assert [len(edges.history) for edges in model.edge_sets][::2] == [0, 0]


def test_new_skip_edges_arise_on_a_dag() -> None:
    """A graph without skip edges gets some by gradient, and the log says how long they are."""
    stage = np.repeat(np.arange(4), [6, 5, 5, 4])
    u, v = np.nonzero((stage[:, None] + 1 == stage[None, :]) & (np.random.default_rng(0).random((20, 20)) < 0.6))
    g = CachedLayeredGraph.from_arrays(u, v, num_nodes=20)
    g.set_node_column("stage", stage.astype(np.int32))
    g.set_node_column("role", np.repeat(["input", "hidden", "output"], [6, 10, 4]))
    model = MaskedDeepDAN.from_graph(g, activation="tanh", seed=0, dtype=torch.float64)
    rewirer = make_rewirer("rigl", model)
    train(model, rewirer, 6)
    assert set(rewirer.log[-1]["skip"]) == {1, 2, 3}
    edges = model.edge_sets[0]
    lengths = np.bincount(stage[edges.pairs()[1]] - stage[edges.pairs()[0]])
    assert rewirer.log[-1]["skip"] == {k: int(n) for k, n in enumerate(lengths) if n}


@pytest.mark.parametrize("storage", ["csr", "masked"])
@pytest.mark.parametrize("name", ["set", "rigl", "deepr", "softdeepr", "mest", "granet", "srigl", "cht", "chts"])
def test_inputs_above_the_first_stage_take_no_edges(name: str, storage: str) -> None:
    """Pairs into them go up in stage and are yet no candidates: what comes in from outside is not computed."""
    graph = layered_dag(0)
    late = np.flatnonzero(graph.stage_array() == 1)[:2]
    src, dst = graph.edge_arrays()
    into = np.isin(dst, late)
    graph.edit(drop=(src[into], dst[into]))
    role = graph.node_column("role").copy()
    role[late] = "input"
    graph.set_node_column("role", role)
    model = MaskedDeepDAN.from_graph(graph, activation="tanh", storage=storage, seed=0, dtype=torch.float64)
    rewirer = make_rewirer(name, model)
    for step in range(8):
        x, y = batch(step)
        rewirer.zero_grad()
        (model(torch.cat([x, x[:, :2]], 1)) - y).square().mean().backward()
        rewirer.step()
        assert not np.isin(model.core.edge_set.dst, late).any()
    assert len(rewirer.log) > 2


def test_growth_of_a_dag_is_ranked_by_gradients_over_the_size_of_dz_unless_told_otherwise() -> None:
    """One step from the same state: the free pairs of the largest |A_u dZ_v| / rms(dZ_v), computed pair by pair."""
    grown = {}
    for group in (None, "graph", "set"):
        model = make_model("graph", "csr")
        rewirer = make_rewirer("rigl", model, every=1, group=group)
        x, y = batch(0)
        rewirer.zero_grad()
        (model(x) - y).square().mean().backward()
        (one,) = rewirer.values
        edges = one.edge_set
        a, dz = (side.double() for side in rewirer.factors(one)[0])
        rms = dz.square().mean(1).sqrt()
        kept = np.sort(np.argsort(one.values().abs().numpy())[int(rewirer.drop_share(1) * edges.num_edges) :])
        src, dst = (side[kept].tolist() for side in edges.pairs())
        stays, stage, closed = set(zip(src, dst, strict=True)), edges.stage, edges.closed
        assert stage is not None
        free = [
            (u, v)
            for u, v in itertools.product(range(edges.num_sources), range(edges.num_targets))
            if stage[u] < stage[v] and (u, v) not in stays and (closed is None or not closed[v])
        ]
        scores = [abs(float(a[u] @ dz[v])) / (float(rms[v]) or 1.0 if group != "set" else 1.0) for u, v in free]
        best = np.argsort(-np.array(scores), kind="stable")[: edges.num_edges - len(kept)]
        rewirer.step()
        grown[group] = pairs_of(model)[0]
        assert grown[group] == stays | {free[i] for i in best}
    assert grown[None] == grown["graph"] != grown["set"]
