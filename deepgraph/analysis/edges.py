"""The arrays of a graph that every measure reads, made once and shared.

A measure takes a graph or an `EdgeArrays`; a report makes one `EdgeArrays` and hands it to all measures, so that
transposed indices, degrees and reachability are computed once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

import numpy as np
import numpy.typing as npt
from scipy import sparse

from deepgraph.errors import ArgumentError, DtypeError, MissingColumnError, ShapeError, StructureError
from deepgraph.graph.arrays import as_ids, compress
from deepgraph.graph.layers import layer_index

if TYPE_CHECKING:
    from deepgraph.graph import CachedLayeredGraph

    Source: TypeAlias = "CachedLayeredGraph | EdgeArrays"

__all__ = ["EdgeArrays", "StagePairs", "arrays_of", "graph_of", "ratio"]

IntArray: TypeAlias = npt.NDArray[np.integer[Any]]
FloatArray: TypeAlias = npt.NDArray[np.float64]
BoolArray: TypeAlias = npt.NDArray[np.bool_]
Result = TypeVar("Result")


@dataclass(frozen=True, eq=False)
class StagePairs:
    """The P ordered pairs of stages that hold at least one edge, sorted by (source stage, target stage).

    Attributes
    ----------
    source, target : (P,) int64
        Stage indices in [0, S): the row of the stage in `EdgeArrays.stages`.
    edges : (P,) int64
        Number of edges of each pair.
    admissible : (P,) int64
        Units in the source stage times units in the target stage.
    of_edge : (E,) int64
        The pair that each edge belongs to.
    """

    source: IntArray
    target: IntArray
    edges: IntArray
    admissible: IntArray
    of_edge: IntArray


@dataclass(frozen=True, eq=False)
class EdgeArrays:
    """The edges of a staged directed acyclic graph as arrays, with every derived index cached.

    Attributes
    ----------
    src, dst : (E,) int
        Source and target positions in canonical order: sorted by (source, target), no pair twice.
    num_nodes : int
        Number of nodes N.
    stage : (N,) int
        Declared stage of each node; `stage[src] < stage[dst]` for every edge.
    layer : (N,) int
        Length of the longest path from a source to each node.
    inputs, outputs : (I,), (O,) int
        Positions of input and output nodes, ascending, each once.
    weight : (E,) float or None
        Edge weights.
    memo : dict
        Results shared between measures; not for callers.

    Examples
    --------
    >>> from deepgraph.analysis import EdgeArrays
    >>> chain = EdgeArrays.from_arrays([0, 1], [1, 2], 3)
    >>> chain.fan_in.tolist(), chain.inputs.tolist(), chain.outputs.tolist()
    ([0, 1, 1], [0], [2])
    """

    src: IntArray
    dst: IntArray
    num_nodes: int
    stage: IntArray
    layer: IntArray
    inputs: IntArray
    outputs: IntArray
    weight: FloatArray | None = None
    memo: dict[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def from_graph(cls, graph: CachedLayeredGraph) -> EdgeArrays:
        """Return the arrays of `graph`; nothing is copied but the weights, where they are not float64.

        Raises
        ------
        CycleError
            If the graph has a directed cycle.
        """
        src, dst = graph.edge_arrays()
        weight = np.asarray(graph.column("weight"), dtype=np.float64) if graph.has_column("weight") else None
        return cls(
            src=src,
            dst=dst,
            num_nodes=len(graph),
            stage=graph.stage_array(),
            layer=graph.layer_array(),
            inputs=np.unique(graph.input_positions()),
            outputs=np.unique(graph.output_positions()),
            weight=weight,
        )

    @classmethod
    def from_arrays(
        cls,
        src: npt.ArrayLike,
        dst: npt.ArrayLike,
        num_nodes: int,
        stage: npt.ArrayLike | None = None,
        inputs: npt.ArrayLike | None = None,
        outputs: npt.ArrayLike | None = None,
        weight: npt.ArrayLike | None = None,
    ) -> EdgeArrays:
        """Return the arrays of the edges `src -> dst` (E,) in any order.

        `stage` (N,) defaults to the longest-path layer, `inputs` and `outputs` to sources and sinks.

        Raises
        ------
        CycleError
            If the edges close a directed cycle.
        EdgeError
            If a pair occurs twice.
        ShapeError
            If `src`, `dst` and `weight` differ in length, or `stage` is not of length `num_nodes`.
        StructureError
            If an edge does not go up in a given `stage`.
        """
        tail, head = as_ids(src, num_nodes, "src"), as_ids(dst, num_nodes, "dst")
        indptr, targets, order = compress(tail, head, num_nodes, num_nodes)
        worth = None if weight is None else np.asarray(weight, dtype=np.float64).reshape(-1)
        if worth is not None and len(worth) != len(tail):
            raise ShapeError(f"weight must have one entry per edge ({len(tail)},), got ({len(worth)},)")
        if order is not None:
            worth = None if worth is None else worth[order]
            tail = tail[order]
        layer = layer_index(indptr, targets, num_nodes)
        level = layer if stage is None else np.asarray(stage, dtype=np.int64)
        if level.shape != (num_nodes,):
            raise ShapeError(f"stage must have one entry per node ({num_nodes},), got shape {level.shape}")
        down = np.flatnonzero(level[tail] >= level[targets])
        if down.size:
            u, v = int(tail[down[0]]), int(targets[down[0]])
            raise StructureError(
                f"every edge must go up in stage, got {u} -> {v} from stage {level[u]} to {level[v]} "
                f"({down.size} such edges); leave stage out to take the longest-path layer"
            )
        nodes = np.arange(num_nodes)
        return cls(
            src=tail.astype(np.int32),
            dst=targets,
            num_nodes=num_nodes,
            stage=level,
            layer=layer,
            inputs=np.setdiff1d(nodes, targets) if inputs is None else np.unique(as_ids(inputs, num_nodes, "inputs")),
            outputs=np.setdiff1d(nodes, tail) if outputs is None else np.unique(as_ids(outputs, num_nodes, "outputs")),
            weight=worth,
        )

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy needs: caches stay behind."""
        return {name: value for name, value in self.__dict__.items() if name in self.__dataclass_fields__} | {
            "memo": {}
        }

    def once(self, key: str, build: Callable[[], Result]) -> Result:
        """Return `build()`, computed on the first call with this key and remembered."""
        if key not in self.memo:
            self.memo[key] = build()
        return cast(Result, self.memo[key])

    def keep(self, edges: BoolArray) -> EdgeArrays:
        """Return the same nodes with only the edges where `edges` (E,) is True; roles, stages and layers stay."""
        return replace(
            self,
            src=self.src[edges],
            dst=self.dst[edges],
            weight=None if self.weight is None else self.weight[edges],
            memo={},
        )

    @property
    def num_edges(self) -> int:
        """Number of edges E."""
        return len(self.src)

    def values(self, weight: str | None) -> FloatArray:
        """Return what each edge counts (E,): 1 for None, its weight for "weight", its magnitude for "abs".

        Raises
        ------
        ArgumentError
            If `weight` is none of the three.
        MissingColumnError
            If weights are asked for and the graph has none.
        """
        if weight is None:
            return np.ones(self.num_edges)
        if weight not in ("weight", "abs"):
            raise ArgumentError(f'weight must be None, "weight" or "abs", got {weight!r}')
        if self.weight is None:
            raise MissingColumnError(
                f'weight="{weight}" needs the edge column "weight", and the graph has none; '
                'set it with g.set_column("weight", values) or leave weight=None'
            )
        return np.abs(self.weight) if weight == "abs" else self.weight

    def amounts(self, weight: str | None) -> FloatArray:
        """Return `values(weight)` (E,) for a measure that has no meaning for negative weights.

        Raises
        ------
        ArgumentError
            If `weight` is unknown, or a weight is negative.
        MissingColumnError
            If weights are asked for and the graph has none.
        """
        values = self.values(weight)
        if values.size and values.min() < 0:
            raise ArgumentError(
                f'this measure needs weights >= 0, got {values.min()}; take weight="abs" or leave weight=None'
            )
        return values

    @cached_property
    def fan_in(self) -> IntArray:
        """Number of incoming edges of each node (N,)."""
        return np.bincount(self.dst, minlength=self.num_nodes)

    @cached_property
    def fan_out(self) -> IntArray:
        """Number of outgoing edges of each node (N,)."""
        return np.bincount(self.src, minlength=self.num_nodes)

    @cached_property
    def degree(self) -> IntArray:
        """Number of edges of each node (N,), in either direction."""
        return self.fan_in + self.fan_out

    @cached_property
    def is_input(self) -> BoolArray:
        """Whether each node (N,) is an input."""
        return _indicator(self.inputs, self.num_nodes)

    @cached_property
    def is_output(self) -> BoolArray:
        """Whether each node (N,) is an output."""
        return _indicator(self.outputs, self.num_nodes)

    @cached_property
    def is_hidden(self) -> BoolArray:
        """Whether each node (N,) is neither input nor output."""
        return ~(self.is_input | self.is_output)

    @cached_property
    def stages(self) -> IntArray:
        """The S distinct stage numbers, ascending (S,)."""
        return np.unique(self.stage)

    @cached_property
    def stage_index(self) -> IntArray:
        """Row of each node's stage in `stages` (N,)."""
        return np.searchsorted(self.stages, self.stage)

    @cached_property
    def stage_sizes(self) -> IntArray:
        """Number of nodes of each stage (S,)."""
        return np.bincount(self.stage_index, minlength=len(self.stages))

    @cached_property
    def out_csr(self) -> sparse.csr_array:
        """Adjacency (N, N) of ones, rows = source."""
        return _adjacency(self.src, self.dst, self.num_nodes)

    @cached_property
    def in_csr(self) -> sparse.csr_array:
        """Transposed adjacency (N, N) of ones, rows = target."""
        return sparse.csr_array(self.out_csr.T)

    @cached_property
    def both_csr(self) -> sparse.csr_array:
        """Symmetric adjacency (N, N) of ones: the undirected graph."""
        return sparse.csr_array(self.out_csr + self.in_csr)

    @cached_property
    def pairs(self) -> StagePairs:
        """The stage pairs that hold edges."""
        count = len(self.stages)
        key = self.stage_index[self.src].astype(np.int64) * max(count, 1) + self.stage_index[self.dst]
        if count * count <= 4 * self.num_edges:  # few stages: counting is faster than sorting a million keys
            held = np.bincount(key, minlength=count * count)
            keys = np.flatnonzero(held)
            rows = np.zeros(count * count, np.int64)
            rows[keys] = np.arange(len(keys))
            of_edge, edges = rows[key], held[keys]
        else:
            keys, of_edge, edges = np.unique(key, return_inverse=True, return_counts=True)
        source, target = np.divmod(keys, max(count, 1))
        sizes = self.stage_sizes.astype(np.int64)
        return StagePairs(source, target, edges, sizes[source] * sizes[target], of_edge)


def _indicator(positions: IntArray, size: int) -> BoolArray:
    """Return (N,) True at `positions`."""
    flags = np.zeros(size, dtype=np.bool_)
    flags[positions] = True
    return flags


def _adjacency(src: IntArray, dst: IntArray, size: int) -> sparse.csr_array:
    """Return the CSR matrix of ones of edges in canonical order."""
    indptr = np.zeros(size + 1, dtype=np.int64)
    np.cumsum(np.bincount(src, minlength=size), out=indptr[1:])
    # csgraph reads 32-bit indices; a wider indptr would make scipy widen the targets too.
    kind = np.int32 if len(src) < 2**31 else np.int64
    matrix = sparse.csr_array((np.ones(len(src)), dst.astype(kind), indptr.astype(kind)), shape=(size, size))
    matrix.has_sorted_indices = True
    return matrix


def graph_of(graph_or_model: object) -> CachedLayeredGraph:
    """Return the graph itself, or the `.graph` of a module.

    Raises
    ------
    DtypeError
        If neither it nor its `.graph` is a `CachedLayeredGraph`.
    """
    for candidate in (graph_or_model, getattr(graph_or_model, "graph", None)):
        if hasattr(candidate, "edge_arrays") and hasattr(candidate, "stage_array"):
            return cast("CachedLayeredGraph", candidate)
    raise DtypeError(
        "expected a CachedLayeredGraph or a model with .graph, "
        f"got {type(graph_or_model).__module__}.{type(graph_or_model).__name__}; convert a networkx graph with "
        "deepgraph.from_networkx(G) and a plain torch model with deepgraph.extract(model, x)"
    )


def arrays_of(graph: Source) -> EdgeArrays:
    """Return the `EdgeArrays` of a graph; an `EdgeArrays` is returned as it is.

    Raises
    ------
    DtypeError
        If `graph` is neither, nor a model with a graph.

    Examples
    --------
    >>> from deepgraph.analysis import EdgeArrays
    >>> view = EdgeArrays.from_arrays([0], [1], 2)
    >>> arrays_of(view) is view
    True
    """
    return graph if isinstance(graph, EdgeArrays) else EdgeArrays.from_graph(graph_of(graph))


def ratio(top: npt.ArrayLike, bottom: npt.ArrayLike, empty: float = np.nan) -> FloatArray:
    """Return `top / bottom` entry by entry, `empty` where `bottom` is not above 0.

    Examples
    --------
    >>> ratio([1.0, 2.0], [2.0, 0.0]).tolist()
    [0.5, nan]
    """
    above, below = np.asarray(top, dtype=np.float64), np.asarray(bottom, dtype=np.float64)
    quotient: FloatArray = np.divide(above, below, out=np.full(above.shape, empty), where=below > 0)
    return quotient
