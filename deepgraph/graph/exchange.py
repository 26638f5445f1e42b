"""Graphs from and to the objects of scipy and PyTorch Geometric."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
from scipy import sparse

from deepgraph.errors import ArgumentError, MissingDependencyError, ShapeError
from deepgraph.graph.array_graph import ArrayGraph
from deepgraph.graph.arrays import Array
from deepgraph.graph.cached_layered import CachedLayeredGraph

__all__ = ["from_pyg", "from_scipy", "to_pyg"]


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
        `edge_weight`; D values become columns "edge_attr_0" and so on.

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
    return CachedLayeredGraph.from_arrays(index[0], index[1], None if count is None else int(count), **columns)


def _array(values: Any) -> Array:
    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)


def to_pyg(g: ArrayGraph, weight: str | None = "weight") -> Any:
    """Return a `torch_geometric.data.Data` with `edge_index` (2, E), `num_nodes` and `edge_attr` (E, 1) of the weights.

    Parameters
    ----------
    weight : str, optional
        Edge column for `edge_attr`; left out if the graph has none.

    Raises
    ------
    MissingDependencyError
        If PyTorch Geometric is not installed.
    """
    try:
        make = importlib.import_module("torch_geometric.data").Data
    except ImportError as error:
        raise MissingDependencyError(
            "expected the package torch_geometric, which is not installed: pip install torch_geometric, "
            "or take g.edge_arrays() and g.column(name)"
        ) from error
    import torch

    index = torch.from_numpy(np.stack(g.edge_arrays()).astype(np.int64))
    values = None
    if weight is not None and g.has_column(weight):
        values = torch.from_numpy(np.array(g.column(weight))).reshape(-1, 1)
    return make(edge_index=index, edge_attr=values, num_nodes=len(g))
