"""SRigL: one fan-in for all living neurons, ablation by salient edges, budgets; its edits are in the traces too."""

from __future__ import annotations

import copy
import json
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rewire_models import OPTIMIZERS, batch, make_model, pairs_of, train
from torch import nn
from trace_reference import FOLDER, SHAPES

from deepgraph.errors import ArgumentError
from deepgraph.rewire import SRigL
from deepgraph.rewire.srigl import constant_fan_in
from deepgraph.sparse import MaskedDeepFFN, edge_values, sparsify


def fan_ins(edges: Any) -> list[int]:
    return np.bincount(edges.dst, minlength=edges.num_targets).tolist()


def wide(density: float = 0.3, seed: int = 0) -> MaskedDeepFFN:
    return MaskedDeepFFN(6, 4, [40, 30], density=density, activation="tanh", seed=seed, dtype=torch.float64)


@pytest.mark.parametrize(("gamma", "of"), [(0.0, "dense"), (0.3, "dense"), (0.3, "sparse"), (0.9, "sparse")])
def test_living_neurons_have_one_fan_in_and_budgets_are_kept(gamma: float, of: Any) -> None:
    model = wide()
    optimizer = SRigL(model, OPTIMIZERS["sgd"](model), every=2, until=100, gamma=gamma, of=of, seed=0)
    start = [edges.num_edges for edges in model.edge_sets]
    assert optimizer.start == start
    ablated = 0
    for step in range(1, 9):
        train(model, optimizer, range(step, step + 1))
        assert sum(edges.num_edges for edges in model.edge_sets) == optimizer.budget(step)
        if step < 2:
            continue
        for number, (edges, most) in enumerate(zip(model.edge_sets, start, strict=True)):
            found = fan_ins(edges)
            living = [fan_in for fan_in in found if fan_in]
            assert len(set(living)) == 1
            # One edge more for each would be too many, or there are no more sources.
            assert edges.num_edges <= most
            assert living[0] == edges.num_sources or edges.num_edges + len(living) > most
            ablated += len(found) - len(living)
            assert number < 2 or len(living) == len(found)
    assert (ablated > 0) == (gamma > 0)


def test_the_trace_ablates_and_brings_back() -> None:
    """What the plain loops of the reference do with the state of the traces is worth comparing with."""
    updates = json.loads((FOLDER / "srigl.json").read_text())["edges"]
    dead = []
    for edges in updates:
        for layer, pairs in enumerate(edges):
            found = np.bincount([v for _, v in pairs], minlength=SHAPES[layer][1])
            assert len(set(found[found > 0].tolist())) == 1
        dead.append(tuple(np.flatnonzero(np.bincount([v for _, v in edges[1]], minlength=SHAPES[1][1]) == 0).tolist()))
        assert {v for _, v in edges[2]} == set(range(SHAPES[2][1]))
    assert any(dead)
    assert len(set(dead)) > 1


@settings(max_examples=100, deadline=None)
@given(
    room=st.lists(st.integers(0, 9), min_size=1, max_size=12),
    budget=st.integers(0, 60),
    seed=st.integers(0, 99),
)
def test_the_fan_in_is_the_largest_that_fits(room: list[int], budget: int, seed: int) -> None:
    living = np.random.default_rng(seed).random(len(room)) < 0.7
    found = constant_fan_in(np.array(room), living, budget)
    fits = [k for k in range(10) if sum(min(k, r) for r, alive in zip(room, living, strict=True) if alive) <= budget]
    assert found.tolist() == [min(fits[-1], r) if alive else 0 for r, alive in zip(room, living, strict=True)]


def test_a_layer_never_loses_all_neurons_nor_room_for_its_edges() -> None:
    model = wide(density=0.05)
    optimizer = SRigL(model, OPTIMIZERS["sgd"](model), every=1, until=100, gamma=1.0, seed=0)
    train(model, optimizer, 4)
    for edges, most in zip(model.edge_sets, optimizer.start, strict=True):
        found = [fan_in for fan_in in fan_ins(edges) if fan_in]
        assert found
        assert max(found) * len(found) == edges.num_edges <= most


def test_a_graph_keeps_its_neurons_and_takes_what_sources_there_are() -> None:
    model = make_model("graph", "csr")
    optimizer = SRigL(model, OPTIMIZERS["sgd"](model), every=1, until=100, gamma=1.0, seed=0)
    train(model, optimizer, 3)
    (edges,) = model.edge_sets
    stage = edges.stage
    room = np.array([0 if stage[v] == stage.min() else int((stage < stage[v]).sum()) for v in range(len(stage))])
    found = np.array(fan_ins(edges))
    assert found.tolist() == np.minimum(room, found.max()).tolist()
    assert (found[room > 0] > 0).all()


def test_it_acts_on_pytorchs_modules() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Unflatten(1, (1, 6)), nn.Conv1d(1, 8, 3), nn.Tanh(), nn.Flatten(), nn.Linear(32, 20), nn.Tanh(),
            nn.Linear(20, 4),
        ).double()  # fmt: skip
    sparsify(model, 0.5, seed=0)
    optimizer = SRigL(model, OPTIMIZERS["adamw"](model), every=2, until=100, seed=0)
    train(model, optimizer, 4)
    for one in edge_values(model):
        assert len({fan_in for fan_in in fan_ins(one.edge_set) if fan_in}) == 1
        assert not one.parameter.detach()[~one.mask()].any()


def test_survivors_stay_and_a_resumed_run_goes_on() -> None:
    model, other = wide(), wide(seed=1)
    optimizer = SRigL(model, OPTIMIZERS["adamw"](model), every=2, until=100, gamma=0.4, of="sparse", seed=0)
    train(model, optimizer, range(1, 2))
    before = [dict(zip(pairs(one), one.values().tolist(), strict=True)) for one in edge_values(model)]
    x, y = batch(2)
    optimizer.zero_grad()
    (model(x) - y).square().mean().backward()
    optimizer.step()
    for one, old in zip(edge_values(model), before, strict=True):
        for pair, weight in zip(pairs(one), one.values().tolist(), strict=True):
            assert weight == old.get(pair, 0.0)
    twin = SRigL(other, OPTIMIZERS["adamw"](other), every=2, until=100, seed=0)
    other.load_state_dict(model.state_dict())
    twin.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert (twin.gamma, twin.of, twin.start) == (optimizer.gamma, optimizer.of, optimizer.start)
    for net, rewirer in ((model, optimizer), (other, twin)):
        train(net, rewirer, range(3, 8))
    assert pairs_of(model) == pairs_of(other)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


def pairs(one: Any) -> list[tuple[int, int]]:
    return list(zip(*(side.tolist() for side in one.edge_set.pairs()), strict=True))


def test_what_it_refuses() -> None:
    model = wide()
    sgd = OPTIMIZERS["sgd"](model)
    with pytest.raises(ArgumentError, match=r"gamma: expected a share in \[0, 1\], got 2"):
        SRigL(model, sgd, gamma=2)
    with pytest.raises(ArgumentError, match=r"of: expected one of .'dense', 'sparse'., got 'both'"):
        SRigL(model, sgd, of="both")  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="group: expected 'set', got 'graph': a fan-in is that of a layer"):
        SRigL(model, sgd, group="graph")
