"""Graphs from and to the objects of scipy and PyTorch Geometric."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import sparse

from deepgraph.errors import ArgumentError, MissingColumnError, MissingDependencyError, ShapeError
from deepgraph.graph.array_graph import ArrayGraph
from deepgraph.graph.arrays import Array
from deepgraph.graph.cached_layered import CachedLayeredGraph

__all__ = ["from_pyg", "from_scipy", "to_pyg"]

_ENDS = ("inputs", "outputs", "output_shape")
"""Attributes of a graph that say what its columns of numbers are."""


def from_scipy(matrix: Any, weight: str | None = "weight") -> CachedLayeredGraph:
    """Return the graph of a sparse adjacency matrix (N, N), rows are sources.

    Parameters
    ----------
    matrix : sparse matrix or array
        Stored zeros are edges.
    weight : str, optional
        Edge column that takes the values; None drops them.

    Raises
    ------
    ArgumentError
        If this is no sparse matrix.
    ShapeError
        If it is not square.
    EdgeError
        If an entry is stored twice; `matrix.sum_duplicates()` adds them.

    Examples
    --------
    >>> g = from_scipy(sparse.coo_array(([2.0], ([0], [1])), shape=(3, 3)))
    >>> len(g), list(g.edges(data="weight"))
    (3, [(0, 1, 2.0)])
    """
    if not sparse.issparse(matrix):
        raise ArgumentError(f"expected a sparse matrix of scipy, got {type(matrix).__name__}")
    given: Any = matrix
    if given.ndim != 2 or given.shape[0] != given.shape[1]:
        raise ShapeError(f"expected a square matrix (N, N), got shape {given.shape}")
    entries = given.tocoo()
    columns = {} if weight is None else {weight: entries.data}
    return CachedLayeredGraph.from_arrays(entries.row, entries.col, given.shape[0], **columns)


def from_pyg(data: Any) -> CachedLayeredGraph:
    """Return the graph of a `torch_geometric.data.Data`, or of any object with its attributes.

    Parameters
    ----------
    data : object
        With `edge_index` (2, E) and, where there are any, `num_nodes`, `edge_weight` (E,) and `edge_attr` (E,), (E, 1)
        or (E, D). `edge_weight` becomes the column "weight"; so does `edge_attr` of one value an edge if there is no
        `edge_weight`; D values become columns "edge_attr_0" and so on. The attributes of nodes that `to_pyg` writes
        become node columns; without them `x` (N, D) becomes node columns "x_0" and so on.

    Raises
    ------
    ArgumentError
        If there is no `edge_index`.
    ShapeError
        If it is not (2, E), or attributes are of another length.
    EdgeError
        If an edge occurs twice; `coalesce()` adds them.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> g = from_pyg(SimpleNamespace(edge_index=np.array([[0, 1], [1, 2]]), num_nodes=4, edge_attr=np.ones((2, 1))))
    >>> len(g), g.column("weight").tolist()
    (4, [1.0, 1.0])
    """
    if getattr(data, "edge_index", None) is None:
        raise ArgumentError(f"expected an object with edge_index, got {type(data).__name__}")
    index = _array(data.edge_index)
    if index.ndim != 2 or index.shape[0] != 2:
        raise ShapeError(f"edge_index: expected shape (2, E), got {index.shape}")
    columns = {}
    weight, attributes = getattr(data, "edge_weight", None), getattr(data, "edge_attr", None)
    if weight is not None:
        columns["weight"] = _array(weight)
    if attributes is not None:
        table = _array(attributes)
        if table.ndim not in (1, 2) or len(table) != index.shape[1]:
            raise ShapeError(f"edge_attr: expected shape (E,) or (E, D) with E = {index.shape[1]}, got {table.shape}")
        table = (
            table.reshape(len(table), -1) if len(table) else table.reshape(0, table.shape[1] if table.ndim > 1 else 1)
        )
        if table.shape[1] == 1 and weight is None:
            columns["weight"] = table[:, 0]
        else:
            columns.update({f"edge_attr_{k}": table[:, k] for k in range(table.shape[1])})
    count = getattr(data, "num_nodes", None)
    g = CachedLayeredGraph.from_arrays(index[0], index[1], None if count is None else int(count), **columns)
    _read_nodes(g, data)
    return g


def _read_nodes(g: CachedLayeredGraph, data: Any) -> None:
    """Set node columns and recorded inputs and outputs from the attributes that `to_pyg` writes, or from `x`."""
    features, named = getattr(data, "x", None), getattr(data, "node_columns", None)
    found = {name: np.asarray(_array(getattr(data, name))) for name in named or ()}
    if named is None and features is not None:
        table = _array(features)
        if table.ndim not in (1, 2) or len(table) != len(g):
            raise ShapeError(f"x: expected shape (N,) or (N, D) with N = {len(g)}, got {table.shape}")
        found = {f"x_{k}": column for k, column in enumerate(table.reshape(len(g), -1).T)}
    for name, column in found.items():
        if column.shape != (len(g),):
            raise ShapeError(f"{name}: expected a value for each of {len(g)} nodes, got shape {column.shape}")
        g.set_node_column(name, column)
    for name in _ENDS:
        if getattr(data, name, None) is not None:
            g.graph[name] = _array(getattr(data, name)).astype(np.int64)


def _array(values: Any) -> Array:
    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)


def to_pyg(g: ArrayGraph, weight: str | None = "weight", make: Callable[..., Any] | None = None) -> Any:
    """Return a `torch_geometric.data.Data` of a graph, which `from_pyg` turns into the same graph again.

    It has `edge_index` (2, E), `num_nodes`, `edge_attr` (E, 1) of the weights, and of the nodes: `x` (N, F) float32
    with the stage over the last one, whether it is an input, whether it is an output, and each numeric column; every
    node column under its own name, a tensor (N,) or a list of strings, with the names in `node_columns`; and `inputs`
    and `outputs` where they are recorded.

    Parameters
    ----------
    weight : str, optional
        Edge column for `edge_attr`; left out if the graph has none.
    make : callable, optional
        Called with these as keywords, in place of PyG's `Data`: `types.SimpleNamespace` does without the package.

    Raises
    ------
    MissingDependencyError
        If PyTorch Geometric is not installed and `make` is not given.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> g = CachedLayeredGraph.from_arrays([0, 0, 1], [1, 2, 2], weight=[1.0, 2.0, 3.0])
    >>> data = to_pyg(g, make=SimpleNamespace)
    >>> data.edge_index.tolist(), data.x.shape, from_pyg(data).digest() == g.digest()
    ([[0, 0, 1], [1, 2, 2]], torch.Size([3, 3]), True)
    """
    if make is None:
        try:
            make = importlib.import_module("torch_geometric.data").Data
        except ImportError as error:
            raise MissingDependencyError(
                "expected the package torch_geometric, which is not installed: pip install torch_geometric, "
                "or call to_pyg(make=types.SimpleNamespace)"
            ) from error
    import torch

    def tensor(array: Array) -> Any:
        return torch.from_numpy(np.array(array))

    options: dict[str, Any] = {"edge_index": tensor(np.stack(g.edge_arrays()).astype(np.int64)), "edge_attr": None}
    if weight is not None and g.has_column(weight):
        options["edge_attr"] = tensor(g.column(weight)).reshape(-1, 1)
    columns = {}
    for name in g.node_column_names:
        # A column that some nodes lack has no value to write for them.
        with contextlib.suppress(MissingColumnError):
            columns[name] = np.asarray(g.node_column(name))
    for name, column in columns.items():
        options[name] = tensor(column) if column.dtype.kind in "biuf" else [str(value) for value in column]
    stage, role = g.stage_array(), g.role_array()
    features = [stage / max(1, int(stage.max(initial=0))), np.char.startswith(role.astype(str), "input"),
                np.char.endswith(role.astype(str), "output")]  # fmt: skip
    features += [column for name, column in columns.items() if column.dtype.kind in "biuf" and name != "stage"]
    options["x"] = tensor(np.stack([np.asarray(f, np.float32) for f in features], axis=1))
    ends = {name: tensor(np.asarray(g.graph[name], np.int64)) for name in _ENDS if g.graph.get(name) is not None}
    return make(**options, **ends, node_columns=list(columns), num_nodes=len(g))
