"""SNFS, GMP, SoftDEEPR, Replay, CHT and CHTs against plain loops, and what is special about each."""

from __future__ import annotations

import copy
import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rewire_models import OPTIMIZERS, batch, make_model, make_rewirer, pairs_of, train
from torch import nn

from deepgraph.errors import ArgumentError, EdgeError, TooLargeError
from deepgraph.graph.history import History
from deepgraph.rewire import CHT, GMP, SNFS, CHTs, Replay, SoftDEEPR, exploration, link_scores
from deepgraph.rewire.gmp import cubic_count
from deepgraph.rewire.snfs import shared_out
from deepgraph.sparse import edge_values

ALL = ["static", "set", "rigl", "deepr", "softdeepr", "snfs", "gmp", "cht", "chts", "mest", "granet", "srigl"]


def dense_of(model: nn.Module) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return weights and masks (R, C) of an FFN's layers."""
    found = []
    for one in edge_values(model):
        src, dst = one.edge_set.pairs()
        W = np.zeros((one.edge_set.num_sources, one.edge_set.num_targets))
        W[src, dst] = one.values().numpy()
        mask = np.zeros(W.shape, bool)
        mask[src, dst] = True
        found.append((W, mask))
    return found


def dense_gradients(model: Any, step: int) -> list[np.ndarray]:
    """Return dL/dW (R, C) of all pairs of a tanh FFN, by a dense twin and autograd."""
    layers = [torch.tensor(W, requires_grad=True) for W, _ in dense_of(model)]
    x, y = batch(step)
    a = x
    for index, (W, layer) in enumerate(zip(layers, model.layers, strict=True)):
        a = a @ W + layer.bias.detach()
        a = torch.tanh(a) if index < len(layers) - 1 else a
    (a - y).square().mean().backward()
    return [W.grad.numpy() for W in layers]


def test_every_pair_of_algorithms_finds_other_edges() -> None:
    found = {}
    for name in ALL:
        model = make_model("ffn", "csr")
        train(model, make_rewirer(name, model), 6)
        found[name] = pairs_of(model)
    for one, other in itertools.combinations(ALL, 2):
        assert found[one] != found[other], (one, other)


# -- SNFS --------------------------------------------------------------------------------------------------------------


@settings(max_examples=80)
@given(
    rooms=st.lists(st.integers(0, 12), min_size=1, max_size=5), part=st.floats(0, 1), seed=st.integers(0, 1000),
)  # fmt: skip
def test_shares_are_exact_and_full_sets_hand_on(rooms: list[int], part: float, seed: int) -> None:
    shares = np.random.default_rng(seed).random(len(rooms)) * (np.arange(len(rooms)) != seed % 3)
    count = int(part * sum(rooms))
    given_ = shared_out(count, shares.tolist(), rooms)
    assert given_.sum() == count
    assert (given_ <= rooms).all()
    open_ = (given_ < rooms) & (shares > 0)
    if count and open_.all():
        assert (np.abs(given_ - count * shares / shares.sum()) < 1).all()


def snfs_update(
    layers: list[tuple[np.ndarray, np.ndarray]], momentum: list[np.ndarray], fraction: float
) -> list[set[tuple[int, int]]]:
    """Return the edges of each layer after one update of algorithm 1, by sorting everything."""
    means, kept, total = [], [], 0
    for (W, mask), m in zip(layers, momentum, strict=True):
        edges = sorted((abs(W[p]), p) for p in zip(*np.nonzero(mask), strict=True))
        k = int(fraction * len(edges))
        means.append(float(np.mean([abs(m[p]) for _, p in edges])))
        kept.append({p for _, p in edges[k:]})
        total += k
    rooms = [W.size - len(stay) for (W, _), stay in zip(layers, kept, strict=True)]
    counts = shared_out(total, means, rooms)
    result = []
    for (W, _), m, stay, count in zip(layers, momentum, kept, counts, strict=True):
        free = sorted((-abs(m[p]), p) for p in np.ndindex(W.shape) if p not in stay)
        result.append(stay | {p for _, p in free[:count]})
    return result


def test_snfs_against_plain_loops(storage: str) -> None:
    model = make_model("ffn", storage, seed=3)
    optimizer = SNFS(model, OPTIMIZERS["sgd"](model), every=4, until=40, drop_fraction=0.5, momentum=0.8, window=3)
    sizes, gradients = [edges.num_edges for edges in model.edge_sets], []
    for step in range(1, 21):
        gradients.append(dense_gradients(model, step))
        if step % 4 == 0:
            # What the wrapped optimizer does first, on a twin.
            twin = copy.deepcopy(model)
            plain = OPTIMIZERS["sgd"](twin)
            plain.load_state_dict(copy.deepcopy(optimizer.optimizer.state_dict()))
            x, y = batch(step)
            (twin(x) - y).square().mean().backward()
            plain.step()
            newest = gradients[-3:]
            m = [newest[2][k] + 0.8 * newest[1][k] + 0.64 * newest[0][k] for k in range(3)]
            expected = snfs_update(dense_of(twin), m, 0.25 * (1 + math.cos(math.pi * step / 40)))
            train(model, optimizer, range(step, step + 1))
            assert pairs_of(model) == expected
        else:
            train(model, optimizer, range(step, step + 1))
    assert [edges.num_edges for edges in model.edge_sets] != sizes
    assert model.num_edges == sum(sizes)


# -- GMP ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("group", ["set", "graph"])
def test_gmp_against_sorting(kind: str, storage: str, group: Any) -> None:
    model = make_model(kind, storage)
    optimizer = GMP(model, OPTIMIZERS["sgd"](model), density=0.1, every=3, begin=2, until=14, group=group)
    starts = [edges.num_edges for edges in model.edge_sets]
    ends = [min(n, max(1, round(0.1 * e.num_admissible))) for n, e in zip(starts, model.edge_sets, strict=True)]
    steps = []
    for step in range(1, 17):
        train(model, optimizer, range(step, step + 1))
        if optimizer.edited:
            steps.append(step)
            counts = [round(e + (s - e) * (1 - (step - 2) / 12) ** 3) for s, e in zip(starts, ends, strict=True)]
            if group == "set":
                assert [edges.num_edges for edges in model.edge_sets] == counts
            for edit in (h[-1] for h in (e.history for e in model.edge_sets) if len(h) and h[-1].step == step):
                assert edit.num_grown == 0
        assert model.num_edges == optimizer.budget(step)
    assert steps == [3, 6, 9, 12, 14]
    assert model.num_edges == sum(ends)


def test_gmp_drops_the_smallest_of_all() -> None:
    model = make_model("ffn", "csr")
    weights = np.concatenate([np.abs(one.values().numpy()) for one in edge_values(model)])
    still = torch.optim.SGD(model.parameters(), lr=0.0)
    train(model, GMP(model, still, density=0.2, every=1, until=1, group="graph"), 1)
    left = np.concatenate([np.abs(one.values().numpy()) for one in edge_values(model)])
    assert np.sort(left) == pytest.approx(np.sort(weights)[-len(left) :])
    assert len(left) < len(weights)


def test_gmp_starts_from_dense_sets_and_keeps_sparser_ones() -> None:
    model = make_model("dan", "csr")
    dense, sparse = model.edge_sets[0], model.edge_sets[1].num_edges
    optimizer = GMP(model, OPTIMIZERS["sgd"](model), density=[0.5, 1.0, 1.0], every=2, until=4)
    train(model, optimizer, 4)
    assert dense.density == pytest.approx(0.5, abs=0.02)
    assert model.edge_sets[1].num_edges == sparse
    assert optimizer.state_dict()["rewire"]["schedule"]["end"] == optimizer.end


@given(start=st.integers(0, 500), drop=st.floats(0, 1), until=st.integers(1, 50))
def test_the_cubic_schedule_falls(start: int, drop: float, until: int) -> None:
    end = int(start * drop)
    counts = [cubic_count(step, start, end, 0, until) for step in range(until + 3)]
    assert counts[0] == start
    assert counts[until:] == [end] * 3
    assert all(a >= b for a, b in itertools.pairwise(counts))


# -- SoftDEEPR ---------------------------------------------------------------------------------------------------------


def test_soft_deepr_against_plain_loops(kind: str, storage: str) -> None:
    """With the noise drawn as the optimizer draws it: first for the edges of each set, then for all pairs."""
    model = make_model(kind, storage)
    lr, l1, heat = 0.1, 0.02, 1e-3
    optimizer = SoftDEEPR(model, lr=lr, l1=l1, temperature=heat, theta_min=-0.05, seed=4)
    std = math.sqrt(2 * lr * heat)
    values = edge_values(model)
    theta = {}
    for index, one in enumerate(values):
        if one.edge_set.density == 1:
            continue
        for u, v in np.ndindex(one.edge_set.num_sources, one.edge_set.num_targets):
            theta[index, u, v] = float(optimizer.dormant[index][u, v])
        for u, v, w in zip(*(s.tolist() for s in one.edge_set.pairs()), one.values().tolist(), strict=True):
            theta[index, u, v] = abs(w)
    generator = torch.Generator()
    born = died = 0
    for step in range(8):
        x, y = batch(step)
        optimizer.zero_grad()
        (model(x) - y).square().mean().backward()
        gradients = [one.gradient().tolist() for one in values]
        generator.set_state(optimizer.generator.get_state())
        active = {}
        for index, one in enumerate(values):
            if one.edge_set.density == 1:
                continue
            src, dst = (side.tolist() for side in one.edge_set.pairs())
            noise = torch.randn(len(src), generator=generator, dtype=torch.float64).tolist()
            signs = np.sign(one.values().numpy())
            for u, v, g, s, n in zip(src, dst, gradients[index], signs, noise, strict=True):
                active[index, u, v] = theta[index, u, v] - lr * g * s - lr * l1 + std * n
        for index, one in enumerate(values):
            if one.edge_set.density == 1:
                continue
            shape = one.edge_set.num_sources, one.edge_set.num_targets
            noise = torch.randn(shape, generator=generator, dtype=torch.float64)
            for u, v in np.ndindex(*shape):
                key = index, u, v
                theta[key] = max(active[key] if key in active else theta[key] + std * float(noise[u, v]), -0.05)
        optimizer.step()
        for index, one in enumerate(values):
            if one.edge_set.density == 1:
                continue
            edges = one.edge_set
            expected = {}
            for u, v in np.ndindex(edges.num_sources, edges.num_targets):
                up = edges.stage is None or (edges.stage[u] < edges.stage[v] and not edges.closed[v])
                if theta[index, u, v] > 0 and up:
                    expected[u, v] = theta[index, u, v]
            pairs = list(zip(*(side.tolist() for side in edges.pairs()), strict=True))
            assert set(pairs) == set(expected)
            np.testing.assert_allclose(one.values().abs().numpy(), [expected[p] for p in pairs], atol=1e-12)
            signs = optimizer.signs(one, *(side.astype(np.int64) for side in edges.pairs()))
            assert (np.sign(one.values().numpy()) == signs).all()
        born += optimizer.log[-1]["grown"] if optimizer.edited else 0
        died += optimizer.log[-1]["dropped"] if optimizer.edited else 0
    assert born > 5
    assert died > 5


def test_soft_deepr_keeps_about_its_density_where_the_loss_is_flat() -> None:
    model = make_model("graph", "csr")
    (one,) = edge_values(model)
    one.set_values(one.values() * 0.05)
    optimizer = SoftDEEPR(model, lr=0.5, l1=1.0, temperature=0.01, seed=0)
    x, shares = torch.zeros(2, 6, dtype=torch.float64), []
    start = one.edge_set.density
    for step in range(1500):
        optimizer.zero_grad()
        (model(x) * 0).sum().backward()
        optimizer.step()
        if step > 200:
            shares.append(one.edge_set.density)
    assert np.mean(shares) == pytest.approx(start, rel=0.35)


@pytest.mark.parametrize("name", ["softdeepr", "gmp", "granet", "srigl"])
def test_resuming_and_copying(name: str, storage: str) -> None:
    model = make_model("ffn", storage)
    rewirer = make_rewirer(name, model)
    train(model, rewirer, 5)
    again = make_model("ffn", storage)
    again.load_state_dict(model.state_dict())
    resumed = make_rewirer(name, again, seed=9)
    resumed.load_state_dict(copy.deepcopy(rewirer.state_dict()))
    copied, twin = copy.deepcopy((model, rewirer))
    train(model, rewirer, range(5, 12))
    for other, optimizer in ((again, resumed), (copied, twin)):
        train(other, optimizer, range(5, 12))
        assert pairs_of(model) == pairs_of(other)
        for one, two in zip(edge_values(model), edge_values(other), strict=True):
            assert torch.equal(one.values(), two.values())


# -- Replay and the ITOP statistic -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["set", "rigl", "deepr", "snfs", "gmp", "chts", "mest", "granet", "srigl"])
@pytest.mark.parametrize("how", ["rewirer", "model", "histories"])
def test_replay_makes_the_same_edits(name: str, how: str, storage: str) -> None:
    model = make_model("ffn", storage)
    first = make_rewirer(name, model)
    train(model, first, 9)
    other = make_model("ffn", storage)
    for one in edge_values(other):
        one.set_values(one.values() * 1.5)
    source: Any = {"rewirer": first, "model": model, "histories": [e.history for e in model.edge_sets]}[how]
    replay = Replay(other, OPTIMIZERS["sgd"](other), source)
    for step in range(9):
        assert replay.budget(step) == sum(len(pairs) for pairs in pairs_of(other))
        train(other, replay, range(step, step + 1))
    assert pairs_of(model) == pairs_of(other)
    assert len(replay.history) == len(first.history) > 0
    assert replay.replaces_step == (how == "rewirer" and name in ("rigl", "srigl"))


def test_a_replay_of_ones_own_run_is_that_run() -> None:
    model, other = make_model("graph", "csr"), make_model("graph", "csr")
    first = make_rewirer("rigl", model)
    train(model, first, 8)
    train(other, Replay(other, OPTIMIZERS["sgd"](other), first), 8)
    assert model.graph.digest() == other.graph.digest()


def test_replays_that_do_not_fit() -> None:
    model = make_model("ffn", "csr")
    first = make_rewirer("set", model)
    train(model, first, 4)
    graph = make_model("graph", "csr")
    with pytest.raises(ArgumentError, match="history: expected one for each of 1 edge sets of the model, got 3"):
        Replay(graph, OPTIMIZERS["sgd"](graph), first)
    with pytest.raises(ArgumentError, match="history: expected a Rewirer, a model or histories, got list"):
        Replay(graph, OPTIMIZERS["sgd"](graph), [1])
    twice = History([*model.edge_sets[0].history, model.edge_sets[0].history[0]])
    with pytest.raises(ArgumentError, match=r"expected one edit a step .*, got two of layer 0 at step 2"):
        Replay(model, OPTIMIZERS["sgd"](model), [twice, History(), History()])
    other = make_model("ffn", "csr", seed=7)
    replay = Replay(other, OPTIMIZERS["sgd"](other), first)
    with pytest.raises(EdgeError):
        train(other, replay, 4)


def test_exploration_counts_every_pair_that_was_ever_an_edge(kind: str) -> None:
    model = make_model(kind, "csr")
    rewirer = make_rewirer("set", model)
    seen = pairs_of(model)
    for step in range(10):
        train(model, rewirer, range(step, step + 1))
        seen = [old | new for old, new in zip(seen, pairs_of(model), strict=True)]
    sparse = [k for k, edges in enumerate(model.edge_sets) if edges.density < 1]
    total = sum(model.edge_sets[k].num_admissible for k in sparse)
    assert exploration(model) == sum(len(seen[k]) for k in sparse) / total
    assert exploration(model) > model.density * (kind != "dan")


# -- CHT ---------------------------------------------------------------------------------------------------------------


def scores_by_loops(M: np.ndarray, predictor: str) -> np.ndarray:
    """Return the scores of absent links, -1 for the present, from the definitions."""
    rows, columns = M.shape
    row_degree, column_degree = M.sum(1), M.sum(0)

    def by_nodes(M: np.ndarray, u: int, v: int) -> float:
        total = 0.0
        for j in np.flatnonzero(M[:, v]):
            common = int((M[u] & M[j]).sum())
            if common:
                outside = max(int(M[j].sum()) - common - 1, 0)
                total += (1 if predictor == "CH3-L3n" else 1 + common) / (1 + outside)
        return total

    scores = np.full(M.shape, -1.0)
    for u, v in itertools.product(range(rows), range(columns)):
        if M[u, v]:
            continue
        if predictor in ("CH3-L3n", "CH2-L3n"):
            scores[u, v] = by_nodes(M, u, v) + by_nodes(M.T, v, u)
            continue
        scores[u, v] = 0.0
        for t, j in itertools.product(np.flatnonzero(M[u]), np.flatnonzero(M[:, v])):
            if M[j, t]:
                if predictor == "RA-L3":
                    scores[u, v] += 1 / math.sqrt(row_degree[j] * column_degree[t])
                else:
                    out_t = column_degree[t] - sum(M[k, t] for k in np.flatnonzero(M[:, v])) - 1
                    out_j = row_degree[j] - sum(M[j, k] for k in np.flatnonzero(M[u])) - 1
                    scores[u, v] += 1 / math.sqrt((1 + out_t) * (1 + out_j))
    return scores


@settings(max_examples=40)
@given(
    seed=st.integers(0, 10**6), rows=st.integers(1, 8), columns=st.integers(1, 8),
    predictor=st.sampled_from(["CH3-L3n", "CH2-L3n", "CH3-L3p", "RA-L3"]),
)  # fmt: skip
def test_link_scores_against_loops(seed: int, rows: int, columns: int, predictor: Any) -> None:
    rng = np.random.default_rng(seed)
    M = rng.random((rows, columns)) < rng.choice([0.0, 0.2, 0.5, 0.8])
    expected = scores_by_loops(M, predictor)
    found = link_scores(*np.nonzero(M), M.shape, predictor)
    np.testing.assert_allclose(found[~M], expected[~M], rtol=1e-12)


def test_path_scores_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    M = np.random.default_rng(0).random((9, 7)) < 0.5
    whole = link_scores(*np.nonzero(M), M.shape, "CH3-L3p")
    monkeypatch.setattr("deepgraph.rewire.cht.BLOCK", 5)
    np.testing.assert_allclose(link_scores(*np.nonzero(M), M.shape, "CH3-L3p"), whole)


@pytest.mark.parametrize("predictor", ["CH3-L3n", "CH3-L3p"])
def test_cht_grows_the_best_links(kind: str, storage: str, predictor: Any) -> None:
    model = make_model(kind, storage)
    optimizer = CHT(model, OPTIMIZERS["sgd"](model), every=1, drop_fraction=0.3, predictor=predictor, seed=0)
    for step in range(5):
        before = pairs_of(model)
        train(model, optimizer, range(step, step + 1))
        for index, edges in enumerate(model.edge_sets):
            if not len(edges.history):
                continue
            edit = edges.history[-1]
            gone = set(zip(*(side.tolist() for side in edit.dropped), strict=True))
            M = np.zeros((edges.num_sources, edges.num_targets), bool)
            M[tuple(np.array(sorted(before[index] - gone)).T)] = True
            score = scores_by_loops(M, predictor)
            if edges.stage is not None:
                score[edges.stage[:, None] >= edges.stage[None, :]] = -1
                score[:, edges.closed] = -1
            grown = np.sort(score[edit.grown])
            assert grown == pytest.approx(np.sort(score[score >= 0])[-len(grown) :])


def test_chts_samples_in_proportion() -> None:
    """Of two links that may go and two that may come, chances are 1 / |w| and the scores."""
    model = make_model("ffn", "csr")
    optimizer = CHTs(model, OPTIMIZERS["sgd"](model), every=1, drop_fraction=0.3, seed=0)
    one = edge_values(model)[0]
    weight = torch.full((one.edge_set.num_edges,), 3.0, dtype=torch.float64)
    weight[0] = 1.0
    one.set_values(weight)
    hits = 0
    for _ in range(3000):
        (rows,) = optimizer.choose_drop([one], 1.01 / one.edge_set.num_edges)
        assert len(rows) == 1
        hits += int(rows[0] == 0)
    chance = 3 / (one.edge_set.num_edges - 1 + 3)
    assert hits / 3000 == pytest.approx(chance, abs=4 * math.sqrt(chance * (1 - chance) / 3000))


# -- mistakes ----------------------------------------------------------------------------------------------------------


def test_mistakes(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model("ffn", "csr")
    pair = model, OPTIMIZERS["sgd"](model)
    with pytest.raises(ArgumentError, match=r"momentum: expected a number in \(0, 1\), got 1\.0"):
        SNFS(*pair, momentum=1.0)
    with pytest.raises(ArgumentError, match=r"window: expected a number of steps, an integer >= 1, got 0"):
        SNFS(*pair, window=0)
    with pytest.raises(ArgumentError, match="group: expected 'set' or 'graph', got 'target'"):
        GMP(*pair, density=0.1, until=5, group="target")
    with pytest.raises(ArgumentError, match="begin: expected a step, an integer from 0 to below until=5, got 5"):
        GMP(*pair, density=0.1, until=5, begin=5)
    with pytest.raises(ArgumentError, match="density: expected a number or 3, one a set, got 2"):
        GMP(*pair, density=[0.1, 0.2], until=5)
    with pytest.raises(ArgumentError, match=r"theta_min: expected a number < 0 where l1 is 0\.0, got None"):
        SoftDEEPR(model, l1=0.0)
    with pytest.raises(ArgumentError, match="theta_min: expected a number < 0, got 1"):
        SoftDEEPR(model, theta_min=1)
    with pytest.raises(ArgumentError, match=r"predictor: expected one of .*, got 'L3'"):
        CHT(*pair, predictor="L3")  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match=r"predictor: expected one of .*, got 'L3'"):
        link_scores(np.array([0]), np.array([0]), (1, 1), "L3")  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="group: expected 'set' or 'graph', got 'auto'"):
        CHT(*pair, group="auto")
    monkeypatch.setattr("deepgraph.rewire.soft_deepr.LIMIT", 100)
    with pytest.raises(TooLargeError, match="use DEEPR"):
        SoftDEEPR(model)
