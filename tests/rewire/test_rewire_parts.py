"""Schedules, choices, growth, signs and the log by themselves."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rewire_models import OPTIMIZERS, make_model, make_rewirer, pairs_of, train

from deepgraph.errors import EdgeError, MissingDependencyError
from deepgraph.graph import EdgeSet, merging
from deepgraph.kernels.growth import AbsentPairs
from deepgraph.rewire import DEEPR, SET, EditLog, RandomGrowth, Rewirer, RigL, ScoredGrowth, drop_share
from deepgraph.rewire.candidates import absent_blocks, absent_into, best, lowest, swap
from deepgraph.rewire.signs import pair_signs
from deepgraph.sparse import edge_values

Scores = st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0, -1.0]), min_size=1, max_size=30)


@given(scores=Scores, count=st.integers(0, 30))
def test_lowest_and_best_equal_a_stable_sort(scores: list[float], count: int) -> None:
    array = np.array(scores)
    by_row = sorted(range(len(scores)), key=lambda i: (scores[i], i))
    for few in (0, 10**9):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(merging, "_FEW", few)
            assert lowest(array, count).tolist() == sorted(by_row[:count])
    keys = np.arange(len(scores))[::-1]
    by_key = sorted(range(len(scores)), key=lambda i: (-scores[i], keys[i]))
    assert best(array, keys, count).tolist() == by_key[:count]


@settings(max_examples=60)
@given(seed=st.integers(0, 10**6), block=st.integers(1, 40))
def test_blocks_cover_all_absent_pairs_once(seed: int, block: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 8))
    stage = np.sort(rng.integers(0, 4, n)) if seed % 2 else None
    admissible = np.ones((n, n), bool) if stage is None else stage[:, None] < stage[None, :]
    u, v = np.nonzero(admissible & (rng.random((n, n)) < 0.4))
    free = AbsentPairs(n, n, u, v, stage)
    expected = sorted(set(zip(*np.nonzero(admissible), strict=True)) - set(zip(u, v, strict=True)))
    found = [pair for us, vs in absent_blocks(free, block) for pair in zip(us, vs, strict=True)]
    assert sorted(found) == expected
    targets = np.flatnonzero(rng.random(n) < 0.6)
    blocks = list(absent_into(free, targets, block))
    into = [pair for _, us, vs in blocks for pair in zip(us, vs, strict=True)]
    assert sorted(into) == [pair for pair in expected if pair[1] in targets]
    assert [target for part, _, _ in blocks for target in part] == targets.tolist()
    assert all(set(vs) <= set(part) for part, _, vs in blocks)


@pytest.mark.parametrize("fewest", [1, 10**9])
def test_a_swap_leaves_out_what_goes_and_comes(fewest: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merging, "_FEW", fewest)
    monkeypatch.setattr(merging, "_FEWEST", fewest)
    for seed in range(30):
        rng = np.random.default_rng(seed)
        shape = int(rng.integers(1, 9)), int(rng.integers(1, 9))
        held = rng.random(shape) < 0.5
        edges = EdgeSet.from_pairs(*np.nonzero(held), *shape)
        rows = np.flatnonzero(rng.random(edges.num_edges) < 0.6)
        dropped = set(zip(*(side[rows].tolist() for side in edges.pairs()), strict=True))
        free = [*dropped, *zip(*(side.tolist() for side in np.nonzero(~held)), strict=True)]
        grown = [free[place] for place in rng.permutation(len(free))[: len(free) // 2]]
        for keep in (True, False):
            gone, came = swap(edges, rows, tuple(np.array(grown, np.int64).reshape(-1, 2).T), keep)
            both = set(grown) & dropped if keep else set()
            assert list(zip(*(side.tolist() for side in gone), strict=True)) == sorted(dropped - both)
            assert list(zip(*(side.tolist() for side in came), strict=True)) == sorted(set(grown) - both)
        version, count = edges.version, edges.num_edges
        if len(gone[0]):
            edit = edges.edit(drop=gone)
            assert [side.tolist() for side in edit.dropped] == [side.tolist() for side in gone]
            assert (edges.version, edges.num_edges) == (version + 1, count - len(gone[0]))
            # They vouch for the edges as they were: now they are looked for, and not found.
            with pytest.raises(EdgeError, match="drop: expected edges that exist"):
                edges.edit(drop=gone)


@given(seed=st.integers(0, 10**6))
def test_growth_per_target_equals_sorting_each_target(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sources, targets = int(rng.integers(1, 7)), int(rng.integers(1, 7))
    u, v = np.nonzero(rng.random((sources, targets)) < 0.3)
    free = AbsentPairs(sources, targets, u, v)
    score = rng.integers(0, 3, (sources, targets)).astype(float)
    room = sources - np.bincount(v, minlength=targets)
    quota = (rng.random(targets) * (room + 1)).astype(np.int64)

    class Scores:
        def grow_scores(self, values: Any, u: Any, v: Any) -> Any:
            return score[u, v]

    found = ScoredGrowth().choose_per_target(Scores(), None, free, quota)  # type: ignore[arg-type]
    expected = set()
    for target in range(targets):
        absent = sorted(set(range(sources)) - set(u[v == target].tolist()), key=lambda s: (-score[s, target], s))
        expected |= {(source, target) for source in absent[: quota[target]]}
    assert set(zip(*(side.tolist() for side in found), strict=True)) == expected
    assert len(found[0]) == quota.sum()


def test_schedules() -> None:
    for step in range(0, 110, 7):
        share = drop_share(step, 0.3, 100, "cosine")
        assert share == pytest.approx(0.15 * (1 + math.cos(math.pi * min(step, 100) / 100)))
        assert drop_share(step, 0.3, None, "cosine") == 0.3
    assert drop_share(200, 0.3, 100, "linear") == 0.0


def test_random_growth_is_uniform_over_all_free_pairs() -> None:
    """Each free pair of two edge sets together is drawn equally often; chi-square over 3,000 draws of 2 of 11."""
    model = make_model("ffn", "csr")
    rewirer = make_rewirer("set", model)
    free = [AbsentPairs(2, 3, [0], [0]), AbsentPairs(2, 3, [], [])]
    counts: Counter[Any] = Counter()
    for _ in range(3000):
        chosen = RandomGrowth().choose(rewirer, rewirer.values[:2], free, 2)
        pairs = [(i, *pair) for i, (u, v) in enumerate(chosen) for pair in zip(u.tolist(), v.tolist(), strict=True)]
        assert len(set(pairs)) == 2
        counts.update(pairs)
    expected = 3000 * 2 / 11
    assert len(counts) == 11
    assert sum((n - expected) ** 2 / expected for n in counts.values()) < 29.6  # 0.1 % point of chi-square, 10 d.o.f.


def test_signs_are_fixed_and_balanced() -> None:
    u, v = (side.ravel() for side in np.meshgrid(np.arange(200), np.arange(200)))
    signs = pair_signs(7, 0, u, v)
    assert set(signs.tolist()) == {-1, 1}
    assert abs(int(signs.astype(int).sum())) < 4 * 200
    order = np.random.default_rng(0).permutation(len(u))
    assert (pair_signs(7, 0, u[order], v[order]) == signs[order]).all()
    for other in (pair_signs(8, 0, u, v), pair_signs(7, 1, u, v), pair_signs(7, 0, v, u)):
        assert abs(int((other.astype(int) * signs).sum())) < 4 * 200


def test_log_counts_skip_lengths_incrementally() -> None:
    model = make_model("graph", "csr")
    rewirer = make_rewirer("deepr", model)
    edges = model.edge_sets[0]
    for step in range(10):
        if step == 5:
            src, dst = edges.pairs()
            edges.edit(drop=(src[:3], dst[:3]), reason="by hand")
        train(model, rewirer, range(step, step + 1))
        if rewirer.edited:
            src, dst = edges.pairs()
            lengths = np.bincount(edges.stage[dst] - edges.stage[src])
            assert rewirer.log[-1]["skip"] == {k: int(n) for k, n in enumerate(lengths) if n}
            assert rewirer.log[-1]["edges"] == edges.num_edges == rewirer.budget(step)


def test_log_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    edges = EdgeSet.from_pairs([0, 1], [1, 2], 3, 3, stage=np.arange(3))
    log = EditLog()
    log.add(5, [edges], [edges.edit(drop=([0], [1]), grow=([0], [2]))])
    frame = log.to_frame()
    assert frame.to_dict("records") == [{"step": 5, "dropped": 1, "grown": 1, "edges": 2, "skip_1": 1, "skip_2": 1}]
    assert repr(log) == "EditLog(1 edits, 1 edges dropped, 1 grown)"
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(MissingDependencyError, match="pip install pandas"):
        log.to_frame()


def test_a_class_with_grow_scores_is_grown_by_them() -> None:
    class Last(RigL):
        """Grows the last pairs in canonical order, whatever the gradient."""

        def grow_scores(self, values: Any, u: Any, v: Any) -> Any:
            return u * values.edge_set.num_targets + v

    for group in ("set", "graph", "target"):
        model = make_model("ffn", "csr")
        total = model.num_edges
        rewirer = Last(model, OPTIMIZERS["sgd"](model), every=1, group=group)
        train(model, rewirer, 1)
        assert model.num_edges == total
        assert len(rewirer.history) == 3
        for edges, pairs in zip(model.edge_sets, pairs_of(model), strict=True):
            last = edges.num_sources - 1, edges.num_targets - 1
            assert last in pairs or group != "set"


def test_scored_growth_equals_gradient_growth() -> None:
    class Scored(RigL):
        def grow_scores(self, values: Any, u: Any, v: Any) -> Any:
            return self.gradients(values, u, v).abs()

    for kind in ("ffn", "graph"):
        for group in ("auto", "graph", "target"):
            runs = []
            for algorithm in (RigL, Scored):
                model = make_model(kind, "csr")
                train(model, algorithm(model, OPTIMIZERS["sgd"](model), every=2, group=group), 6)
                runs.append(pairs_of(model))
            assert runs[0] == runs[1]


def test_set_by_magnitude_and_normal_weights() -> None:
    model = make_model("ffn", "csr")
    weights = [one.values().abs().sort().values for one in edge_values(model)]
    still = torch.optim.SGD(model.parameters(), lr=0.0)
    rewirer = SET(model, still, every=1, drop_fraction=0.25, by="magnitude", grown_std=0.5, seed=0)
    train(model, rewirer, 1)
    for edit, sizes in zip(rewirer.history, weights, strict=True):
        k = int(0.25 * len(sizes))
        assert np.sort(np.abs(edit.dropped_columns["weight"])) == pytest.approx(sizes[:k].numpy())
        assert (edit.grown_columns["weight"] != 0).all()
    grown = np.concatenate([edit.grown_columns["weight"] for edit in rewirer.history])
    assert 0.1 < grown.std() < 1.0


def test_set_counts_zero_as_the_smallest_positive() -> None:
    model = make_model("graph", "csr")
    one = edge_values(model)[0]
    weight = torch.linspace(0.5, 1.0, one.edge_set.num_edges, dtype=torch.float64)
    weight[[3, 5]] = 0.0
    weight[::2] *= -1
    weight[4] = 0.0
    one.set_values(weight)
    rewirer = SET(model, torch.optim.SGD(model.parameters(), lr=0.0), every=1, drop_fraction=0.3, seed=0)
    train(model, rewirer, 1)
    dropped = rewirer.history[0].dropped_columns["weight"]
    negative = int((weight < 0).sum())
    assert int((dropped == 0).sum()) == 3
    assert int((dropped < 0).sum()) == int(0.3 * negative)
    assert len(dropped) == int(0.3 * negative) + int(0.3 * (len(weight) - negative))


# -- DEEPR ----------------------------------------------------------------------------------------------------------


def test_deepr_keeps_its_number_under_zero_gradients(kind: str) -> None:
    """The authors' loop never ends here elsewhere: every reborn edge dies at the next step."""
    model = make_model(kind, "csr")
    sizes = [edges.num_edges for edges in model.edge_sets]
    rewirer = DEEPR(model, lr=0.5, l1=0.5, temperature=0.0, seed=0)
    x = torch.zeros(3, 6, dtype=torch.float64)
    for _ in range(30):
        rewirer.zero_grad()
        (model(x) * 0).sum().backward()
        rewirer.step()
        assert [edges.num_edges for edges in model.edge_sets] == sizes
    sparse = [edges for edges in model.edge_sets if edges.density < 1]
    assert rewirer.log[-1]["dropped"] == sum(edges.num_edges for edges in sparse)


def test_deepr_noise_has_the_stated_deviation() -> None:
    for temperature, deviation in ((None, 0.2 * 1e-5), (1e-6, math.sqrt(2 * 0.2 * 1e-6))):
        model = make_model("graph", "csr")
        one = edge_values(model)[0]
        one.set_values(torch.ones_like(one.values()))
        rewirer = DEEPR(model, lr=0.2, l1=0.0, temperature=temperature, seed=0)
        moves = []
        for _ in range(40):
            before = one.values()
            rewirer.zero_grad()
            (model(batch_of_ones()) * 0).sum().backward()
            rewirer.step()
            moves.append(one.values() - before)
        assert torch.cat(moves).std().item() == pytest.approx(deviation, rel=0.05)


def batch_of_ones() -> torch.Tensor:
    return torch.ones(2, 6, dtype=torch.float64)


def test_deepr_restores_its_number_after_edits_by_hand() -> None:
    for count in (3, -3):
        model = make_model("graph", "csr")
        rewirer = DEEPR(model, lr=0.01, seed=0)
        edges = model.edge_sets[0]
        size = edges.num_edges
        src, dst = edges.pairs()
        if count > 0:
            edges.edit(drop=(src[:count], dst[:count]))
        else:
            free = AbsentPairs(20, 20, src, dst, edges.stage, edges.closed).take(np.arange(-count))
            edges.edit(grow=free, weight=np.full(3, 0.5))
        train(model, rewirer, 1)
        assert edges.num_edges == size


def test_deepr_over_the_whole_model() -> None:
    model = make_model("ffn", "csr")
    total = model.num_edges
    sizes = [edges.num_edges for edges in model.edge_sets]
    rewirer = make_rewirer("deepr", model, group="graph")
    for step in range(15):
        train(model, rewirer, range(step, step + 1))
        assert model.num_edges == total
    assert [edges.num_edges for edges in model.edge_sets] != sizes


def test_deepr_wakes_edges_of_weight_zero_and_keeps_signs() -> None:
    model = make_model("graph", "csr")
    one = edge_values(model)[0]
    weight = one.values()
    weight[:4] = 0.0
    one.set_values(weight)
    rewirer = DEEPR(model, lr=0.05, l1=0.05, temperature=1e-4, seed=3)
    src, dst = one.edge_set.pairs()
    signs = rewirer.signs(one, src, dst)
    assert (signs[4:] == np.sign(weight[4:].numpy())).all()
    assert one.values()[:4].numpy() == pytest.approx(signs[:4] * 1e-12)
    for step in range(12):
        train(model, rewirer, range(step, step + 1))
        src, dst = one.edge_set.pairs()
        assert (np.sign(one.values().numpy()) == rewirer.signs(one, src, dst)).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_other_dtypes(algorithm: str, storage: str, dtype: torch.dtype) -> None:
    model = make_model("ffn", storage, dtype=dtype)
    sizes = [edges.num_edges for edges in model.edge_sets]
    rewirer: Rewirer = make_rewirer(algorithm, model)
    train(model, rewirer, 20)
    assert model.num_edges == sum(sizes)
    assert algorithm == "snfs" or [edges.num_edges for edges in model.edge_sets] == sizes
    assert algorithm == "static" or len(rewirer.log)
