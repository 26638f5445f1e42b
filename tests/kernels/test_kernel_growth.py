"""The best absent pairs equal a full sort; random ones are uniform, distinct and absent."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deepgraph.errors import ArgumentError, CapacityError, EdgeError, ShapeError
from deepgraph.kernels import growth
from deepgraph.kernels.growth import AbsentPairs, best_absent, pair_scores, sample_absent


def random_pairs(seed: int, dag: bool) -> AbsentPairs:
    rng = np.random.default_rng(seed)
    sources = int(rng.integers(1, 12))
    targets = sources if dag else int(rng.integers(1, 12))
    stage = rng.integers(0, 4, targets) if dag else None
    closed = rng.random(targets) < 0.2 if rng.random() < 0.5 else None
    admissible = brute_admissible(sources, targets, stage, closed)
    src, dst = np.nonzero(admissible & (rng.random((sources, targets)) < 0.4))
    order = rng.permutation(len(src))
    return AbsentPairs(sources, targets, src[order], dst[order], stage=stage, closed=closed)


def brute_admissible(sources: int, targets: int, stage: object, closed: object) -> np.ndarray:
    free = np.ones((sources, targets), bool)
    if stage is not None:
        free &= np.asarray(stage)[:, None] < np.asarray(stage)[None, :]
    if closed is not None:
        free &= ~np.asarray(closed)[None, :]
    return free


def brute_absent(pairs: AbsentPairs) -> np.ndarray:
    free = brute_admissible(pairs.num_sources, pairs.num_targets, pairs.stage, pairs.closed)
    free[pairs.src, pairs.dst] = False
    return free


def factors(
    pairs: AbsentPairs, seed: int, passes: int = 1, coarse: bool = False
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(seed)

    def draw(rows: int) -> torch.Tensor:
        if coarse:
            return torch.randint(-1, 2, (rows, 3), generator=generator).double()
        return torch.randn(rows, 3, generator=generator, dtype=torch.float64)

    return [(draw(pairs.num_sources), draw(pairs.num_targets)) for _ in range(passes)]


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 10**6), dag=st.booleans(), passes=st.integers(1, 3), coarse=st.booleans(), rms=st.booleans())
def test_best_absent_equals_a_full_sort(seed: int, dag: bool, passes: int, coarse: bool, rms: bool) -> None:
    pairs = random_pairs(seed, dag)
    free = brute_absent(pairs)
    assert pairs.count == free.sum()
    captured = factors(pairs, seed, passes, coarse)
    full = sum((a @ dz.t() for a, dz in captured), torch.zeros(free.shape, dtype=torch.float64))
    if rms:
        every = torch.cat([dz for _, dz in captured], 1)
        full = torch.nan_to_num(full / every.square().mean(1).sqrt(), nan=0.0)
    u, v = np.nonzero(free)
    k = len(u) // 2
    height = growth.BLOCK_BYTES
    try:
        # Blocks of a few sources, so that the running threshold is used.
        growth.BLOCK_BYTES = 8 * pairs.num_targets * 2
        got = best_absent(pairs, captured, k, "rms" if rms else "none")
    finally:
        growth.BLOCK_BYTES = height
    score = full.abs().numpy()[u, v]
    np.testing.assert_allclose(got[2], np.sort(score)[::-1][:k], atol=1e-12)
    np.testing.assert_allclose(full.abs().numpy()[got[0], got[1]], got[2], atol=1e-12)
    chosen = list(zip(got[0].tolist(), got[1].tolist(), strict=True))
    assert len(set(chosen)) == k
    assert all(free[pair] for pair in chosen)
    if coarse and not rms:
        order = np.lexsort((v, u, -score))[:k]
        assert chosen == list(zip(u[order].tolist(), v[order].tolist(), strict=True))
    signed = pair_scores(captured, got[0], got[1], "rms" if rms else "none")
    np.testing.assert_allclose(signed.abs().numpy(), got[2], atol=1e-12)


def test_blocks_are_summed_over_ranks() -> None:
    pairs = AbsentPairs(3, 2, [0], [0])
    captured = factors(pairs, 0)

    def double(block: torch.Tensor) -> None:
        block *= 2

    once, both = best_absent(pairs, captured, 3), best_absent(pairs, captured, 3, reduce_block=double)
    assert once[0].tolist() == both[0].tolist()
    np.testing.assert_allclose(both[2], 2 * once[2])
    np.testing.assert_allclose(
        pair_scores(captured, [0], [1], reduce_block=double), 2 * pair_scores(captured, [0], [1])
    )
    scaled = best_absent(pairs, captured, 3, "rms"), best_absent(pairs, captured, 3, "rms", double)
    np.testing.assert_allclose(scaled[1][2], 2 * scaled[0][2])


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 10**6), dag=st.booleans(), share=st.floats(0, 1))
def test_samples_are_absent_and_distinct(seed: int, dag: bool, share: float) -> None:
    pairs = random_pairs(seed, dag)
    free = brute_absent(pairs)
    k = int(share * pairs.count)
    u, v = sample_absent(pairs, k, np.random.default_rng(seed))
    assert len(u) == len(v) == k
    assert free[u, v].all()
    assert (np.diff(u * pairs.num_targets + v) > 0).all()
    again = sample_absent(pairs, k, np.random.default_rng(seed))
    assert np.array_equal(u, again[0])
    assert np.array_equal(v, again[1])


@pytest.mark.parametrize("k", [1, 2, 4])
def test_every_absent_pair_is_equally_likely(k: int) -> None:
    pairs = AbsentPairs(4, 4, [0, 1], [1, 3], stage=[0, 0, 1, 2])
    free = np.argwhere(brute_absent(pairs)).tolist()
    assert len(free) == 4
    rng = np.random.default_rng(0)
    seen: Counter[tuple[int, int]] = Counter()
    for _ in range(2000):
        seen.update(zip(*(side.tolist() for side in sample_absent(pairs, k, rng)), strict=True))
    assert sorted(seen) == [tuple(pair) for pair in free]
    assert all(abs(count - 500 * k) < 120 for count in seen.values())


def test_generators_of_torch_are_used_and_respected() -> None:
    pairs = AbsentPairs(50, 50, [], [])
    first = sample_absent(pairs, 40, torch.Generator().manual_seed(3))
    before = torch.random.get_rng_state()
    second = sample_absent(pairs, 40, torch.Generator().manual_seed(3))
    assert np.array_equal(first[0], second[0])
    assert torch.equal(before, torch.random.get_rng_state())
    torch.manual_seed(5)
    third = sample_absent(pairs, 40)
    torch.manual_seed(5)
    assert np.array_equal(third[0], sample_absent(pairs, 40)[0])


def test_errors_say_what_to_do() -> None:
    pairs = AbsentPairs(2, 2, [0], [0])
    captured = factors(pairs, 0)
    with pytest.raises(CapacityError, match=r"expected at most 3 new edges, got 4.*drop edges first"):
        sample_absent(pairs, 4)
    with pytest.raises(CapacityError, match=r"expected at most 3 new edges, got 4"):
        best_absent(pairs, captured, 4)
    with pytest.raises(ArgumentError, match=r"at least 0, got -1"):
        sample_absent(pairs, -1)
    with pytest.raises(ArgumentError, match=r"expected captured factors .* got none"):
        best_absent(pairs, [], 1)
    with pytest.raises(ArgumentError, match=r"expected scale 'none' or 'rms', got 'max'"):
        best_absent(pairs, captured, 1, scale="max")  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match=r"expected A of shape \(2, B\) and dZ of shape \(2, B\), got \(3, 1\)"):
        best_absent(pairs, [(torch.ones(3, 1), torch.ones(2, 1))], 1)
    with pytest.raises(ArgumentError, match=r"expected finite gradients, got .* look for NaN"):
        best_absent(pairs, [(torch.full((2, 1), float("nan")), torch.ones(2, 1))], 2)
    with pytest.raises(ShapeError, match=r"expected stage of shape \(2,\), got \(3,\)"):
        AbsentPairs(2, 2, [], [], stage=[0, 1, 2])
    with pytest.raises(ShapeError, match=r"as many sources as targets where stages are given, got 3 and 2"):
        AbsentPairs(3, 2, [], [], stage=[0, 1])
    with pytest.raises(ShapeError, match=r"same length, got 1 and 2"):
        AbsentPairs(3, 2, [0], [0, 1])
    with pytest.raises(EdgeError, match=r"without duplicates, got a pair twice"):
        sample_absent(AbsentPairs(3, 2, [0, 0], [1, 1]), 1)
