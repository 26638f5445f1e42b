"""Comparison of two graphs: edges in common, stage by stage, and the matching of neurons."""

from __future__ import annotations

import numpy as np
import pytest

from deepgraph.analysis import EdgeArrays, compare, matching_distance
from deepgraph.errors import StructureError, TooLargeError
from deepgraph.graph import CachedLayeredGraph


def test_edges_in_common():
    first = CachedLayeredGraph.from_arrays([0, 0, 1, 2], [2, 3, 3, 4], num_nodes=5)
    second = CachedLayeredGraph.from_arrays([0, 1, 1, 2], [2, 2, 3, 4], num_nodes=5)
    found = compare(first, second)
    assert (found.common, found.only_first, found.only_second) == (3, 1, 1)
    assert found.jaccard == 3 / 5
    assert found.nodes == (5, 5, 5)
    assert [(row["source"], row["target"], row["common"]) for row in found.stage_pairs] == [(0, 1, 2), (1, 2, 1)]
    text = str(found)
    assert "3 in common, 1 only in the first, 1 only in the second; Jaccard 0.6000" in text
    assert found.to_dict()["edges"] == {"common": 3, "only_first": 1, "only_second": 1}


def test_nodes_are_matched_by_label():
    first, second = CachedLayeredGraph(), CachedLayeredGraph()
    first.add_edges_from([("a", "b"), ("b", "c")])
    second.add_edges_from([("x", "b"), ("b", "c"), ("a", "x")])
    found = compare(first, second)
    assert found.nodes == (3, 4, 3)
    assert (found.common, found.only_first, found.only_second) == (1, 1, 2)
    rows = [(row["source"], row["target"], row["common"], row["only_second"]) for row in found.stage_pairs]
    assert rows == [(0, 1, 0, 1), (1, 1, 0, 1), (1, 2, 1, 0)]  # "b" counts in the stage that the first declares


def test_a_graph_with_itself_and_with_nothing():
    graph = CachedLayeredGraph.from_arrays([0, 1], [1, 2])
    same = compare(graph, graph)
    assert same.jaccard == 1.0
    assert set(same.matching.values()) == {0.0}
    empty = np.empty(0, np.int64)
    loose = CachedLayeredGraph.from_arrays(empty, empty, num_nodes=3)
    assert compare(loose, loose).jaccard == 1.0
    other = compare(graph, loose)
    assert (other.jaccard, other.only_first) == (0.0, 2)
    assert "expected graphs of the same stages" in other.skipped
    assert "not computed" in str(other)
    nothing = CachedLayeredGraph.from_arrays(empty, empty, num_nodes=0)
    assert compare(nothing, nothing).matching == {}


def test_matching_follows_renamed_units_through_stages():
    stage = [0, 0, 0, 1, 1, 1, 2, 2]
    one = EdgeArrays.from_arrays([0, 1, 1, 2, 3, 4, 5], [3, 3, 4, 5, 6, 6, 7], 8, stage=stage)
    rename = np.array([0, 1, 2, 5, 3, 4, 7, 6])
    two = EdgeArrays.from_arrays(rename[one.src], rename[one.dst], 8, stage=stage)
    assert matching_distance(one, two) == {0: 0.0, 1: 0.0, 2: 0.0}


def test_matching_distance_of_known_differences():
    stage = [0, 0, 0, 0, 1, 1]
    one = EdgeArrays.from_arrays([0, 1, 2, 3], [4, 4, 5, 5], 6, stage=stage)
    two = EdgeArrays.from_arrays([0, 2, 1, 3], [4, 4, 5, 5], 6, stage=stage)
    assert matching_distance(one, two)[1] == pytest.approx(1 - 1 / 3)  # {0,1} and {0,2} share one of three
    fewer = EdgeArrays.from_arrays([0, 1], [4, 4], 5, stage=stage[:5])
    assert matching_distance(one, fewer)[1] == 0.5  # one of two has no partner


def test_matching_refusals():
    one, two = EdgeArrays.from_arrays([0], [1], 2), EdgeArrays.from_arrays([0, 1], [1, 2], 3)
    with pytest.raises(StructureError, match="same stages, got 2 and 3 stages"):
        matching_distance(one, two)
    wide = EdgeArrays.from_arrays([0], [1], 2_002, stage=[0] + [1] * 2_001)
    with pytest.raises(TooLargeError, match="at most 2,000 units, got one of 2,001"):
        matching_distance(wide, wide)
