"""`ArrayGraph`: the array API of a graph, in positions: edges, columns, layers, roles, edits."""

from __future__ import annotations

import abc
import hashlib
import os
from collections.abc import Callable, Hashable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from deepgraph.errors import ArgumentError, StructureError
from deepgraph.graph.arrays import Array, as_ids, read_only
from deepgraph.graph.edit_plan import Pairs
from deepgraph.graph.graph_store import GraphStore
from deepgraph.graph.grid_labels import GridLabels
from deepgraph.graph.history import EdgeEdit, History
from deepgraph.graph.layered import LayeredGraph
from deepgraph.graph.table_digest import update_hash

if TYPE_CHECKING:
    from deepgraph.graph.cached_layered import CachedLayeredGraph

__all__ = ["ArrayGraph"]

ROLES = ("hidden", "input", "output", "input/output")


class ArrayGraph(LayeredGraph, abc.ABC):
    """A layered graph whose nodes and edges can be read and edited as arrays.

    Positions are the indexes of nodes in `list(g)`; edges come in canonical order, sorted by (source, target).
    """

    @abc.abstractmethod
    def _arrays(self) -> GraphStore:
        """Return the store with its arrays up to date, slots being positions."""

    @abc.abstractmethod
    def _owned(self, what: str) -> GraphStore:
        """Return `_arrays()`, or refuse to do `what` if this is a view of another graph."""

    # -- edges and their columns ----------------------------------------------------------------------------------

    def edge_arrays(self) -> tuple[Array, Array]:
        """Return `(src, dst)` positions, each (E,) int32, read-only, sorted by (source, target)."""
        return self._arrays().edges.pairs()

    def csr(self) -> tuple[Array, Array]:
        """Return source-major `(indptr (N + 1,) int64, dst (E,) int32)`, read-only."""
        return self._arrays().edges.csr()

    def csc(self) -> tuple[Array, Array, Array]:
        """Return target-major `(indptr (N + 1,), src (E,), edge (E,))`; `edge` points into canonical order."""
        return self._arrays().edges.csc()

    def to_scipy(self, weight: str | None = None) -> sparse.csr_array:
        """Return the adjacency matrix (N, N) as `scipy.sparse.csr_array`, rows are sources.

        Parameters
        ----------
        weight : str, optional
            Edge column for the values; default ones.

        Raises
        ------
        MissingColumnError
            If there is no such column.
        """
        indptr, dst = self.csr()
        values = np.ones(len(dst)) if weight is None else self.column(weight)
        return sparse.csr_array((np.array(values), np.array(dst), np.array(indptr)), shape=(len(self), len(self)))

    @property
    def column_names(self) -> list[str]:
        """Names of the edge columns."""
        return self._arrays().edges.names()

    def has_column(self, name: str) -> bool:
        """Return whether some edge has the attribute `name`."""
        return name in self.column_names

    def column(self, name: str, default: Any = None) -> Array:
        """Return an edge column (E,) in canonical order, read-only; edges that lack it take `default`.

        Raises
        ------
        MissingColumnError
            If there is no such column, if edges lack it and no default is given, or if its values fit no array.
        """
        return self._arrays().edges.column(name, default)

    def set_column(self, name: str, array: Any) -> None:
        """Set an edge column (E,), in canonical order; on a compiled graph `weight` writes to the module.

        Raises
        ------
        ShapeError, DtypeError
            If the array does not fit.
        ArgumentError
            If weights of a compiled graph are not finite.
        EditRefusedError
            If this is a view of another graph.
        """
        self._owned("set_column").edges.set_column(name, array)

    # -- nodes and their columns ----------------------------------------------------------------------------------

    @property
    def node_column_names(self) -> list[str]:
        """Names of the node columns."""
        return self._arrays().nodes.sync().names

    def has_node_column(self, name: str) -> bool:
        """Return whether some node has the attribute `name`."""
        return self._arrays().nodes.sync().has(name)

    def node_column(self, name: str, default: Any = None) -> Array:
        """Return a node column (N,), read-only; nodes that lack it take `default`.

        Raises
        ------
        MissingColumnError
            If there is no such column, if nodes lack it and no default is given, or if its values fit no array.
        """
        return self._arrays().nodes.sync().array(name, default)

    def set_node_column(self, name: str, array: Any) -> None:
        """Set a node column (N,).

        Raises
        ------
        ShapeError, DtypeError
            If the array does not fit.
        EditRefusedError
            If this is a view of another graph.
        """
        self._owned("set_node_column").nodes.sync().put(name, array)

    def positions(self, labels: Iterable[Hashable]) -> Array:
        """Return the positions (K,) int64 of labels; UnknownNodeError names a label that is no node."""
        return self._arrays().nodes.positions(labels)

    def labels(self, positions: Any = None) -> list[Hashable]:
        """Return the labels of positions (K,), default of all nodes; ArgumentError if one is out of range."""
        nodes = self._arrays().nodes
        if positions is None:
            return list(nodes.labels())
        return [nodes.label(p) for p in as_ids(positions, nodes.count, "positions").tolist()]

    def set_grid_labels(self, grids: Iterable[tuple[str, int, int, int]]) -> None:
        """Label the nodes, in order, as (module, channel, row, column) of grids, at 0 bytes a node.

        Parameters
        ----------
        grids : iterable of (module, channels, rows, columns)
            Together they have as many neurons as the graph has nodes.

        Raises
        ------
        ArgumentError
            If they do not, or are no grids.
        EditRefusedError
            If this is a view, or belongs to a compiled model.
        """
        labels, store = GridLabels(grids), self._owned("set_grid_labels")
        store.refuse_nodes("label the nodes")
        if len(labels) != store.nodes.count:
            raise ArgumentError(f"expected grids of {store.nodes.count} neurons in all, got {len(labels)}")
        store.nodes.names, store.nodes.index = labels, None
        store.nodes.epoch += 1

    # -- layers, stages, roles ------------------------------------------------------------------------------------

    def layer_array(self) -> Array:
        """Return the layer of every node (N,) int32: the length of the longest path from a source to it.

        Raises
        ------
        CycleError
            If the graph has a directed cycle; the message names one.
        """
        return self._arrays().edges.layers()

    def stage_array(self) -> Array:
        """Return the stage of every node (N,) int32: as declared, by default the layer.

        Raises
        ------
        StructureError
            If stages are declared and an edge does not go up, or they are no integers.
        MissingColumnError
            If only some nodes declare one.
        """
        if not self.has_node_column("stage"):
            return self.layer_array()
        declared = self.node_column("stage")
        if declared.dtype.kind not in "iu":
            raise StructureError(f"node column 'stage': expected integers, got dtype {declared.dtype}")
        stage = declared.astype(np.int32)
        src, dst = self.edge_arrays()
        down = np.flatnonzero(stage[src] >= stage[dst])
        if down.size:
            (u, v), (a, b) = self.labels([src[down[0]], dst[down[0]]]), stage[[src[down[0]], dst[down[0]]]]
            raise StructureError(
                f"expected edges that go up in stage, got {down.size} that do not, first ({u!r}, {v!r}) from stage "
                f"{a} to {b}; set the node column 'stage' anew or remove it"
            )
        return read_only(stage)

    def role_array(self) -> Array:
        """Return the role of every node (N,) str: "input", "hidden", "output" or "input/output".

        Declared roles count as they are, without any a node is hidden; if no node declares one, sources are inputs
        and sinks are outputs.

        Raises
        ------
        StructureError
            If a declared role is none of these.
        """
        if self.has_node_column("role"):
            role = self.node_column("role", "hidden")
            wrong = np.flatnonzero(~np.isin(role, ROLES))
            if wrong.size:
                label = self.labels(wrong[:1])[0]
                raise StructureError(f"node {label!r}: expected a role of {ROLES}, got {role[wrong[0]].item()!r}")
            return role
        indptr, dst = self.csr()
        source = np.bincount(dst, minlength=len(self)) == 0
        sink = np.diff(indptr) == 0
        return read_only(np.array(ROLES)[source + 2 * sink])

    def input_positions(self) -> Array:
        """Return the positions (I,) of the inputs, in the order of the columns of x."""
        return self._ends("inputs", ("input", "input/output"))

    def output_positions(self) -> Array:
        """Return the positions (O,) of the outputs, in the order of the columns of the result."""
        return self._ends("outputs", ("output", "input/output"))

    def _ends(self, key: str, roles: tuple[str, str]) -> Array:
        # Removed nodes first: closing their holes moves the positions in the attribute.
        self._arrays()
        if key in self.graph:
            return as_ids(self.graph[key], len(self), f"graph attribute {key!r}")
        return np.flatnonzero(np.isin(self.role_array(), roles))

    # -- editing --------------------------------------------------------------------------------------------------

    @property
    def history(self) -> History:
        """Every edit of the arrays, oldest first; single changes through networkx are merged into one edit."""
        return self._arrays().edges.history()

    def edit(
        self,
        drop: Pairs | None = None,
        grow: Pairs | None = None,
        step: int | None = None,
        reason: str = "",
        **columns: Any,
    ) -> EdgeEdit:
        """Drop and grow edges at once and return the edit; all of it happens, or nothing.

        Parameters
        ----------
        drop, grow : (src, dst), each (K,) int
            Positions. Dropped edges must exist, grown ones must not.
        step : int, optional
            Training step, for the history.
        reason : str
            For the history.
        **columns : (K,) arrays or numbers
            Attributes of the grown edges; `weight` is 0 unless given, where the graph has weights.

        Raises
        ------
        EdgeError
            If a pair is duplicated, absent, present already or not admissible.
        CycleError
            If the grown edges close a cycle.
        ArgumentError, DtypeError, ShapeError
            If positions or columns are not valid.
        EditRefusedError
            If a module cannot follow now, between a forward and its backward; or if this is a view.

        Examples
        --------
        >>> from deepgraph.graph import CachedLayeredGraph
        >>> g = CachedLayeredGraph.from_arrays([0, 1], [1, 2])
        >>> g.edit(drop=([0], [1]), grow=([0], [2]), reason="by hand")
        EdgeEdit(dropped=1, grown=1, reason='by hand')
        >>> _ = g.undo()
        >>> list(g.edges)
        [(0, 1), (1, 2)]
        """
        store = self._owned("edit")
        held = store.held_values()
        edit = store.edges.edit(drop, grow, step, reason, **columns)
        store.detach_missing(held)
        return edit

    def undo(self) -> EdgeEdit:
        """Take the newest edit back and return it; EditRefusedError if there is none."""
        store = self._owned("undo")
        held = store.held_values()
        edit = store.edges.undo()
        store.detach_missing(held)
        return edit

    def redo(self) -> EdgeEdit:
        """Make the edit that was undone last again and return it; attributes are as the undo found them.

        Raises
        ------
        EditRefusedError
            If there is none, or another edit was made since; if a module cannot follow now; or if this is a view.

        Examples
        --------
        >>> from deepgraph.graph import CachedLayeredGraph
        >>> g = CachedLayeredGraph.from_arrays([0, 1], [1, 2])
        >>> _ = g.edit(grow=([0], [2])), g.undo()
        >>> g.redo(), list(g.edges)
        (EdgeEdit(dropped=0, grown=1), [(0, 1), (0, 2), (1, 2)])
        """
        store = self._owned("redo")
        held = store.held_values()
        edit = store.edges.redo()
        store.detach_missing(held)
        return edit

    def repeat(self, edit: EdgeEdit) -> EdgeEdit:
        """Make an edit of another graph with the same positions, and return it; see `edit` for what raises.

        Examples
        --------
        >>> from deepgraph.graph import CachedLayeredGraph
        >>> g, other = (CachedLayeredGraph.from_arrays([0, 1], [1, 2]) for _ in range(2))
        >>> other.repeat(g.edit(grow=([0], [2]), step=3))
        EdgeEdit(dropped=0, grown=1, step=3)
        """
        store = self._owned("repeat")
        held = store.held_values()
        made = store.edges.repeat(edit)
        store.detach_missing(held)
        return made

    # -- the whole ------------------------------------------------------------------------------------------------

    def digest(self) -> str:
        """Return a SHA-256 of nodes, edges and their columns as text: equal for equal graphs."""
        store = self._arrays()
        sha = hashlib.sha256(store.edges.edge_set().digest().encode())
        names = store.nodes.names
        labels = None if names is None or names == list(range(len(names))) else [repr(name) for name in names]
        sha.update(repr(labels).encode(errors="surrogatepass"))
        update_hash(sha, store.nodes.sync())
        return sha.hexdigest()

    @property
    def nbytes(self) -> int:
        """Bytes held by edges, their columns and indexes, and node columns; labels not counted."""
        store = self._arrays()
        return store.edges.nbytes + store.nodes.columns.nbytes

    def save(self, path: str | os.PathLike[str], format: str | None = None) -> None:
        """Write the graph to a file, at once or not at all; `deepgraph.graph.formats.save` says more.

        Parameters
        ----------
        format : {"npz", "safetensors", "graphml", "json", "edgelist"}, optional
            Default by suffix, "npz" for one that is none of these. GraphML and edge lists hold no history.

        Raises
        ------
        DtypeError
            If an attribute or a label is neither plain data nor an array; nothing is written then.
        """
        from deepgraph.graph import formats

        formats.save(self, path, format)

    @classmethod
    def load(cls, path: str | os.PathLike[str], format: str | None = None, check: bool = True) -> CachedLayeredGraph:
        """Return the graph of a file in any format of `save`.

        Parameters
        ----------
        format : str, optional
            As in `save`.
        check : bool
            Whether the graph must be acyclic, with finite weights and biases.

        Raises
        ------
        FileFormatError
            If the file is none of ours or of its format, or the graph fails the check; the message names the cycle, or
            the edge.
        """
        from deepgraph.graph import formats

        return formats.load(path, format, check)

    load_from = load

    @classmethod
    def from_scipy(cls, matrix: Any, weight: str | None = "weight") -> CachedLayeredGraph:
        """Return the graph of a sparse matrix (N, N), rows are sources; see `deepgraph.graph.exchange`."""
        from deepgraph.graph import exchange

        return exchange.from_scipy(matrix, weight)

    @classmethod
    def from_pyg(cls, data: Any) -> CachedLayeredGraph:
        """Return the graph of a PyTorch Geometric `Data` or the like; see `deepgraph.graph.exchange`."""
        from deepgraph.graph import exchange

        return exchange.from_pyg(data)

    def to_pyg(self, weight: str | None = "weight", make: Callable[..., Any] | None = None) -> Any:
        """Return a PyTorch Geometric `Data`, or what `make` makes of its parts; see `deepgraph.graph.exchange`."""
        from deepgraph.graph import exchange

        return exchange.to_pyg(self, weight, make)
