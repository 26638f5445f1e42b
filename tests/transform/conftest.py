"""A reference for what a graph computes, in plain numpy and in topological order, and its reachability."""

import math

import networkx as nx
import numpy as np
import pytest
import torch

torch.set_num_threads(1)

_ERF = np.vectorize(math.erf)
_JOIN = {"sum": lambda z: z.sum(0), "max": lambda z: z.max(0), "prod": lambda z: z.prod(0)}
_FUNCTIONS = {
    "identity": lambda z: z,
    "relu": lambda z: np.maximum(z, 0),
    "leaky_relu": lambda z: np.where(z > 0, z, 0.01 * z),
    "tanh": np.tanh,
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "gelu": lambda z: z * 0.5 * (1 + _ERF(z / math.sqrt(2))),
    "silu": lambda z: z / (1 + np.exp(-z)),
    "elu": lambda z: np.where(z > 0, z, np.expm1(np.minimum(z, 0))),
    "celu": lambda z: np.where(z > 0, z, np.expm1(np.minimum(z, 0))),
    "softplus": lambda z: np.logaddexp(z, 0),
}


def _evaluate(graph, x):
    x = np.asarray(x, dtype=np.float64).reshape(len(x), -1)
    n = len(graph)
    bias = graph.node_column("bias")
    names = graph.node_column("activation")
    reduce = graph.node_column("reduce") if graph.has_node_column("reduce") else np.full(n, "sum")
    slope = graph.node_column("slope") if graph.has_node_column("slope") else np.zeros(n)
    value = np.zeros((n, len(x)))
    is_input = np.zeros(n, dtype=bool)
    for column, position in enumerate(graph.input_positions()):
        value[position] += x[:, column]
        is_input[position] = True
    indptr, src, perm = graph.csc()
    weight = graph.column("weight")[perm]
    for v in np.argsort(graph.layer_array(), kind="stable"):
        if not is_input[v]:
            part = slice(indptr[v], indptr[v + 1])
            products = weight[part].astype(np.float64)[:, None] * value[src[part]]
            joined = _JOIN[str(reduce[v])](products) if len(products) else 0
            z = bias[v] + joined
            value[v] = np.where(z > 0, z, slope[v] * z) if names[v] == "prelu" else _FUNCTIONS[str(names[v])](z)
    return value[graph.output_positions()].T.reshape(len(x), *graph.graph["output_shape"])


def _reach(graph):
    plain = nx.DiGraph()
    plain.add_nodes_from(range(len(graph)))
    plain.add_edges_from(zip(*(array.tolist() for array in graph.edge_arrays()), strict=True))
    inputs, outputs = graph.input_positions().tolist(), graph.output_positions().tolist()
    below = {u: nx.descendants(plain, u) | {u} for u in inputs}
    return np.array([[v in below[u] for u in inputs] for v in outputs], dtype=bool).reshape(len(outputs), len(inputs))


@pytest.fixture(scope="session")
def evaluate():
    """Return (graph, x (B, ...)) -> what the graph computes, float64."""
    return _evaluate


@pytest.fixture(scope="session")
def reach():
    """Return graph -> (O, I) bool, whether a path leads from an input to an output."""
    return _reach
