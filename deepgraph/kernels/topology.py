"""The frozen index structure of a graph that kernels walk: edges, stages, inputs, outputs, and what is derived from it.

Positions number the nodes as the graph does. *Ranks* number them in program order (by stage, then by position): the
order in which they are computed and in which kernels store their activations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from deepgraph.errors import ArgumentError, ShapeError
from deepgraph.kernels.activations import activation
from deepgraph.kernels.compiler import has_numba
from deepgraph.kernels.edge_checks import check_edges
from deepgraph.kernels.index_arrays import MAX_INT16, check_positions, checked_integers, frozen, shortened

__all__ = ["Topology"]

Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]

# Fewer edges are sorted by scipy before a compiled loop is even found.
_COMPILED_FROM = 1 << 14


@dataclass(frozen=True, eq=False)
class Topology:
    """The structure of one neural network as arrays, checked once and never changed.

    Parameters
    ----------
    num_nodes : int
        N, at least 1.
    src, dst : (E,) int32
        Edges in canonical order: sorted by (src, dst), without duplicates.
    stage : (N,) int32
        Stage of each node; it goes up along every edge.
    inputs : (I,) int64
        Positions that the columns of x feed; a node named twice receives the sum of its columns.
    outputs : (O,) int64
        Positions that the columns of the result show, repeats allowed.
    activation : (N,) uint8
        Code per node, see `deepgraph.kernels.activations`; ignored for inputs.
    splits : (S,) ints, optional
        How many edges each weight tensor holds, in canonical order; default one tensor with all of them.
    labels : sequence, optional
        Names of nodes for messages; default the positions.
    reduce : (N,) uint8, optional
        How each node joins its inputs, see `deepgraph.kernels.reductions`: 0 sum, 1 maximum, 2 product; ignored for
        inputs, default sums.

    Raises
    ------
    ArgumentError, DtypeError, ShapeError
        If an argument has the wrong type, shape or range.
    EdgeError
        If a position is out of range, or edges are duplicated or not sorted.
    StructureError
        If an edge does not go up in stage, or enters an input.

    Examples
    --------
    >>> t = Topology(3, [0, 0, 1], [1, 2, 2], [0, 1, 2], inputs=[0], outputs=[2], activation=[0, 1, 0])
    >>> t.num_edges, t.num_computed, t.order.tolist()
    (3, 2, [0, 1, 2])
    """

    num_nodes: int
    src: Int32
    dst: Int32
    stage: Int32
    inputs: Int64
    outputs: Int64
    activation: NDArray[np.uint8]
    splits: tuple[int, ...] = ()
    labels: Sequence[Any] | None = None
    reduce: NDArray[np.uint8] = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        if not isinstance(self.num_nodes, (int, np.integer)) or self.num_nodes < 1:
            raise ArgumentError(
                f"expected a graph of at least 1 node, got num_nodes={self.num_nodes!r}; add nodes first"
            )
        object.__setattr__(self, "num_nodes", int(self.num_nodes))
        if self.reduce is None:
            object.__setattr__(self, "reduce", np.zeros(self.num_nodes, np.uint8))
        for name, dtype in _DTYPES.items():
            object.__setattr__(self, name, checked_integers(name, getattr(self, name), dtype))
        for name in ("stage", "activation", "reduce"):
            if getattr(self, name).shape != (self.num_nodes,):
                raise ShapeError(
                    f"expected {name} of shape ({self.num_nodes},), one entry per node, got {getattr(self, name).shape}"
                )
        check_positions("inputs", self.inputs, self.num_nodes)
        check_positions("outputs", self.outputs, self.num_nodes)
        for code in self.codes:
            activation(code)
        if self.reduce.max() > 2:
            raise ArgumentError(f"expected reduce codes 0 (sum), 1 (max) or 2 (prod), got {self.reduce.max()}")
        check_edges(self)
        self._check_splits()

    def _check_splits(self) -> None:
        splits = tuple(int(count) for count in self.splits) or (self.num_edges,)
        if min(splits) < 0 or sum(splits) != self.num_edges:
            raise ShapeError(f"expected splits that add up to {self.num_edges} edges, got {splits}")
        object.__setattr__(self, "splits", splits)

    def with_edges(self, src: ArrayLike, dst: ArrayLike, splits: Sequence[int] | None = None) -> Topology:
        """Return this topology with other edges between the same nodes; what depends on nodes only is kept.

        Parameters
        ----------
        src, dst : (E,) int32
            The new edges in canonical order.
        splits : (S,) ints, optional
            Edge counts per weight tensor; needed when there is more than one tensor and their counts changed.

        Raises
        ------
        DtypeError, EdgeError, ShapeError, StructureError
            As for a new topology; this one is unchanged.

        Examples
        --------
        >>> t = Topology(2, [0], [1], [0, 1], inputs=[0], outputs=[1], activation=[0, 0])
        >>> t.with_edges([], []).num_edges
        0
        """
        if splits is None:
            splits = self.splits if len(self.splits) > 1 else ()
        new = replace(self, src=np.asarray(src), dst=np.asarray(dst), splits=tuple(splits))
        return self._with_nodes(new)

    def edited(self, indptr: Int32, dst: Int32, splits: Sequence[int], **known: Any) -> Topology:
        """Return this topology with other edges, of which nothing is checked: they come from checked edge sets.

        Parameters
        ----------
        indptr : (N + 1,) int32
            `source_indptr` of the new edges.
        dst : (E,) int32
            Their targets in canonical order; sources are made when they are asked for.
        splits : (S,) ints
        **known
            Derived indexes of the new edges, by the names that they have here.

        Examples
        --------
        >>> t = Topology(2, [0], [1], [0, 1], inputs=[0], outputs=[1], activation=[0, 0])
        >>> t.edited(t.source_indptr, t.dst, [1]).src
        array([0], dtype=int32)
        """
        new = object.__new__(Topology)
        same = {field.name: self.__dict__[field.name] for field in fields(self) if field.name != "src"}
        own = {"dst": frozen(dst), "splits": tuple(splits), "source_indptr": frozen(indptr)}
        new.__dict__.update(same | own | known)
        return self._with_nodes(new)

    def _with_nodes(self, new: Topology) -> Topology:
        """Return `new` after it took over what is known here of the nodes."""
        for name in _NODE_ONLY & self.__dict__.keys():
            new.__dict__[name] = self.__dict__[name]
        return new

    def __getattr__(self, name: str) -> Any:
        # Nothing but the sources of an edited topology is missing until it is asked for.
        indptr = self.__dict__.get("source_indptr") if name == "src" else None
        if indptr is None:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        src = frozen(np.repeat(np.arange(self.num_nodes, dtype=np.int32), np.diff(indptr)))
        self.__dict__["src"] = src
        return src

    @property
    def num_edges(self) -> int:
        """Return E."""
        return int(self.dst.shape[0])

    @property
    def num_computed(self) -> int:
        """Return C, the number of nodes that are no inputs; each has one bias, in ascending position."""
        return self.num_nodes - int(np.count_nonzero(self.is_input))

    @property
    def num_parameters(self) -> int:
        """Return C + S, the length of the bias vector: biases, then the slopes of nodes that have one."""
        return self.num_computed + self.num_slopes

    @cached_property
    def num_slopes(self) -> int:
        """Return S, the number of nodes with a slope of their own (prelu), in ascending position."""
        return int(np.count_nonzero(self.slope_index >= 0))

    @cached_property
    def slope_index(self) -> Int32:
        """Return (N,) int32 by rank: index of the node's slope in the vector of biases and slopes, -1 for none."""
        codes = [code for code in self.codes if activation(code).has_slope]
        bent = ~self.is_input & np.isin(self.activation, codes)
        by_position = np.where(bent, self.num_computed + np.cumsum(bent) - 1, -1)
        return frozen(by_position[self.order].astype(np.int32))

    @cached_property
    def is_input(self) -> NDArray[np.bool_]:
        """Return (N,) bool by position."""
        mask = np.zeros(self.num_nodes, dtype=bool)
        mask[self.inputs] = True
        mask.flags.writeable = False
        return mask

    @cached_property
    def without_gradient(self) -> Int64:
        """Return the positions (K,) of inputs, and of nodes that reduce by maximum or product."""
        return frozen(np.flatnonzero(self.is_input | (self.reduce != 0)))

    @cached_property
    def order(self) -> Int32:
        """Return (N,) int32, the positions in program order: by stage, then by position."""
        if (self.stage[:-1] <= self.stage[1:]).all():
            return frozen(np.arange(self.num_nodes, dtype=np.int32))
        return frozen(np.argsort(self.stage, kind="stable").astype(np.int32))

    @cached_property
    def rank(self) -> Int32:
        """Return (N,) int32, the place of each position in program order; the inverse of `order`."""
        rank = np.empty(self.num_nodes, dtype=np.int32)
        rank[self.order] = np.arange(self.num_nodes, dtype=np.int32)
        return frozen(rank)

    @cached_property
    def is_ordered(self) -> bool:
        """Return whether positions are ranks."""
        return bool((self.stage[:-1] <= self.stage[1:]).all())

    @cached_property
    def stage_starts(self) -> Int64:
        """Return (S + 1,) int64, the rank at which each of the S occupied stages begins, and N."""
        sorted_stage = self.stage[self.order]
        return frozen(np.r_[0, np.flatnonzero(sorted_stage[1:] != sorted_stage[:-1]) + 1, self.num_nodes])

    @cached_property
    def stage_pairs(self) -> tuple[int, ...]:
        """Return the admissible pairs between each stage and the one behind it; inputs take no edges."""
        computed = np.add.reduceat(self.bias_index >= 0, self.stage_starts[:-1], dtype=np.int64)
        return tuple((computed[1:] * np.diff(self.stage_starts)[:-1]).tolist())

    @cached_property
    def codes(self) -> tuple[int, ...]:
        """Return the codes of the activations in use, those of inputs included."""
        return tuple(np.unique(self.activation).tolist())

    @cached_property
    def bias_index(self) -> Int32:
        """Return (N,) int32 by rank: index of the node's bias, -1 for an input."""
        by_position = np.where(self.is_input, -1, np.cumsum(~self.is_input) - 1)
        return frozen(by_position[self.order].astype(np.int32))

    @cached_property
    def ranked_activation(self) -> NDArray[np.uint8]:
        """Return (N,) uint8 by rank: activation code, identity for inputs."""
        return frozen(np.where(self.is_input, 0, self.activation)[self.order].astype(np.uint8))

    @cached_property
    def ranked_reduce(self) -> NDArray[np.uint8]:
        """Return (N,) uint8 by rank: how the node joins its inputs, 0 (sum) for inputs."""
        return frozen(np.where(self.is_input, 0, self.reduce)[self.order].astype(np.uint8))

    @cached_property
    def only_sums(self) -> bool:
        """Return whether no node reduces by maximum or product."""
        return not self.ranked_reduce.any()

    @cached_property
    def reduced_edges(self) -> NDArray[np.bool_]:
        """Return (E,) bool in canonical order: which edges enter a maximum or product node."""
        return frozen(self.reduce[self.dst] != 0)

    @cached_property
    def kept_index(self) -> Int32:
        """Return (N,) int32 by rank: row of the saved sum z among those that the backward pass needs, else -1."""
        codes = self.ranked_activation
        needing = np.array([code for code in np.unique(codes) if activation(int(code)).needs_input], dtype=np.uint8)
        needed = np.isin(codes, needing)
        return frozen(np.where(needed, np.cumsum(needed) - 1, -1).astype(np.int32))

    @cached_property
    def num_kept(self) -> int:
        """Return how many nodes save their sum z."""
        return int(np.count_nonzero(self.kept_index >= 0))

    @cached_property
    def input_ranks(self) -> Int32:
        """Return (I,) int32, the rank that each column of x feeds."""
        return frozen(self.rank[self.inputs])

    @cached_property
    def output_ranks(self) -> Int32:
        """Return (O,) int32, the rank that each column of the result shows."""
        return frozen(self.rank[self.outputs])

    @cached_property
    def source_indptr(self) -> Int32:
        """Return (N + 1,) int32: the out-edges of position u are canonical edges indptr[u]:indptr[u + 1]."""
        counts = np.bincount(self.src, minlength=self.num_nodes)
        return frozen(np.r_[0, np.cumsum(counts)].astype(np.int32))

    @cached_property
    def target_rank(self) -> Int32:
        """Return (E,) int32, the rank of each canonical edge's target."""
        return self.dst if self.is_ordered else frozen(self.rank[self.dst])

    @cached_property
    def target_step(self) -> NDArray[Any]:
        """Return (E,) in canonical order: the rank of each edge's target minus that of its source.

        int16 where all ranks fit, or all differences do, else int32.
        """
        step = np.subtract(self.target_rank, self.src if self.is_ordered else self.rank[self.src], dtype=np.int32)
        return frozen(step.astype(np.int16)) if self.num_nodes <= MAX_INT16 else shortened(step)

    @cached_property
    def part_of(self) -> Int32 | None:
        """Return (N,) int32, the weight tensor of each position's out-edges, where they are known to lie side by side.

        Then no position has out-edges, or in-edges, in several tensors, and tensors follow each other by source and by
        target.
        """
        return None

    @cached_property
    def joins_neighbours(self) -> bool:
        """Return whether positions are ranks, and edges join neighbouring stages only, one weight tensor for each."""
        starts, indptr = self.stage_starts, self.source_indptr
        if not self.is_ordered or len(starts) < 3 or tuple(np.diff(indptr[starts])[:-1].tolist()) != self.splits:
            return False
        # Targets of a node ascend: its first and its last one say it of all.
        nodes = np.flatnonzero(indptr[1:] > indptr[:-1])
        stage = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
        ends = self.dst[indptr[nodes]], self.dst[indptr[nodes + 1] - 1]
        return all(bool((stage[end] == stage[nodes] + 1).all()) for end in ends)

    @cached_property
    def _by_target(self) -> tuple[Int32, Int32, NDArray[Any]]:
        """Return (indptr (N + 1,), perm (E,), step (E,)): the edges by target; see `source_step`."""
        n, edges = self.num_nodes, self.num_edges
        if edges >= _COMPILED_FROM and has_numba():
            from deepgraph.kernels.numba_transpose import transpose

            indptr, perm = np.empty(n + 1, np.int32), np.empty(edges, np.int32)
            step = np.empty(edges, np.int16 if n <= MAX_INT16 else np.int32)
            transpose(self.source_indptr, self.target_rank, self.order, indptr, perm, step)
            return frozen(indptr), frozen(perm), shortened(step)
        # Two counting sorts in scipy's C++: rows into program order, then the transposition, linear in edges.
        numbers = np.arange(edges, dtype=np.int32)
        rows = sparse.csr_array((numbers, self.target_rank, self.source_indptr), shape=(n, n))
        by_target = (rows if self.is_ordered else rows[self.order]).tocsc()
        indptr, perm = (frozen(part.astype(np.int32, copy=False)) for part in (by_target.indptr, by_target.data))
        source = self.src[perm]
        step = source if self.is_ordered else self.rank[source]
        step = step - np.repeat(np.arange(n, dtype=np.int32), np.diff(indptr))
        return indptr, perm, shortened(step)

    @property
    def target_indptr(self) -> Int32:
        """Return (N + 1,) int32 by rank: the in-edges of rank r are target-major edges indptr[r]:indptr[r + 1]."""
        return self._by_target[0]

    @property
    def source_step(self) -> NDArray[Any]:
        """Return (E,) in target-major order: rank of each edge's source minus that of its target.

        For each target they ascend. int16 where they all fit, else int32.
        """
        return self._by_target[2]

    @property
    def source_rank(self) -> Int32:
        """Return (E,) int32 in target-major order: the rank of each edge's source, ascending for each target.

        Made anew at each call: kernels keep `source_step`, which is shorter.
        """
        target = np.repeat(np.arange(self.num_nodes, dtype=np.int32), np.diff(self.target_indptr))
        return frozen(target + self.source_step)

    @property
    def target_perm(self) -> Int32:
        """Return (E,) int32, the canonical edge of each target-major edge."""
        return self._by_target[1]

    @cached_property
    def canonical_by_target(self) -> tuple[Int32, Int32]:
        """Return (perm (E,), source rank (E,)) like the target-major edges, but in canonical order for each target."""
        if self.is_ordered:
            return self.target_perm, self.source_rank
        perm = np.argsort(self.target_rank, kind="stable").astype(np.int32)
        return frozen(perm), frozen(self.rank[self.src[perm]])


_DTYPES: dict[str, type[np.integer[Any]]] = {
    "src": np.int32,
    "dst": np.int32,
    "stage": np.int32,
    "inputs": np.int64,
    "outputs": np.int64,
    "activation": np.uint8,
    "reduce": np.uint8,
}

_NODE_ONLY = {
    "is_input",
    "without_gradient",
    "order",
    "rank",
    "is_ordered",
    "stage_starts",
    "stage_pairs",
    "codes",
    "bias_index",
    "ranked_activation",
    "ranked_reduce",
    "only_sums",
    "kept_index",
    "num_kept",
    "num_slopes",
    "slope_index",
    "input_ranks",
    "output_ranks",
}
