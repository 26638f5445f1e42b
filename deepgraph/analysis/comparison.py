"""Two graphs side by side: edges in common, stage by stage, and how far apart their neurons are."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse
from scipy.optimize import linear_sum_assignment

from deepgraph.analysis.edges import BoolArray, EdgeArrays, FloatArray, IntArray, graph_of, ratio
from deepgraph.analysis.table import format_number, lay_out, shorten_rows
from deepgraph.errors import StructureError, TooLargeError

if TYPE_CHECKING:
    from deepgraph.graph import CachedLayeredGraph

__all__ = ["MATCHING_LIMIT", "Comparison", "compare", "matching_distance"]

MATCHING_LIMIT = 2_000


@dataclass(frozen=True)
class Comparison:
    """What two graphs have in common; print it for a table.

    Attributes
    ----------
    nodes : tuple of int
        Nodes of the first, of the second, of both.
    common, only_first, only_second : int
        Edges in both graphs, in the first alone, in the second alone; nodes are matched by label.
    jaccard : float
        Common edges over edges of either, in [0, 1]; 1 where neither has edges.
    stage_pairs : list of dict
        The same for every stage pair, with the densities of both; a node that both graphs have is counted in the
        stage that the first declares.
    matching : dict
        Neuron-matching distance in [0, 1] by stage; empty where it was not computed.
    skipped : str
        Why the distance was not computed; "" where it was.
    """

    nodes: tuple[int, int, int]
    common: int
    only_first: int
    only_second: int
    jaccard: float
    stage_pairs: list[dict[str, Any]]
    matching: dict[int, float]
    skipped: str

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as plain data.

        Examples
        --------
        >>> from deepgraph.graph import CachedLayeredGraph
        >>> graph = CachedLayeredGraph.from_arrays([0, 1], [1, 2])
        >>> compare(graph, graph).to_dict()["jaccard"]
        1.0
        """
        return {
            "nodes": {"first": self.nodes[0], "second": self.nodes[1], "common": self.nodes[2]},
            "edges": {"common": self.common, "only_first": self.only_first, "only_second": self.only_second},
            "jaccard": self.jaccard,
            "stage_pairs": self.stage_pairs,
            "matching_distance": self.matching,
            "skipped": self.skipped,
        }

    def __str__(self) -> str:
        first, second, common = self.nodes
        lines = [
            f"nodes: {first:,} and {second:,}, {common:,} in common",
            f"edges: {self.common:,} in common, {self.only_first:,} only in the first, "
            f"{self.only_second:,} only in the second; Jaccard {format_number(self.jaccard)}",
        ]
        if self.stage_pairs:
            names = ["common", "only_first", "only_second", "jaccard", "density_first", "density_second"]
            rows = [
                [f"{row['source']}-{row['target']}", *(format_number(row[name]) for name in names)]
                for row in self.stage_pairs
            ]
            lines += ["", *lay_out(["stages", *(name.replace("_", " ") for name in names)], shorten_rows(rows))]
        if self.matching:
            rows = [[str(stage), format_number(distance)] for stage, distance in self.matching.items()]
            lines += ["", *lay_out(["stage", "neuron-matching distance"], shorten_rows(rows))]
        if self.skipped:
            lines += ["", f"neuron-matching distance: not computed ({self.skipped})"]
        return "\n".join(lines)


def compare(a: CachedLayeredGraph | object, b: CachedLayeredGraph | object) -> Comparison:
    """Return what two graphs (or the graphs of two models) have in common.

    Nodes are matched by label. The neuron-matching distance is computed where all stages have at most 2,000 units.

    Raises
    ------
    DtypeError
        If either has no graph.
    CycleError
        If either graph has a directed cycle.

    Examples
    --------
    >>> from deepgraph.graph import CachedLayeredGraph
    >>> first = CachedLayeredGraph.from_arrays([0, 0, 1], [1, 2, 2])
    >>> second = CachedLayeredGraph.from_arrays([0, 1], [1, 2])
    >>> print(compare(first, second).jaccard)
    0.6666666666666666
    """
    graphs = graph_of(a), graph_of(b)
    first, second = (EdgeArrays.from_graph(graph) for graph in graphs)
    place, shared = _places(*graphs)
    size = first.num_nodes + second.num_nodes + 1
    own = _keys(first.src, first.dst, size)
    # A node that only the second graph has gets a place behind all others, so that its edges match none.
    other = _keys(place[second.src], place[second.dst], size)
    in_first = np.isin(own, other)
    in_second = np.isin(other, own)
    in_both = place < first.num_nodes
    stage = second.stage.astype(np.int64)
    stage[in_both] = first.stage[place[in_both]]
    common = int(np.count_nonzero(in_first))
    either = len(own) + len(other) - common
    try:
        matching, skipped = matching_distance(first, second), ""
    except (StructureError, TooLargeError) as error:
        matching, skipped = {}, str(error)
    return Comparison(
        nodes=(first.num_nodes, second.num_nodes, shared),
        common=common,
        only_first=len(own) - common,
        only_second=len(other) - common,
        jaccard=common / either if either else 1.0,
        stage_pairs=_stage_pairs(first, replace(second, stage=stage, memo={}), in_first, in_second),
        matching=matching,
        skipped=skipped,
    )


def _places(first: CachedLayeredGraph, second: CachedLayeredGraph) -> tuple[IntArray, int]:
    """Return the position in `first` of every node of `second` (M,), new positions for strangers, and the matches."""
    labels, others = list(first), list(second)
    if labels == others:
        return np.arange(len(others)), len(others)
    at = {label: position for position, label in enumerate(labels)}
    found = np.array([at.get(label, -1) for label in others], dtype=np.int64)
    strange = found < 0
    found[strange] = len(labels) + np.arange(int(strange.sum()))
    return found, int((~strange).sum())


def _keys(src: IntArray, dst: IntArray, size: int) -> IntArray:
    """Return one number per edge (E,)."""
    keys: IntArray = src.astype(np.int64) * size + dst
    return keys


def _stage_pairs(
    first: EdgeArrays, second: EdgeArrays, in_first: BoolArray, in_second: BoolArray
) -> list[dict[str, Any]]:
    """Return one row per stage pair that holds an edge in either graph."""
    rows: dict[tuple[int, int], dict[str, Any]] = {}
    for view, hit, name in ((first, in_first, "first"), (second, in_second, "second")):
        pairs = view.pairs
        matched = np.bincount(pairs.of_edge, weights=hit, minlength=len(pairs.edges)).astype(np.int64)
        for at, (u, v) in enumerate(
            zip(view.stages[pairs.source].tolist(), view.stages[pairs.target].tolist(), strict=True)
        ):
            row = rows.setdefault((u, v), _empty_row(u, v))
            row[f"only_{name}"] = int(pairs.edges[at] - matched[at])
            row[f"density_{name}"] = float(pairs.edges[at] / pairs.admissible[at])
            row["common"] = int(matched[at]) if name == "first" else row["common"]
    for row in rows.values():
        either = row["common"] + row["only_first"] + row["only_second"]
        row["jaccard"] = row["common"] / either
    return [rows[key] for key in sorted(rows)]


def _empty_row(source: int, target: int) -> dict[str, Any]:
    return {
        "source": source,
        "target": target,
        "common": 0,
        "only_first": 0,
        "only_second": 0,
        "jaccard": 0.0,
        "density_first": 0.0,
        "density_second": 0.0,
    }


def matching_distance(first: EdgeArrays, second: EdgeArrays) -> dict[int, float]:
    """Return by stage the distance in [0, 1] between the neurons of two graphs after the best matching.

    The neurons of a stage are matched so that the sets of their inputs differ least, one minus Jaccard on average;
    the units of earlier stages are first renamed by their own matching. The first stage is matched as it stands. A
    neuron without a partner is at distance 1, two without inputs at distance 0.

    Parameters
    ----------
    first, second : EdgeArrays
        Graphs of the same stages.

    Raises
    ------
    StructureError
        If the stages differ.
    TooLargeError
        If a stage has more than 2,000 units.

    References
    ----------
    Liu et al., "Topological Insights into Sparse Neural Networks", ECML-PKDD 2020 (NNSTD).
    Differs from the paper: skip edges count as inputs, and stages of different sizes are matched.

    Examples
    --------
    Two neurons that changed places are the same network:

    >>> from deepgraph.analysis import EdgeArrays
    >>> one = EdgeArrays.from_arrays([0, 1], [2, 3], 4)
    >>> swapped = EdgeArrays.from_arrays([0, 1], [3, 2], 4)
    >>> matching_distance(one, swapped)
    {0: 0.0, 1: 0.0}
    """
    if not np.array_equal(first.stages, second.stages):
        raise StructureError(
            f"expected graphs of the same stages, got {len(first.stages)} and {len(second.stages)} stages "
            "with different numbers"
        )
    largest = int(max(first.stage_sizes.max(initial=0), second.stage_sizes.max(initial=0)))
    if largest > MATCHING_LIMIT:
        raise TooLargeError(f"expected stages of at most {MATCHING_LIMIT:,} units, got one of {largest:,}")
    members = [[np.flatnonzero(view.stage_index == s) for view in (first, second)] for s in range(len(first.stages))]
    name = np.arange(second.num_nodes) + first.num_nodes  # a stranger until it is matched
    width = first.num_nodes + second.num_nodes
    distances: dict[int, float] = {}
    for at, (own, other) in enumerate(members):
        if at == 0:
            shared = min(len(own), len(other))
            rows, columns = np.arange(shared), np.arange(shared)
            lost = abs(len(own) - len(other))
            distances[int(first.stages[0])] = lost / max(len(own), len(other))
        else:
            table = _differences(
                sparse.csr_array(_incoming(first, own, np.arange(first.num_nodes), width)),
                sparse.csr_array(_incoming(second, other, name, width)),
            )
            rows, columns = linear_sum_assignment(table)
            unmatched = abs(len(own) - len(other))
            distances[int(first.stages[at])] = (float(table[rows, columns].sum()) + unmatched) / max(table.shape)
        name[other[columns]] = own[rows]
    return distances


def _incoming(view: EdgeArrays, units: IntArray, name: IntArray, width: int) -> sparse.csr_array:
    """Return the (U, width) matrix of ones of the inputs of `units`, sources renamed by `name` (N,)."""
    rows = sparse.csr_array(view.in_csr[units])
    return sparse.csr_array((rows.data, name[rows.indices], rows.indptr), shape=(len(units), width))


def _differences(own: sparse.csr_array, other: sparse.csr_array) -> FloatArray:
    """Return one minus the Jaccard index of every row of one with every row of the other, (U, V)."""
    common = (own @ other.T).toarray()
    either = np.diff(own.indptr)[:, None] + np.diff(other.indptr)[None, :] - common
    return 1.0 - ratio(common, either, empty=1.0)
