"""Laws that hold for every graph: measures do not depend on names, and stay in their ranges."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepgraph import analysis
from deepgraph.analysis import MEASURES, EdgeArrays
from deepgraph.analysis.components import largest_component

SHARES = ["density", "effective_density", "live_share", "gini_fan_in", "gini_fan_out", "rich_club", "clustering"]
SHARES += ["bipartite_clustering", "skip_share", "largest_component_share", "core_share"]
# Sampled or searched from a random start: equal up to that, so compared elsewhere.
SEARCHED = {"modularity"}


@st.composite
def staged_graphs(draw: st.DrawFn) -> EdgeArrays:
    """Draw a graph of up to 14 nodes in up to 6 stages, with roles that need not follow the degrees."""
    size = draw(st.integers(0, 14))
    stage = np.array(draw(st.lists(st.integers(0, 5), min_size=size, max_size=size)), dtype=np.int64)
    pairs = [(u, v) for u in range(size) for v in range(size) if stage[u] < stage[v]]
    kept = draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else []
    ends = np.array(kept, dtype=np.int64).reshape(-1, 2)
    roles = [None, None]
    if draw(st.booleans()):
        positions = st.lists(st.integers(0, size - 1), unique=True) if size else st.just([])
        roles = [draw(positions), draw(positions)]
    weight = np.array(draw(st.lists(st.floats(-3, 3), min_size=len(ends), max_size=len(ends))), dtype=np.float64)
    return EdgeArrays.from_arrays(
        ends[:, 0], ends[:, 1], size, stage=stage, inputs=roles[0], outputs=roles[1], weight=weight
    )


@given(staged_graphs(), st.randoms(use_true_random=False))
def test_measures_do_not_depend_on_the_numbering(view, random):
    new = np.arange(view.num_nodes)
    random.shuffle(new)
    stage = np.empty_like(view.stage)
    stage[new] = view.stage
    twin = EdgeArrays.from_arrays(
        new[view.src], new[view.dst], view.num_nodes, stage, new[view.inputs], new[view.outputs], view.weight
    )
    own, other = analysis.features(view, seed=0), analysis.features(twin, seed=0)
    for name in own.keys() - SEARCHED:
        assert own[name] == pytest.approx(other[name], rel=1e-9, abs=1e-9, nan_ok=True), name


@given(staged_graphs())
def test_measures_stay_in_their_ranges(view):
    row = analysis.features(view, seed=0)
    for name in SHARES:
        assert math.isnan(row[name]) or -1e-12 <= row[name] <= 1 + 1e-12, name
    for name in ("assortativity", "sign_balance"):
        assert math.isnan(row[name]) or -1 - 1e-9 <= row[name] <= 1 + 1e-9, name
    assert row["effective_edges"] <= row["edges"]
    assert row["live_units"] + row["dead_neurons"] == np.count_nonzero(view.is_hidden)
    assert row["depth"] <= max(row["stages"] - 1, 0)
    assert row["max_core"] <= max(view.degree, default=0)
    assert row["bytes_bitmask"] >= 4 * row["edges"]
    assert math.isnan(row["modularity"]) or -0.5 <= row["modularity"] <= 1


@given(staged_graphs(), st.data())
def test_more_edges_never_lose_effective_ones_or_paths(view, data):
    kept = np.array(data.draw(st.lists(st.booleans(), min_size=view.num_edges, max_size=view.num_edges)), dtype=bool)
    fewer = view.keep(kept)
    assert analysis.effective_edges(fewer) <= analysis.effective_edges(view)
    assert analysis.log_paths(fewer) <= analysis.log_paths(view) + 1e-9
    assert analysis.components(fewer) >= analysis.components(view)
    assert analysis.butterflies(fewer) <= analysis.butterflies(view)
    assert analysis.triangles(fewer).sum() <= analysis.triangles(view).sum()


@given(staged_graphs())
def test_effective_edges_alone_are_all_effective(view):
    effective = analysis.effective_edge_mask(view)
    rest = view.keep(effective)
    assert analysis.effective_edges(rest) == rest.num_edges
    assert analysis.log_paths(rest) == pytest.approx(analysis.log_paths(view))


@given(st.lists(st.integers(0, 50), min_size=1), st.floats(0.1, 10))
def test_gini_is_scale_free_and_in_range(values, scale):
    gini = analysis.gini(values)
    assert 0 <= gini < 1
    assert analysis.gini(np.array(values) * scale) == pytest.approx(gini, abs=1e-9)
    assert analysis.gini([*values, *values]) == pytest.approx(gini, abs=1e-9)


@given(staged_graphs(), st.integers(0, 3))
@settings(max_examples=50)
def test_the_same_seed_gives_the_same_features(view, seed):
    state = np.random.get_state()[1].copy()
    first, second = analysis.features(view, seed=seed), analysis.features(view, seed=seed)
    assert {name: repr(x) for name, x in first.items()} == {name: repr(x) for name, x in second.items()}
    assert np.array_equal(np.random.get_state()[1], state)
    assert list(first) == [name for name, measure in MEASURES.items() if not measure.versus]


@given(staged_graphs())
def test_matching_distance_is_zero_for_renamed_units_and_at_most_one(view):
    if view.num_nodes == 0:
        return
    order = np.lexsort((-np.arange(view.num_nodes), view.stage_index))
    first = view.stage_index == 0
    new = np.arange(view.num_nodes)
    new[np.sort(order[~first[order]])] = order[~first[order]]
    own = analysis.matching_distance(view, view)
    assert all(distance == 0 for distance in own.values())
    stage = np.empty_like(view.stage)
    stage[new] = view.stage
    mixed = EdgeArrays.from_arrays(new[view.src], new[view.dst], view.num_nodes, stage)
    for distance in analysis.matching_distance(view, mixed).values():
        assert 0 <= distance <= 1


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=30), st.floats(-5, 5))
def test_rank_p_is_a_share_of_the_nulls(nulls, value):
    test = analysis.compare_with_nulls(value, nulls)
    if test.fixed:
        assert test.p is None
        assert test.sd == 0
    else:
        assert 1 / (len(nulls) + 1) <= test.p <= 1
        assert test.z is None or len(nulls) >= 20


def test_of_components_of_one_size_the_structure_decides():
    star, square = [[0, 3], [0, 4], [0, 5]], [[1, 6], [2, 6], [2, 7]]
    stage = np.array([0, 0, 0, 1, 1, 1, 1, 1])
    found = []
    for new in ([0, 1, 2, 3, 4, 5, 6, 7], [2, 1, 0, 7, 6, 5, 4, 3], [1, 0, 2, 5, 4, 3, 7, 6]):
        number = np.array(new)
        ends = number[np.array(star + square)]
        view = EdgeArrays.from_arrays(ends[:, 0], ends[:, 1], 8, stage=stage)
        found.append((analysis.path_length_mean(view), analysis.ramanujan_gap(view)))
        assert set(np.flatnonzero(largest_component(view))) in (set(number[[0, 3, 4, 5]]), set(number[[1, 2, 6, 7]]))
    assert found[1] == pytest.approx(found[0])
    assert found[2] == pytest.approx(found[0])
    # Of the two only the path of four nodes has a second singular value: (sqrt(5) - 1) / 2 of [[1, 0], [1, 1]].
    assert found[0][1] == pytest.approx(2 * math.sqrt(0.5) - (math.sqrt(5) - 1) / 2)


def test_more_edges_come_before_the_structure():
    view = EdgeArrays.from_arrays([0, 0, 0, 1, 1, 2, 2], [3, 4, 5, 6, 7, 6, 7], 8, stage=[0, 0, 0, 1, 1, 1, 1, 1])
    assert np.flatnonzero(largest_component(view)).tolist() == [1, 2, 6, 7]
