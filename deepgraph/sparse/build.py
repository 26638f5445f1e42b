"""Layers at random: a bipartite edge set of an exact size, with weights and biases."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from deepgraph.errors import ArgumentError
from deepgraph.graph.arrays import Array
from deepgraph.graph.edge_set import EdgeSet
from deepgraph.graph.sampling import sample_cells
from deepgraph.kernels.activations import activation
from deepgraph.kernels.plan import NOMINAL_BATCH, choose_storage
from deepgraph.sparse.initialisation import draw_weights
from deepgraph.sparse.kept_plan import storage_of
from deepgraph.sparse.layer import EdgeLayer
from deepgraph.sparse.randomness import numpy_stream, torch_stream
from deepgraph.sparse.values import Addresses

__all__ = ["bipartite_edges", "check_density", "make_layer", "matrix_addresses", "random_layer", "slope_tensor"]


def check_density(density: float, name: str = "density") -> float:
    """Return a density as a float; ArgumentError if it is not in (0, 1]."""
    if isinstance(density, bool) or not isinstance(density, (int, float, np.number)) or not 0 < density <= 1:
        raise ArgumentError(f"{name}: expected a number in (0, 1], the share of pairs that are edges, got {density!r}")
    return float(density)


def bipartite_edges(num_sources: int, num_targets: int, count: int, rng: np.random.Generator, name: str) -> EdgeSet:
    """Return `count` pairs of R x C, drawn uniformly without replacement; all pairs draw nothing."""
    pairs = num_sources * num_targets
    cells = np.arange(pairs) if count == pairs else sample_cells([pairs], [count], rng)[1]
    return EdgeSet.from_pairs(cells // num_targets, cells % num_targets, num_sources, num_targets, name=name)


def matrix_addresses(num_sources: int, num_targets: int) -> Addresses:
    """Return the addresses of pairs in a matrix (out, in), torch's orientation."""
    return Addresses(np.arange(num_targets) * num_sources, np.arange(num_sources), (num_targets, num_sources))


def make_layer(
    edges: EdgeSet,
    activation_name: str,
    *,
    bias: bool,
    init: str,
    storage: str,
    seed: int,
    path: int,
    dtype: torch.dtype,
    device: torch.device | str | None,
    slope: Array | None = None,
    batch: int = NOMINAL_BATCH,
) -> EdgeLayer:
    """Return a bipartite layer with weights drawn from stream `path` of `seed`, biases of 0 and slopes as given."""
    codes = np.full(edges.num_targets, activation(activation_name).code, np.uint8)
    weight = draw_weights(edges, codes, init, torch_stream(seed, path), dtype).to(device)
    pairs = edges.num_sources * edges.num_targets
    chosen = storage_of(storage, lambda: choose_storage(edges.density, elements=pairs, batch=batch))
    addresses = None if chosen in ("csr", "coo") else matrix_addresses(edges.num_sources, edges.num_targets)
    biases = torch.zeros(edges.num_targets, dtype=dtype, device=device) if bias else None
    return EdgeLayer(edges, weight, biases, addresses, chosen == "coo", slope_tensor(slope, dtype, device))


def slope_tensor(slope: Array | None, dtype: torch.dtype, device: torch.device | str | None) -> torch.Tensor | None:
    """Return slopes (S,) as a tensor, None for none.

    Examples
    --------
    >>> slope_tensor(np.array([0.25]), torch.float32, None)
    tensor([0.2500])
    """
    return None if slope is None or not len(slope) else torch.tensor(slope, dtype=dtype, device=device)


def random_layer(
    shape: tuple[int, int], count: int, activation_name: str, name: str, *, seed: int, path: int, **options: Any
) -> EdgeLayer:
    """Return a layer (sources, targets) of `count` random edges.

    Pairs come from stream (path, 0) of the seed, weights from stream `path`.
    """
    edges = bipartite_edges(*shape, count, numpy_stream(seed, path, 0), name)
    return make_layer(edges, activation_name, seed=seed, path=path, **options)
