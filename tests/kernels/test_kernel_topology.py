"""Derived indexes equal their definitions, edits keep what they can, and wrong structures are named."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from naive_network import topologies

from deepgraph.errors import ArgumentError, DtypeError, EdgeError, ShapeError, StructureError
from deepgraph.kernels.topology import Topology


@settings(max_examples=100, deadline=None)
@given(t=topologies(list(range(10))))
def test_indexes_equal_their_definitions(t: Topology) -> None:
    order = sorted(range(t.num_nodes), key=lambda v: (t.stage[v], v))
    assert t.order.tolist() == order
    assert t.rank[t.order].tolist() == list(range(t.num_nodes))
    assert t.is_ordered == (order == list(range(t.num_nodes)))
    boundaries = [r for r in range(1, t.num_nodes) if t.stage[order[r]] != t.stage[order[r - 1]]]
    assert t.stage_starts.tolist() == [0, *boundaries, t.num_nodes]
    computed = [v for v in range(t.num_nodes) if v not in t.inputs]
    assert t.num_computed == len(computed)
    assert t.bias_index.tolist() == [computed.index(v) if v in computed else -1 for v in order]
    keeping = [r for r, v in enumerate(order) if v in computed and t.activation[v] in (5, 6)]
    assert t.num_kept == len(keeping)
    assert np.flatnonzero(t.kept_index >= 0).tolist() == keeping
    assert t.input_ranks.tolist() == [order.index(v) for v in t.inputs]
    assert t.output_ranks.tolist() == [order.index(v) for v in t.outputs]
    edges = list(zip(t.src.tolist(), t.dst.tolist(), strict=True))
    for u in range(t.num_nodes):
        assert [edges[e][0] for e in range(t.source_indptr[u], t.source_indptr[u + 1])] == [
            s for s, _ in edges if s == u
        ]
    by_target = sorted(range(len(edges)), key=lambda e: (order.index(edges[e][1]), order.index(edges[e][0])))
    assert t.target_perm.tolist() == by_target
    assert t.source_rank.tolist() == [order.index(edges[e][0]) for e in by_target]
    assert t.target_rank.tolist() == [order.index(v) for _, v in edges]
    fan_in = [sum(v == node for _, v in edges) for node in order]
    assert t.target_indptr.tolist() == np.r_[0, np.cumsum(fan_in)].astype(int).tolist()
    for name in ("src", "order", "target_perm", "source_indptr", "target_rank", "stage_starts"):
        assert not getattr(t, name).flags.writeable


def base(**changes: object) -> Topology:
    arguments: dict[str, object] = {
        "num_nodes": 3,
        "src": [0, 1],
        "dst": [1, 2],
        "stage": [0, 1, 2],
        "inputs": [0],
        "outputs": [2],
        "activation": [0, 1, 0],
    }
    return Topology(**{**arguments, **changes})  # type: ignore[arg-type]


def test_other_edges_keep_what_depends_on_nodes() -> None:
    t = base()
    first = t.order, t.rank, t.bias_index
    new = t.with_edges(np.array([0]), np.array([2]))
    assert (new.num_edges, t.num_edges) == (1, 2)
    assert all(a is b for a, b in zip(first, (new.order, new.rank, new.bias_index), strict=True))
    assert new.splits == (1,)
    split = base(splits=(1, 1)).with_edges([0, 0, 1], [1, 2, 2], splits=(2, 1))
    assert split.splits == (2, 1)
    with pytest.raises(StructureError, match="go up in stage"):
        t.with_edges([2], [1])


def test_writable_arrays_are_copied_and_readonly_ones_shared() -> None:
    src = np.array([0, 1], dtype=np.int32)
    assert not np.shares_memory(base(src=src).src, src)
    src.flags.writeable = False
    assert base(src=src).src is src


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"num_nodes": 0}, ArgumentError, "at least 1 node, got num_nodes=0"),
        ({"src": [[0, 1]]}, ShapeError, r"expected src to have one dimension, got shape \(1, 2\)"),
        ({"src": [0.5, 1.0]}, DtypeError, "expected src to hold integers, got dtype float64"),
        ({"activation": [0, 300, 0]}, ArgumentError, r"expected activation within 0..255, got 0..300"),
        ({"activation": [0, 77, 0]}, ArgumentError, "unknown activation 77"),
        ({"stage": [0, 1]}, ShapeError, r"expected stage of shape \(3,\), one entry per node, got \(2,\)"),
        ({"src": [0]}, ShapeError, "src and dst of the same length, got 1 and 2"),
        ({"dst": [1, 3]}, EdgeError, r"expected dst to be node positions in 0..2, got 3 at index 1"),
        ({"inputs": [-1]}, EdgeError, r"expected inputs to be node positions in 0..2, got -1"),
        ({"outputs": [9]}, EdgeError, r"expected outputs to be node positions in 0..2, got 9"),
        ({"src": [1, 0], "dst": [2, 1]}, EdgeError, r"sorted by \(source, target\).* got \(1, 2\) before \(0, 1\)"),
        ({"src": [0, 0], "dst": [1, 1]}, EdgeError, r"without duplicates, got \(0, 1\) twice"),
        ({"stage": [0, 1, 1]}, StructureError, r"go up in stage, got edge \(1, 2\) from stage 1 to stage 1 \(1 such"),
        ({"inputs": [0, 1]}, StructureError, r"no edge into an input, got edge \(0, 1\)"),
        ({"inputs": [0, 1], "labels": "abc"}, StructureError, r"got edge \('a', 'b'\)"),
        ({"splits": (1, 2)}, ShapeError, r"splits that add up to 2 edges, got \(1, 2\)"),
        ({"splits": (3, -1)}, ShapeError, r"splits that add up to 2 edges, got \(3, -1\)"),
    ],
)
def test_errors_name_what_is_wrong(changes: dict[str, object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        base(**changes)
