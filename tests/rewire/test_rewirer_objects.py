"""What a user can replace in a rewirer, SNFS under Adam, and the inactive neurons of CHT."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from rewire_models import OPTIMIZERS, batch, make_model, make_rewirer, pairs_of, train
from torch import nn
from trace_reference import ch3_l3n, node_based, ra_l3

from deepgraph.errors import ArgumentError
from deepgraph.kernels.growth import AbsentPairs
from deepgraph.rewire import (
    CHT,
    SET,
    SNFS,
    GradientGrowth,
    RandomGrowth,
    Rewirer,
    RigL,
    ScoredGrowth,
    Static,
    link_scores,
)  # fmt: skip
from deepgraph.rewire.candidates import FreePairs, free_pairs
from deepgraph.rewire.groups import Group
from deepgraph.rewire.inactive import with_inactive
from deepgraph.sparse import MaskedDeepFFN, edge_values, sparsify

# -- objects -----------------------------------------------------------------------------------------------------------


def test_a_rewirer_is_put_together_from_objects(kind: str, storage: str) -> None:
    """Dropping by magnitude and growing at random, put together, is SET in its simple form."""
    runs = []
    for build in (
        lambda m, o: SET(m, o, by="magnitude", every=2, seed=3),
        lambda m, o: Rewirer(m, o, growth=RandomGrowth(), drop=lambda values: values.values().abs(), every=2, seed=3),
    ):
        model = make_model(kind, storage)
        train(model, build(model, OPTIMIZERS["sgd"](model)), 8)
        runs.append(pairs_of(model))
    assert runs[0] == runs[1]


def test_growth_by_gradient_can_be_given_to_any() -> None:
    """SET with growth by gradient is RigL that edits after the step, and captures what it needs by itself."""
    model = make_model("ffn", "csr")
    optimizer = SET(model, OPTIMIZERS["sgd"](model), growth=GradientGrowth(), by="magnitude", every=2, until=20)
    assert optimizer.captures
    train(model, optimizer, 4)
    assert len(optimizer.log) == 2
    static = Static(model, OPTIMIZERS["sgd"](model), growth=RandomGrowth())
    assert not static.captures


def test_drop_and_grown_are_functions() -> None:
    model = make_model("ffn", "csr")
    seen = []

    def oldest(values: Any) -> np.ndarray:
        seen.append(values.edge_set.num_edges)
        return np.arange(values.edge_set.num_edges)

    options: Any = {"drop": oldest, "grown": lambda values, u, v: np.full(len(u), 0.25), "every": 1}
    optimizer = SET(model, OPTIMIZERS["sgd"](model), by="magnitude", drop_fraction=0.5, **options)
    before = pairs_of(model)
    train(model, optimizer, 1)
    assert seen == [len(pairs) for pairs in before]
    for one, old in zip(model.edge_sets, before, strict=True):
        edit = one.history[-1]
        dropped = list(zip(*(side.tolist() for side in edit.dropped), strict=True))
        assert dropped == sorted(old)[: len(old) // 2]
        assert (edit.grown_columns["weight"] == 0.25).all()


def test_groups_from_a_function() -> None:
    model = make_model("ffn", "csr")

    def ends(edge_sets: Sequence[Any], dense: Sequence[bool]) -> list[Group]:
        return [Group((0, len(edge_sets) - 1))]

    optimizer = RigL(model, OPTIMIZERS["sgd"](model), every=1, until=10, group=ends)
    assert "group=function" in repr(optimizer)
    sizes = [edges.num_edges for edges in model.edge_sets]
    train(model, optimizer, 3)
    after = [edges.num_edges for edges in model.edge_sets]
    assert (after[1], sum(after)) == (sizes[1], sum(sizes))
    assert not len(model.edge_sets[1].history)
    state = optimizer.state_dict()
    assert "group" not in state["rewire"]["schedule"]
    optimizer.load_state_dict(state)
    assert optimizer.group is ends


def test_defaults_are_those_of_the_papers() -> None:
    model = make_model("ffn", "csr")
    expected = {SET: (0.3, "constant", "auto"), RigL: (0.3, "cosine", "auto"), SNFS: (0.5, "cosine", "set")}
    for kind, settings in expected.items():
        made = kind(model, OPTIMIZERS["sgd"](model))
        assert (made.drop_fraction, made.decay, made.group) == settings
    with pytest.raises(TypeError, match="unexpected keyword argument 'evry'"):
        RigL(model, OPTIMIZERS["sgd"](model), evry=3)
    with pytest.raises(ArgumentError, match="group: expected 'set', as momentum shares edges out to the sets, got"):
        SNFS(model, OPTIMIZERS["sgd"](model), group="graph")


def test_a_new_algorithm_in_a_few_lines() -> None:
    """Dropped by age: edges grown first go first."""

    class Oldest(Rewirer):
        growth = ScoredGrowth()

        def drop_scores(self, values: Any) -> Any:
            return np.arange(values.edge_set.num_edges, dtype=float)

        def grow_scores(self, values: Any, u: Any, v: Any) -> Any:
            return u + v / 1000

    model = make_model("ffn", "csr")
    train(model, Oldest(model, OPTIMIZERS["sgd"](model), every=1), 2)
    edit = model.edge_sets[0].history[-1]
    assert edit.num_dropped == edit.num_grown == int(0.3 * model.edge_sets[0].num_edges)


def test_free_pairs_are_the_absent_pairs(kind: str) -> None:
    """The lazy form answers as the arrays do, whether few or many pairs are asked for."""
    for edges in make_model(kind, "csr").edge_sets:
        if edges.num_edges == edges.num_admissible:
            continue
        dropped = np.arange(0, edges.num_edges, 3)
        src, dst = edges.pairs()
        stays = np.setdiff1d(np.arange(edges.num_edges), dropped)
        plain = AbsentPairs(edges.num_sources, edges.num_targets, src[stays], dst[stays], edges.stage, edges.closed)
        for lazy in (free_pairs(edges, dropped), free_pairs(edges, np.empty(0, np.int64))):
            assert isinstance(lazy, FreePairs)
            u, v = (side.ravel() for side in np.indices((edges.num_sources, edges.num_targets)))
            whole = lazy.taken(u, v)
            assert whole.sum() == lazy.num_edges == len(lazy.src) == len(lazy.dst)
            assert [bool(lazy.taken(u[i : i + 1], v[i : i + 1])[0]) for i in range(len(u))] == whole.tolist()
        lazy = free_pairs(edges, dropped)
        assert lazy.count == plain.count
        for mine, theirs in zip(lazy.take(np.arange(lazy.count)), plain.take(np.arange(plain.count)), strict=True):
            assert np.array_equal(mine, theirs)


# -- SNFS under Adam ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ours", [True, False])
def test_snfs_divides_by_the_second_moment_of_adam(ours: bool) -> None:
    """Edges after an update, against dense sorting of m / (sqrt(v) + 1e-8) over the window."""
    if ours:
        model: nn.Module = MaskedDeepFFN(6, 4, [], density=0.4, seed=1, dtype=torch.float64)
    else:
        model = sparsify(nn.Sequential(nn.Linear(6, 4)).double(), 0.4, seed=1)
    adam = torch.optim.Adam(model.parameters(), lr=0.01, betas=(0.8, 0.95))
    optimizer = SNFS(model, adam, every=3, until=30, window=3, drop_fraction=0.5)
    assert (optimizer.gradient_decay, optimizer.second_moment) == (0.8, 0.95)
    for update in range(4):
        m = v = np.zeros((6, 4))
        (before,) = pairs_of(model)
        for step in range(3 * update, 3 * update + 3):
            x, y = batch(step)
            # dL/dW of every pair of a single layer is x^T times the gradient of the output.
            out = model(x).detach()
            g = (x.T @ (2 * (out - y) / y.numel())).numpy()
            m, v = 0.8 * m + 0.2 * g, 0.95 * v + 0.05 * g**2
            if step % 3 == 2:
                twin = copy.deepcopy(model)
                plain = torch.optim.Adam(twin.parameters(), lr=0.01, betas=(0.8, 0.95))
                plain.load_state_dict(copy.deepcopy(adam.state_dict()))
                (twin(x) - y).square().mean().backward()
                plain.step()
                one = edge_values(twin)[0]
                pairs = list(zip(*(side.tolist() for side in one.edge_set.pairs()), strict=True))
                ranked = [pair for _, pair in sorted(zip(one.values().abs().tolist(), pairs, strict=True))]
            train(model, optimizer, range(step, step + 1))
        k = int(optimizer.drop_share(optimizer.steps) * len(before))
        keep = set(ranked[k:])
        score = np.abs(m / (np.sqrt(v) + 1e-8))
        free = sorted((pair for pair in np.ndindex(6, 4) if pair not in keep), key=lambda pair: -score[pair])
        assert pairs_of(model) == [keep | set(free[:k])]
    assert optimizer.state_dict()["rewire"]["schedule"]["second_moment"] == 0.95


def test_snfs_resumes_within_a_window_under_adam() -> None:
    runs = []
    for stop in (None, 5):
        model = make_model("ffn", "csr")
        optimizer = SNFS(model, OPTIMIZERS["adamw"](model), every=4, until=40, window=3)
        train(model, optimizer, 5)
        if stop:
            state = copy.deepcopy((model.state_dict(), optimizer.state_dict()))
            model = make_model("ffn", "csr")
            model.load_state_dict(state[0])
            optimizer = SNFS(model, OPTIMIZERS["adamw"](model), every=4, until=40, window=3)
            optimizer.load_state_dict(state[1])
        train(model, optimizer, range(5, 12))
        runs.append((pairs_of(model), [p.detach().numpy().tobytes() for p in model.parameters()]))
    assert runs[0] == runs[1]


def test_the_second_moment_is_checked() -> None:
    model = make_model("ffn", "csr")
    with pytest.raises(ArgumentError, match=r"second_moment: expected a number in \(0, 1\), got 1\.5"):
        SNFS(model, OPTIMIZERS["sgd"](model), second_moment=1.5)


# -- CHT ---------------------------------------------------------------------------------------------------------------


def inactive_by_loops(
    layers: list[set[tuple[int, int]]], sizes: list[int], dropped: list[set[tuple[int, int]]]
) -> list[set[tuple[int, int]]]:
    """Return what is left of each layer once hidden neurons without links on one side have lost the others."""
    left = [links - gone for links, gone in zip(layers, dropped, strict=True)]
    changed = True
    while changed:
        changed = False
        for k in range(len(left) - 1):
            for neuron in range(sizes[k + 1]):
                into = {link for link in left[k] if link[1] == neuron}
                out = {link for link in left[k + 1] if link[0] == neuron}
                if bool(into) != bool(out):
                    left[k], left[k + 1] = left[k] - into, left[k + 1] - out
                    changed = True
    return left


@pytest.mark.parametrize("storage", ["csr", "masked", "mixed"])
@pytest.mark.parametrize("seed", range(6))
def test_links_of_inactive_neurons_go_first(seed: int, storage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if storage == "mixed":
        # One engine for each layer: a neuron is an output of one and an input of the next.
        monkeypatch.setattr(MaskedDeepFFN, "_segments", lambda model: [[k] for k in range(len(model.layers))])
    model = MaskedDeepFFN(
        6, 4, [9, 8], density=0.15, seed=seed, dtype=torch.float64, storage="csr" if storage == "mixed" else storage
    )
    optimizer = CHT(model, OPTIMIZERS["sgd"](model), every=1, drop_fraction=0.3, seed=seed)
    before = pairs_of(model)
    chosen = {i: optimizer.choose_drop([one], 0.3)[0] for i, one in enumerate(optimizer.values)}
    dropped = []
    for one, rows in zip(model.edge_sets, chosen.values(), strict=True):
        src, dst = one.pairs()
        dropped.append(set(zip(src[rows].tolist(), dst[rows].tolist(), strict=True)))
    expected = inactive_by_loops(before, [6, 9, 8, 4], dropped)
    found = []
    for one, rows in zip(model.edge_sets, with_inactive(optimizer.values, chosen).values(), strict=True):
        src, dst = (np.delete(side, rows).tolist() for side in one.pairs())
        found.append(set(zip(src, dst, strict=True)))
        assert (np.diff(rows) > 0).all()
    assert found == expected
    assert sum(map(len, expected)) < sum(map(len, before)) - sum(map(len, dropped))
    train(model, optimizer, 3)
    assert [len(pairs) for pairs in pairs_of(model)] == [len(pairs) for pairs in before]


def test_only_sets_that_are_rewired_lose_links() -> None:
    model = make_model("dan", "csr")
    optimizer = make_rewirer("cht", model)
    assert with_inactive(optimizer.values, {1: np.array([0, 2])}).keys() == {1}
    theirs = sparsify(nn.Sequential(nn.Linear(6, 7), nn.Linear(7, 4)), 0.2, seed=0)
    rows = {0: np.array([1]), 1: np.array([0])}
    assert with_inactive(edge_values(theirs), rows) == rows


def test_links_of_inactive_neurons_of_pytorchs_chains_go_too() -> None:
    for seed in range(6):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            hidden = nn.Sequential(nn.BatchNorm1d(9), nn.Tanh(), nn.Linear(9, 8), nn.Dropout(0.1))
            model = nn.Sequential(nn.Linear(6, 9), hidden, nn.PReLU(8), nn.Linear(8, 4)).double()
        sparsify(model, 0.15, seed=seed)
        optimizer = CHT(model, OPTIMIZERS["sgd"](model), every=1, drop_fraction=0.3, seed=seed)
        before = pairs_of(model)
        chosen = {i: optimizer.choose_drop([one], 0.3)[0] for i, one in enumerate(optimizer.values)}
        found, dropped = [], []
        for one, rows, all_rows in zip(
            optimizer.values, chosen.values(), optimizer.drops(dict(chosen)).values(), strict=True
        ):
            src, dst = one.edge_set.pairs()
            dropped.append(set(zip(src[rows].tolist(), dst[rows].tolist(), strict=True)))
            found.append(set(zip(*(np.delete(side, all_rows).tolist() for side in (src, dst)), strict=True)))
        assert found == inactive_by_loops(before, [6, 9, 8, 4], dropped)
        train(model, optimizer, 3)
        assert [len(pairs) for pairs in pairs_of(model)] == [len(pairs) for pairs in before]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("predictor", ["CH3-L3n", "CH2-L3n", "RA-L3"])
def test_node_based_scores_from_their_definition(seed: int, predictor: Any) -> None:
    M = np.random.default_rng(seed).random((6, 8)) < 0.4
    links = set(zip(*(side.tolist() for side in np.nonzero(M)), strict=True))
    expected = {
        "CH3-L3n": ch3_l3n, "CH2-L3n": lambda *a: node_based(*a, shared=True), "RA-L3": ra_l3,
    }[predictor](links, M.shape)  # fmt: skip
    found = link_scores(*np.nonzero(M), M.shape, predictor)
    for pair, score in expected.items():
        if pair not in links:
            assert found[pair] == pytest.approx(score)
