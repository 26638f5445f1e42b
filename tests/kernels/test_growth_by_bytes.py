"""The best absent pairs found by products of bytes are those of a full sort, ties and all."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deepgraph.kernels import growth, growth_scan
from deepgraph.kernels.compiler import has_numba
from deepgraph.kernels.growth import AbsentPairs, best_absent, best_absent_pairs

if not has_numba():
    pytest.skip("numba is not installed", allow_module_level=True)
if not __import__("deepgraph.kernels.vector_scores", fromlist=["_"]).can_multiply_bytes():
    pytest.skip("the processor does not multiply bytes", allow_module_level=True)


def random_pairs(rng: np.random.Generator, sources: int, targets: int) -> AbsentPairs:
    keys = rng.choice(sources * targets, int(rng.random() * 0.2 * sources * targets), replace=False)
    return AbsentPairs(sources, targets, *np.divmod(keys, targets))


def drawn(kind: str, rng: np.random.Generator, sources: int, targets: int, batch: int) -> tuple[Any, Any]:
    a, z = rng.standard_normal((sources, batch)), rng.standard_normal((targets, batch))
    if kind == "outputs":
        a, z = np.maximum(a, 0), z * 1e-6
    elif kind == "shifted":
        a, z = a + 5, z * (rng.random((targets, 1)) ** 4)
    elif kind == "off":
        a[rng.random(sources) < 0.3], z[rng.random(targets) < 0.6] = 0, 0
    elif kind == "ties":
        a, z = np.sign(a), rng.integers(-1, 2, (targets, batch))
    return tuple(torch.from_numpy(np.array(side, np.float32)) for side in (a, z))  # type: ignore[return-value]


def found_by_bytes(*arguments: Any, **options: Any) -> tuple[Any, Any]:
    """Return the pairs, after making sure that bytes were what found them."""
    seen = []
    plain = growth.best_by_bytes
    growth.best_by_bytes = lambda *each: seen.append(plain(*each)) or seen[-1]
    try:
        pairs = best_absent_pairs(*arguments, **options)
    finally:
        growth.best_by_bytes = plain
    assert seen[0] is not None
    return pairs


@pytest.mark.parametrize("kind", ["outputs", "shifted", "off", "ties"])
@pytest.mark.parametrize("scale", ["none", "rms"])
def test_the_pairs_are_those_of_a_full_sort(kind: str, scale: Any) -> None:
    for seed in range(3):
        rng = np.random.default_rng([seed, len(kind), len(scale)])
        sources, targets, batch = (int(n) for n in rng.integers([260, 260, 1], [500, 700, 300]))
        pairs = random_pairs(rng, sources, targets)
        batches = [batch] if seed else [batch, 7]
        factors = [drawn(kind, rng, sources, targets, size) for size in batches]
        k = int(pairs.count * rng.choice([0.002, 0.02, 0.1]))
        u, v = found_by_bytes(pairs, factors, k, scale)
        score = sum(a.double() @ z.double().T for a, z in factors).abs()
        if scale == "rms":
            rms = torch.cat([z for _, z in factors], 1).double().square().mean(1).sqrt()
            score = torch.where(rms > 0, score / rms, 0.0)
        full = score.numpy()
        full[pairs.src, pairs.dst] = -1
        keys = u * targets + v
        assert (np.diff(keys) > 0).all()
        if kind == "ties" and scale == "none":
            order = np.argsort(-full.reshape(-1), kind="stable")[:k]
            assert np.array_equal(np.sort(order), keys)
        least = np.partition(full.reshape(-1), full.size - k)[full.size - k]
        assert full[u, v].min() >= least * (1 - 1e-5)


def test_the_pairs_are_those_of_the_dense_products() -> None:
    # Sums of a few small integers are exact in any order.
    rng = np.random.default_rng(0)
    pairs, factors = random_pairs(rng, 400, 300), [drawn("ties", rng, 400, 300, 40)]
    u, v = found_by_bytes(pairs, factors, 3000)
    other = best_absent(pairs, factors, 3000, ranked=False)
    assert np.array_equal(u, other[0])
    assert np.array_equal(v, other[1])


def test_nothing_depends_on_threads_and_on_how_much_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    pairs, factors = random_pairs(rng, 500, 900), [drawn("shifted", rng, 500, 900, 50)]
    once = found_by_bytes(pairs, factors, 4000)
    before = torch.get_num_threads()
    monkeypatch.setattr(growth_scan, "_THREAD_WORK", 1)
    monkeypatch.setattr(growth_scan, "_CHUNK", 1)
    monkeypatch.setattr(growth_scan, "_TARGETS", 256)
    monkeypatch.setattr(growth_scan._Search, "guess", lambda self, share: 1e-3)
    monkeypatch.setattr(growth_scan._Search, "at_once", lambda self: None)
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            again = found_by_bytes(pairs, factors, 4000)
            assert all(np.array_equal(*both) for both in zip(once, again, strict=True))
    finally:
        torch.set_num_threads(before)


def at_once(pairs: AbsentPairs, factors: Any, k: int) -> Any:
    return growth_scan._Search(pairs, factors, k, None).at_once()


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=80), st.data())
def test_the_kth_highest_is_that_of_a_sort(numbers: list[float], data: st.DataObject) -> None:
    from deepgraph.kernels.numba_search import kth_highest

    k = data.draw(st.integers(1, len(numbers)))
    found = kth_highest(np.array(numbers, np.float32), k, np.empty(len(numbers), np.uint32))
    assert found == sorted(numbers)[-k]


def test_a_guess_that_is_too_high_is_lowered(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    pairs, factors = random_pairs(rng, 300, 300), [drawn("outputs", rng, 300, 300, 64)]
    once = found_by_bytes(pairs, factors, 900)
    assert all(np.array_equal(*both) for both in zip(once, at_once(pairs, factors, 900), strict=True))
    monkeypatch.setattr(growth_scan, "_MARGIN", 1e-3)
    assert at_once(pairs, factors, 900) is None
    monkeypatch.setattr(growth_scan._Search, "at_once", lambda self: None)
    monkeypatch.setattr(growth_scan, "_MARGIN", 1.2)
    plain = growth_scan._Search.guess
    monkeypatch.setattr(growth_scan._Search, "guess", lambda self, share: plain(self, share) * (3 if share == 1 else 1))
    again = found_by_bytes(pairs, factors, 900)
    assert all(np.array_equal(*both) for both in zip(once, again, strict=True))
    monkeypatch.setattr(growth_scan._Search, "guess", lambda self, share: 1e3)
    assert growth.best_by_bytes(pairs, factors, 900, None) is None
    assert all(np.array_equal(*both) for both in zip(once, best_absent_pairs(pairs, factors, 900), strict=True))


def limit_of(scores: Any, wanted: float, edges: Any = ()) -> float:
    from deepgraph.kernels.numba_scores import weighted_limit

    count = len(scores)
    indptr = np.cumsum([0, *(row in edges for row in range(count))])
    compressed = indptr, np.zeros(len(edges), np.int32), np.ones(len(edges), np.uint8)
    bits, names = scores[:, None].copy().view(np.int32), (np.arange(count), np.arange(1))
    return float(
        np.int32(weighted_limit(bits, names, compressed, 1, (np.ones(count), np.ones(1)), wanted)).view(np.float32)
    )


def test_a_guess_counts_each_score_for_as_many_pairs_as_it_stands_for() -> None:
    heavy = np.concatenate([np.full(200, 3.0), np.full(200, 1.0)]).astype(np.float32)
    assert limit_of(heavy, 100.0) == limit_of(-heavy, 100.0) == pytest.approx(3, rel=0.02)
    assert limit_of(heavy, 250.0) == pytest.approx(1, rel=0.02)
    assert limit_of(heavy, 500.0) == 0
    # An edge cannot be grown, however large its gradient is.
    assert limit_of(heavy, 100.0, edges=range(150)) == pytest.approx(1, rel=0.02)
    heavy[7] = np.nan
    assert np.isnan(limit_of(heavy, 100.0))


def test_sampled_rows_stand_for_all_that_are_not_zero() -> None:
    from deepgraph.kernels.numba_scores import TINY, sampled_rows

    places, weights = growth_scan._places()
    assert weights.sum() == pytest.approx(1)
    assert (np.diff(places) > 0).all()
    assert 0 < places[0] < places[-1] < 1
    assert ((np.cumsum(weights) - weights < places) & (places < np.cumsum(weights))).all()
    rows, scale = np.array([[0], [3], [0], [1], [2]], np.float32), np.array([0, 1, 0, 1, 2], np.float32)
    long, names, out = rows[:, 0] + np.float32(TINY), np.empty(3, np.int64), np.empty((3, 1), np.float32)
    for scales, expected in ((scale[:0], [3, 2, 1]), (scale, [3, 4, 1])):
        assert sampled_rows(rows, long, scales, np.array([0.1, 0.5, 0.9]), names, out) == 3
        assert out[:, 0].tolist() == expected
        assert names.tolist() == [1, 4, 3]
    assert sampled_rows(rows, long * 0 + np.float32(TINY), scale, places[:3], names, out) == 0


@pytest.mark.parametrize("kind", ["outputs", "ties", "off"])
@pytest.mark.parametrize("scale", ["none", "rms"])
def test_few_pairs_are_all_scored(kind: str, scale: Any) -> None:
    for seed in range(10):
        rng = np.random.default_rng([seed, len(kind), len(scale)])
        sources, targets, batch = int(rng.integers(210, 1000)), int(rng.integers(10, 60)), int(rng.integers(1, 150))
        pairs = random_pairs(rng, sources, targets)
        factors = [drawn(kind, rng, sources, targets, batch)]
        k = int(pairs.count * rng.choice([0.002, 0.1, 0.9, 1.0]))
        u, v = found_by_bytes(pairs, factors, k, scale)
        other = best_absent(pairs, factors, k, scale, ranked=False)
        assert np.array_equal(u, other[0])
        assert np.array_equal(v, other[1])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_left_to_dense_products(bad: float) -> None:
    rng = np.random.default_rng(4)
    for sources in (100, 300):
        pairs = AbsentPairs(sources, 300, [], [])
        for side in (0, 1):
            factors = drawn("outputs", rng, sources, 300, 20)
            factors[side][17, 3] = bad
            assert growth.best_by_bytes(pairs, [factors], 100, None) is None


@pytest.mark.parametrize("case", ["few", "many", "double", "zero", "stages"])
def test_other_pairs_are_found_by_dense_products(case: str) -> None:
    rng = np.random.default_rng(3)
    size, k = (40, 10) if case == "few" else (300, 60_000 if case == "many" else 100)
    stage = np.arange(size) if case == "stages" else None
    pairs = AbsentPairs(size, size, [], [], stage=stage)
    a, z = drawn("outputs", rng, size, size, 20)
    if case == "double":
        a, z = a.double(), z.double()
    if case == "zero":
        z.zero_()
    assert growth.best_by_bytes(pairs, [(a, z)], k, None) is None
    u, v = best_absent_pairs(pairs, [(a, z)], k)
    assert len(u) == len(v) == k
