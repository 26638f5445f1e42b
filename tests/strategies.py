"""Hypothesis strategies of random graphs, shared by all tests: `from strategies import dags`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st

from deepgraph.graph import CachedLayeredGraph

__all__ = ["cyclic_graphs", "dag_arrays", "dags", "node_labels", "special_dags", "weights"]

Arrays = tuple[int, np.ndarray, np.ndarray]

# float32 values that survive a round trip through float64, so that stores of either precision can be compared.
weights = st.floats(-4, 4, width=32).filter(lambda x: x == 0 or abs(x) > 1e-3)
node_labels = st.one_of(
    st.integers(-5, 5),
    st.text("abc", min_size=1, max_size=3),
    st.tuples(st.integers(0, 3), st.integers(0, 3)),
    st.floats(-2, 2).filter(lambda x: x == x),
)


def special_dags() -> dict[str, Arrays]:
    """Return the corner cases by name, each as (num_nodes, src, dst)."""
    none = np.empty(0, np.int64)
    chain = np.arange(999)
    return {
        "no nodes": (0, none, none),
        "one node": (1, none, none),
        "no edges": (5, none, none),
        "one edge": (2, np.array([0]), np.array([1])),
        "one layer pair": (6, np.repeat(np.arange(3), 3), np.tile(np.arange(3, 6), 3)),
        "disconnected": (7, np.array([0, 1, 4]), np.array([2, 2, 5])),
        "skips": (5, np.array([0, 0, 0, 0, 1, 2, 3]), np.array([1, 2, 3, 4, 2, 3, 4])),
        "against the numbering": (4, np.array([3, 2, 1]), np.array([2, 1, 0])),
        "deep chain": (1000, chain, chain + 1),
        "deep with skips": (1000, np.concatenate([chain, chain[:-7]]), np.concatenate([chain + 1, chain[:-7] + 8])),
    }


@st.composite
def dag_arrays(draw: Callable[..., Any], min_nodes: int = 1, max_nodes: int = 12, special: bool = True) -> Arrays:
    """Draw (num_nodes, src, dst) of a DAG in any order of nodes and edges; now and then a corner case."""
    if special and draw(st.integers(0, 7)) == 0:
        cases = [case for case in special_dags().values() if case[0] >= min_nodes]
        return draw(st.sampled_from(cases))
    n = draw(st.integers(min_nodes, max_nodes))
    shape = draw(st.sampled_from(["any", "layered", "chain", "sparse"]))
    pairs = [(u, v) for u in range(n) for v in range(u + 1, n)]
    if shape == "layered":
        width = draw(st.integers(1, max(1, n // 2)))
        pairs = [(u, v) for u, v in pairs if v // width == u // width + 1]
    most = len(pairs) if shape != "sparse" else min(len(pairs), n // 2)
    chosen = set(draw(st.lists(st.sampled_from(pairs), max_size=most, unique=True))) if pairs else set()
    if shape == "chain":
        chosen |= {(u, u + 1) for u in range(n - 1)}
    edges = draw(st.permutations(sorted(chosen)))
    number = np.array(draw(st.permutations(range(n))), np.int64)
    ends = np.array(edges, np.int64).reshape(-1, 2)
    return n, number[ends[:, 0]], number[ends[:, 1]]


@st.composite
def dags(
    draw: Callable[..., Any],
    min_nodes: int = 1,
    max_nodes: int = 12,
    weighted: bool | None = True,
    dtype: Any = np.float32,
    special: bool = True,
) -> CachedLayeredGraph:
    """Draw a free DAG; `weighted=None` draws whether it has the column weight (E,) of `dtype`."""
    n, src, dst = draw(dag_arrays(min_nodes, max_nodes, special))
    columns = {}
    if weighted or (weighted is None and draw(st.booleans())):
        if len(src) < 40:
            columns["weight"] = np.array(draw(st.lists(weights, min_size=len(src), max_size=len(src))), dtype)
        else:
            columns["weight"] = np.random.default_rng(draw(st.integers(0, 99))).normal(size=len(src)).astype(dtype)
    return CachedLayeredGraph.from_arrays(src, dst, num_nodes=n, **columns)


@st.composite
def cyclic_graphs(draw: Callable[..., Any], max_nodes: int = 10) -> CachedLayeredGraph:
    """Draw a graph with at least one directed cycle."""
    n, src, dst = draw(dag_arrays(2, max_nodes, special=False))
    ring = draw(st.lists(st.integers(0, n - 1), min_size=2, max_size=n, unique=True))
    pairs = sorted({*zip(src.tolist(), dst.tolist(), strict=True), *zip(ring, ring[1:] + ring[:1], strict=True)})
    return CachedLayeredGraph.from_arrays(*np.array(pairs, np.int64).T, num_nodes=n)
