"""A topology whose edge sets were edited is the one that is made anew from all pairs."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepgraph.graph.edge_set import EdgeSet
from deepgraph.kernels.buffers import Buffers
from deepgraph.kernels.node_values import Parts
from deepgraph.kernels.side_by_side import Placed, joined_pairs, with_edited
from deepgraph.kernels.topology import Topology

INDEXES = (
    "src", "dst", "splits", "source_indptr", "target_indptr", "target_perm", "source_step", "target_step",
    "joins_neighbours", "stage_pairs",
)  # fmt: skip


def random_set(rng: np.random.Generator, sources: int, targets: int) -> EdgeSet:
    pairs = np.nonzero(rng.random((sources, targets)) < rng.random())
    return EdgeSet.from_pairs(*pairs, sources, targets)


def placed(sets: list[EdgeSet], starts: list[int]) -> list[Placed]:
    return [Placed(one.indptr, one.dst, one.num_targets, starts[k], starts[k + 1]) for k, one in enumerate(sets)]


def anew(sets: list[Placed], widths: list[int]) -> Topology:
    src, dst = joined_pairs(sets)
    stage = np.repeat(np.arange(len(widths)), widths)
    return Topology(
        num_nodes=len(stage), src=src, dst=dst, stage=stage, inputs=np.flatnonzero(stage == 0),
        outputs=np.flatnonzero(stage == stage[-1]), activation=np.zeros(len(stage), int),
        splits=tuple(len(one.dst) for one in sets),
    )  # fmt: skip


def check_alike(found: Topology, expected: Topology) -> None:
    for name in INDEXES:
        ours, theirs = (np.asarray(getattr(t, name)) for t in (found, expected))
        assert ours.dtype == theirs.dtype, name
        assert np.array_equal(ours, theirs), name
    assert not found.dst.flags.writeable
    parts, others = Parts.of(found), Parts.of(expected)
    assert (parts.by_source, parts.by_target) == (others.by_source, others.by_target) == (True, True)
    with_edges = np.diff(expected.source_indptr) > 0
    assert np.array_equal(parts.part[with_edges], others.part[with_edges])


@pytest.mark.parametrize("buffers", [None, Buffers(8)], ids=["plain", "by target"])
@settings(max_examples=60, deadline=None)
@given(widths=st.lists(st.integers(1, 12), min_size=3, max_size=5), seed=st.integers(0, 2**20))
def test_edited_sets_make_the_topology_of_all_pairs(widths: list[int], seed: int, buffers: Buffers | None) -> None:
    rng, starts = np.random.default_rng(seed), np.cumsum([0, *widths]).tolist()
    shapes = list(pairwise(widths))
    before = anew(placed([random_set(rng, *shape) for shape in shapes], starts), widths)
    sets = placed([random_set(rng, *shape) for shape in shapes], starts)
    found = with_edited(before, sets, buffers)
    check_alike(found, anew(sets, widths))
    assert found.order is before.order


def test_one_set_keeps_its_targets_and_they_stay_its_own() -> None:
    rng = np.random.default_rng(0)
    edges = random_set(rng, 5, 7)
    sets = [Placed(np.r_[edges.indptr, [len(edges.dst)] * 7], edges.dst + np.int32(5), 12, 0, 0)]
    before = anew(sets, [5, 7])
    found = with_edited(before, sets)
    assert np.shares_memory(found.dst, sets[0].dst)
    assert sets[0].dst.flags.writeable
    assert np.array_equal(found.src, before.src)
    check_alike(found, before)


def test_a_topology_has_no_other_attributes() -> None:
    edges = random_set(np.random.default_rng(1), 2, 2)
    t = anew(placed([edges], [0, 2, 4]), [2, 2])
    with pytest.raises(AttributeError, match="'Topology' object has no attribute 'sources'"):
        _ = t.sources  # type: ignore[attr-defined]


def test_memory_of_indexes_is_used_again() -> None:
    pytest.importorskip("numba")
    rng, buffers = np.random.default_rng(2), Buffers(8)
    sets = placed([random_set(rng, 60, 60)], [0, 60])
    t = anew(sets, [60, 60])
    places = set()
    for _ in range(20):
        t = with_edited(t, sets, buffers)
        places.add(t.target_perm.ctypes.data)
    assert len(places) <= 4
