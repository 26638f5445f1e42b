"""Pruning by a saliency that is kept with the edges: deepstruct's functions on top of `prune`.

The saliency of an edge is its edge column `saliency` where there is one, else |weight|. Edits carry the column along,
so it survives pruning, and `model.graph.column("saliency")` shows it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from deepgraph.errors import ArgumentError
from deepgraph.graph.arrays import Array
from deepgraph.kernels.growth import AbsentPairs, sample_absent
from deepgraph.priors.densities import edge_budget
from deepgraph.pruning.prune import prune
from deepgraph.pruning.strategy import PruningStrategy
from deepgraph.sparse.build import check_density
from deepgraph.sparse.randomness import Seed, numpy_stream, root_seed
from deepgraph.sparse.values import EdgeValues, edge_values

__all__ = [
    "prune_layer_by_saliency",
    "prune_network_by_saliency",
    "set_distributed_saliency",
    "set_random_masks",
    "set_random_saliency",
]

COLUMN = "saliency"


def _values(net: nn.Module) -> list[EdgeValues]:
    found = edge_values(net)
    if not found:
        raise ArgumentError(
            f"net: expected a model with edge sets, got {type(net).__name__} without any; "
            "call deepgraph.sparse.sparsify(model, 1.0) first"
        )
    return found


def _magnitude(values: EdgeValues) -> Array:
    weights: Array = values.values().abs().double().cpu().numpy()
    return weights


def saliency_of(values: EdgeValues) -> Array:
    """Return the saliency (E,) of the edges of one set: the column, |weight| for edges without one."""
    columns = values.edge_set.columns
    size = _magnitude(values)
    if not columns.has(COLUMN):
        return size
    kept = np.asarray(columns.array(COLUMN, np.nan), np.float64)
    return np.where(np.isnan(kept), size, kept)


def set_random_saliency(net: nn.Module, seed: Seed = None) -> nn.Module:
    """Return `net` after every edge took a random saliency in [0, 1).

    Raises
    ------
    ArgumentError
        If the model has no edge sets.

    Examples
    --------
    >>> import deepgraph as dg
    >>> model = set_random_saliency(dg.MaskedDeepFFN(4, 2, [3], seed=0), seed=0)
    >>> model.graph.column("saliency").shape
    (18,)
    """
    root = root_seed(seed)
    for path, values in enumerate(_values(net)):
        values.edge_set.columns.put(COLUMN, numpy_stream(root, path).random(values.edge_set.num_edges))
    return net


def set_random_masks(net: nn.Module, density: float = 0.5, seed: Seed = None) -> nn.Module:
    """Return `net` with a random mask in every layer: as many edges as the density says, at random places; in place.

    Pairs that are edges before and after keep their weights; new ones start at 0.

    Parameters
    ----------
    net : nn.Module
    density : float
        Edges over admissible pairs of each layer, in (0, 1].
    seed : int, Generator or None

    Raises
    ------
    ArgumentError
        If the model has no edge sets, or the density is out of range.

    Examples
    --------
    >>> import deepgraph as dg
    >>> set_random_masks(dg.MaskedDeepFFN(10, 5, [10], seed=0), 0.2, seed=0).num_edges
    30
    """
    share, root = check_density(density), root_seed(seed)
    for path, values in enumerate(_values(net)):
        edges = values.edge_set
        none = AbsentPairs(edges.num_sources, edges.num_targets, [], [], edges.stage, edges.closed)
        u, v = sample_absent(none, edge_budget(edges.num_admissible, share), numpy_stream(root, path))
        src, dst = edges.pairs()
        chosen, present = u * edges.num_targets + v, src.astype(np.int64) * edges.num_targets + dst
        goes, comes = ~np.isin(present, chosen), ~np.isin(chosen, present)
        edges.edit(drop=(src[goes], dst[goes]), grow=(u[comes], v[comes]), reason="set_random_masks")
    return net


def set_distributed_saliency(net: nn.Module) -> nn.Module:
    """Return `net` after every edge took |weight| over the standard deviation of its edge set as its saliency.

    Raises
    ------
    ArgumentError
        If the model has no edge sets.

    Examples
    --------
    >>> import deepgraph as dg
    >>> model = set_distributed_saliency(dg.MaskedDeepFFN(4, 2, [3], seed=0))
    >>> model.graph.has_column("saliency")
    True
    """
    for values in _values(net):
        spread = float(values.values().double().std(correction=0)) if values.edge_set.num_edges else 0.0
        values.edge_set.columns.put(COLUMN, _magnitude(values) / (spread or 1.0))
    return net


def _pruned(net: nn.Module, value: float, strategy: PruningStrategy, scope: Any) -> nn.Module:
    if strategy is PruningStrategy.PERCENTAGE:
        if not 0 <= value <= 100:
            raise ArgumentError(f"value: expected a percentage in [0, 100], got {value!r}")
        value = value / 100
    return prune(net, value, criterion=lambda v: torch.from_numpy(saliency_of(v)), scope=scope, strategy=strategy)


def prune_network_by_saliency(
    net: nn.Module, value: float, strategy: PruningStrategy = PruningStrategy.PERCENTAGE
) -> nn.Module:
    """Return `net` without its least salient edges, ranked over all layers together (class-blind); in place.

    Parameters
    ----------
    net : nn.Module
    value : float
        In percent of the edges, 0 to 100; or a number of edges, or a sum of saliency, as the strategy says.
    strategy : PruningStrategy

    Raises
    ------
    ArgumentError
        If the value is out of range.

    Examples
    --------
    >>> import deepgraph as dg
    >>> prune_network_by_saliency(dg.MaskedDeepFFN(10, 5, [10], seed=0), 10).num_edges
    135
    """
    return _pruned(net, value, strategy, "global")


def prune_layer_by_saliency(
    net: nn.Module, value: float, strategy: PruningStrategy = PruningStrategy.PERCENTAGE
) -> nn.Module:
    """Return `net` without the least salient edges of each layer (class-uniform); see `prune_network_by_saliency`.

    Raises
    ------
    ArgumentError
        If the value is out of range.

    Examples
    --------
    >>> import deepgraph as dg
    >>> model = prune_layer_by_saliency(dg.MaskedDeepFFN(10, 5, [10], seed=0), 20)
    >>> [edges.num_edges for edges in model.edge_sets]
    [80, 40]
    """
    return _pruned(net, value, strategy, "layer")
