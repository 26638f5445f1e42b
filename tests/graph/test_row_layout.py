"""Compiled loops and whole arrays lay out the same rows after an edit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepgraph.errors import ArgumentError, EdgeError, ShapeError
from deepgraph.graph import arrays as ea
from deepgraph.graph import merging
from deepgraph.graph.edge_set import EdgeSet


def at_size(size: int) -> pytest.MonkeyPatch:
    patch = pytest.MonkeyPatch()
    patch.setattr(merging, "_FEW", size)
    patch.setattr(merging, "_FEWEST", size)
    return patch


def random_edit(seed: int) -> tuple[EdgeSet, tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(seed)
    rows, columns = (int(n) for n in rng.integers(1, 12, 2))
    keys = np.sort(rng.permutation(rows * columns)[: rng.integers(0, rows * columns + 1)])
    edges = EdgeSet.from_pairs(*np.divmod(keys, columns), rows, columns, {"weight": rng.random(len(keys))})
    gone = rng.permutation(keys)[: rng.integers(0, len(keys) + 1)]
    # Just-dropped pairs may come back.
    free = rng.permutation(np.setdiff1d(np.arange(rows * columns), np.setdiff1d(keys, gone)))
    new = free[: rng.integers(0, len(free) + 1)]
    return edges, np.divmod(gone, columns), np.divmod(new, columns)


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_an_edit_is_the_same_by_either_way(seed: int) -> None:
    results = []
    for size in (0, 10**9):
        edges, gone, new = random_edit(seed)
        patch = at_size(size)
        try:
            prepared = edges.prepare(gone, new, weight=np.arange(len(new[0])) + 2.0)
            edit = prepared.commit()
        finally:
            patch.undo()
        results.append([
            edges.indptr, *edges.pairs(), edges.weight, edit.dropped_rows, edit.grown_rows, *edit.dropped, *edit.grown,
            edit.gather(), prepared.moves.gather(), prepared.moves.apply(np.arange(edit.num_before), -5),
        ])  # fmt: skip
    for one, other in zip(*results, strict=True):
        assert np.array_equal(one, other)
    keys = edges.pairs()[0].astype(int) * edges.num_targets + edges.pairs()[1]
    assert (np.diff(keys) > 0).all()
    assert edges.indptr[-1] == len(keys)


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 10**6), ordered=st.booleans())
def test_pairs_are_found_the_same_by_either_way(seed: int, ordered: bool) -> None:
    edges, _, _ = random_edit(seed)
    rng = np.random.default_rng(seed)
    wanted = rng.integers(0, edges.num_sources * edges.num_targets, 30)
    pairs = np.divmod(np.sort(wanted) if ordered else wanted, edges.num_targets)
    found = []
    for size in (0, 10**9):
        patch = at_size(size)
        try:
            found.append((edges.find(*pairs), ea.lower_bound(edges.indptr, edges.dst, *pairs)))
        finally:
            patch.undo()
    assert all(np.array_equal(*both) for both in zip(*found, strict=True))


@pytest.mark.parametrize("size", [0, 10**9])
def test_a_grown_pair_that_stays_is_refused_by_either_way(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merging, "_FEW", size)
    monkeypatch.setattr(merging, "_FEWEST", size)
    edges = EdgeSet.from_pairs([0, 0, 1], [0, 2, 1], 3, 3)
    with pytest.raises(EdgeError, match=r"grow: expected pairs that are no edges, got 1 that exist: \(0, 2\)"):
        edges.edit(drop=([0], [0]), grow=([0, 0], [1, 2]))
    assert edges.edit(drop=([0], [2]), grow=([0], [2])).grown_rows.tolist() == [1]


@pytest.mark.parametrize("size", [0, 10**9])
@pytest.mark.parametrize(
    ("grow", "message"),
    [
        (([0, 3], [1, 0]), r"grow: src: expected node positions below 3, got 3"),
        (([0, 1], [1, 4]), r"grow: dst: expected node positions below 3, got 4"),
        (([-1, 1], [1, 0]), r"grow: src: expected node positions from 0, got -1"),
        (([2, 2], [0, 0]), r"grow: expected each pair once, got 1 duplicated: \(2, 0\)"),
        (([0, 1], [1]), r"grow: expected as many sources as targets, got 2 and 1"),
    ],
)
def test_pairs_that_cannot_grow_are_refused_by_either_way(
    size: int, grow: tuple[list[int], list[int]], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merging, "_FEW", size)
    edges = EdgeSet.from_pairs([0, 0, 1], [0, 2, 1], 3, 3)
    with pytest.raises((ArgumentError, EdgeError, ShapeError), match=message):
        edges.edit(grow=tuple(np.array(side) for side in grow))
    assert edges.edit(grow=(np.array([2, 0]), np.array([1, 1]))).grown_rows.tolist() == [1, 4]
