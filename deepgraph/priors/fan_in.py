"""Constant fan-in: every neuron reads the same number of others."""

from __future__ import annotations

from collections.abc import Sequence

from deepgraph.errors import ArgumentError
from deepgraph.graph import CachedLayeredGraph
from deepgraph.graph.sampling import Seed, sample_cells
from deepgraph.priors.layer_pairs import checked_sizes, from_layers, per_layer, targets_of

__all__ = ["constant_fan_in"]


def constant_fan_in(
    sizes: Sequence[int], fan_in: int | Sequence[int], *, seed: Seed = None, skip: int = 0
) -> CachedLayeredGraph:
    """Return a layered graph in which every node after the first layer has exactly `fan_in` random inputs.

    Parameters
    ----------
    sizes : L ints
        Nodes of each layer, all >= 1. Nodes are numbered layer by layer.
    fan_in : int or L - 1 ints
        Inputs of a node, for all layers or for each layer after the first; at least 1 and at most the nodes of the
        layer before.
    seed : int, Generator or None
    skip : int
        How many layers an edge may skip, >= 0: inputs are drawn from the 1 + skip layers before, all nodes alike.

    Returns
    -------
    CachedLayeredGraph
        N = sum of sizes; node columns `stage`, the layer, and `role`.

    Raises
    ------
    ShapeError, DtypeError
        When `sizes` or `fan_in` have no valid form.
    ArgumentError
        When a fan-in is out of range, or `skip` is negative.

    Notes
    -----
    O(E log E): uniform without replacement for each node, independent between nodes.

    References
    ----------
    .. [1] M. Lasby et al., "Dynamic sparse training with structured sparsity", ICLR 2024, arXiv 2305.02299.

    Examples
    --------
    >>> g = constant_fan_in([8, 6, 4], 3, seed=0)
    >>> sorted(set(dict(g.in_degree).values())), g.number_of_edges()
    ([0, 3], 30)
    """
    width = checked_sizes(sizes)
    if skip < 0:
        raise ArgumentError(f"skip must be at least 0, the number of layers that an edge may skip; got {skip}")
    number = per_layer(fan_in, width, "fan_in")
    targets = targets_of(width, skip)
    target, place = sample_cells(targets.pool, number[targets.layer - 1], seed)
    return from_layers(targets.start[target] + place, targets.node[target], width)
