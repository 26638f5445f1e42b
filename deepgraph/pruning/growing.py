"""`grow`: adds hidden neurons to a trained network, which computes the same function as before."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from deepgraph.errors import ArgumentError, UnsupportedOperationError
from deepgraph.graph import CachedLayeredGraph
from deepgraph.kernels.activations import PRELU_SLOPE, activation
from deepgraph.sparse import MaskedDeepDAN, MaskedDeepFFN
from deepgraph.sparse.build import matrix_addresses
from deepgraph.sparse.directed_acyclic import dag_addresses
from deepgraph.sparse.layer import EdgeLayer
from deepgraph.sparse.randomness import Seed, numpy_stream, root_seed
from deepgraph.sparse.structure import Structure
from deepgraph.sparse.tensor_rows import give
from deepgraph.sparse.values import Addresses, follow

__all__ = ["grow"]

Index = npt.NDArray[np.int64]


def grow(
    model: nn.Module, nodes: int | Sequence[int] | Mapping[int, int], optimizer: Any = None, *, seed: Seed = None
) -> nn.Module:
    """Return the model with more hidden neurons; it is changed in place and computes what it did.

    New neurons take edges from random neurons of earlier layers, with random weights by their fan-in, and give edges of
    weight 0 to later ones, each as many as the density there says, at least one: nothing changes until training moves
    the zeros.

    Parameters
    ----------
    model : MaskedDeepFFN, or MaskedDeepDAN made by `from_graph`
    nodes : int, sequence of int, or mapping of int to int
        New neurons: of every hidden layer, of each, or by the hidden layer's number, 1 for the first. In a graph the
        hidden layers are its stages without the first and the last.
    optimizer : torch.optim.Optimizer, optional
        Its state follows: old entries keep theirs, new ones start at zero. Optimizers and rewirers that follow the
        model already do so anyway.
    seed : int, Generator or None

    Raises
    ------
    UnsupportedOperationError
        If the model is of another kind, or normalises its layers, which would change the function.
    ArgumentError
        If `nodes` are not numbers >= 0, one for each hidden layer, or there is no hidden layer.
    EditRefusedError
        Between a forward and its backward.

    Notes
    -----
    Parameters stay the same objects and become longer; the live graph is a new one: take `model.graph` again. The
    histories of edge sets go on.

    Examples
    --------
    >>> import deepgraph as dg
    >>> model = dg.MaskedDeepFFN(6, 3, [8], density=0.5, seed=0)
    >>> x = torch.ones(1, 6)
    >>> before = model(x).detach()
    >>> grow(model, 4, seed=0).graph.number_of_nodes(), bool(torch.equal(model(x), before))
    (21, True)
    """
    if isinstance(model, MaskedDeepFFN) and not len(model.norms):
        counts = _counts(nodes, len(model.sizes) - 2)
        run: Any = _grow_layers
    elif isinstance(model, MaskedDeepDAN) and model.stem is None and not len(model.norms):
        counts = _counts(nodes, len(np.unique(model.structure_facts.stage)) - 2)
        run = _grow_graph
    else:
        raise UnsupportedOperationError(
            "grow: expected a MaskedDeepFFN or a MaskedDeepDAN made by from_graph, without layer norm, got "
            f"{type(model).__name__}"
        )
    layers = model._layers()
    for layer in layers:
        layer.edges.check_idle("add neurons")
    if optimizer is not None:
        follow(model, optimizer)
    if any(counts):
        armed = [layer.edges for layer in layers if getattr(layer.edges.owner, "_armed", False)]
        run(model, counts, numpy_stream(root_seed(seed)))
        model._compile()
        for values in armed:
            values.arm()
    return model


def _counts(nodes: Any, layers: int) -> list[int]:
    """Return the number of new neurons of each hidden layer."""
    if layers < 1:
        raise ArgumentError("grow: expected a model with hidden layers, got one without")
    if isinstance(nodes, Mapping):
        unknown = [key for key in nodes if key not in range(1, layers + 1)]
        if unknown:
            raise ArgumentError(f"nodes: expected hidden layers from 1 to {layers}, got {unknown[0]!r}")
        given = [nodes.get(key, 0) for key in range(1, layers + 1)]
    else:
        given = [nodes] * layers if isinstance(nodes, (int, np.integer)) else list(nodes)
    if len(given) != layers or any(isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 0 for n in given):
        raise ArgumentError(f"nodes: expected numbers >= 0, one for each of {layers} hidden layers, got {nodes!r}")
    return [int(n) for n in given]


def _grow_layers(model: MaskedDeepFFN, counts: list[int], rng: np.random.Generator) -> None:
    layers, old = model._edge_layers, list(model.sizes)
    new = [n + more for n, more in zip(old, [0, *counts, 0], strict=True)]
    for k, layer in enumerate(layers):
        density = layer.edge_set.density
        masked = layer.edges.addresses is not None
        layer_shape = new[k], new[k + 1]
        _widen(layer, *layer_shape, matrix_addresses(*layer_shape) if masked else None)
        into = _chosen(np.arange(old[k]), np.arange(old[k + 1], new[k + 1]), density, rng)
        later, added = _chosen(np.arange(old[k + 1]), np.arange(old[k], new[k]), density, rng)
        _connect(layer, into, (added, later), activation(model.activation).gain, rng)
    model.sizes = new
    model._config["hidden_layers"] = new[1:-1]


def _grow_graph(model: MaskedDeepDAN, counts: list[int], rng: np.random.Generator) -> None:
    chosen, density = str(model._config["activation"]), model.core.edge_set.density
    added = np.repeat(np.unique(model.structure_facts.stage)[1:-1], counts)
    facts = Structure.of(_with_nodes(model.graph, added, chosen), chosen, linear_outputs=True)
    slopes = int(facts.has_slope.sum())
    if slopes and model.core.slope is None:
        raise UnsupportedOperationError(
            f"grow: expected new neurons of an activation without a slope in a graph without slopes, got {chosen!r}; "
            "compile the graph again with a node of that activation in it"
        )
    model.structure_facts = facts
    addresses = dag_addresses(facts) if model.core.edges.addresses is not None else None
    stage, closed, first = facts.stage, facts.is_input, facts.num_nodes - len(added)
    _widen(model.core, facts.num_nodes, facts.num_nodes, addresses, stage, closed, slopes)
    into, out = [], []
    for level in np.unique(added):
        mine = first + np.flatnonzero(added == level)
        into.append(_chosen(np.flatnonzero(stage[:first] < level), mine, density, rng))
        out.append(_chosen(np.flatnonzero((stage[:first] > level) & ~closed[:first]), mine, density, rng))
    sources, targets = (np.concatenate(side) for side in zip(*into, strict=True))
    later, givers = (np.concatenate(side) for side in zip(*out, strict=True))
    _connect(model.core, (sources, targets), (givers, later), activation(chosen).gain, rng)


def _with_nodes(graph: CachedLayeredGraph, stages: Index, activation_name: str) -> CachedLayeredGraph:
    """Return a free copy of a graph with hidden nodes of these stages (K,) behind its own."""
    wider = graph.copy()
    labels: list[Any] = list(range(len(graph), len(graph) + len(stages)))
    if any(label in graph for label in labels):
        labels = [f"grown {label}" for label in labels]
    for label, stage in zip(labels, stages.tolist(), strict=True):
        wider.add_node(label, stage=stage, role="hidden", activation=activation_name, bias=0.0)
    return wider


def _chosen(others: Index, added: Index, density: float, rng: np.random.Generator) -> tuple[Index, Index]:
    """Return pairs `(other, added)`: for each added neuron a share of the others, at least one, without repeats."""
    each = max(1, round(density * len(others)))
    order = np.argsort(rng.random((len(added), len(others))), axis=1)[:, :each]
    return others[order.ravel()], np.repeat(added, order.shape[1])


def _connect(
    layer: EdgeLayer, into: tuple[Index, Index], out: tuple[Index, Index], gain: float, rng: np.random.Generator
) -> None:
    """Grow the edges into new neurons, with weights by their fan-in, and those out of them, with weight 0."""
    fan_in = np.bincount(into[1], minlength=1)[into[1]] if len(into[1]) else np.ones(0)
    weight = np.concatenate([rng.standard_normal(len(into[1])) * gain / np.sqrt(fan_in), np.zeros(len(out[0]))])
    if len(weight):
        pairs = np.concatenate([into[0], out[0]]), np.concatenate([into[1], out[1]])
        layer.edge_set.edit(grow=pairs, weight=weight, reason="grow")


def _widen(
    layer: EdgeLayer,
    sources: int,
    targets: int,
    addresses: Addresses | None,
    stage: Any = None,
    closed: Any = None,
    slopes: int | None = None,
) -> None:
    """Make room for more sources and targets in a layer's edge set, weight, biases, slopes and optimizer state."""
    values, edges = layer.edges, layer.edge_set
    before = values.index()
    edges.widen(sources, targets, stage, closed)
    if addresses is not None:
        values.readdress(addresses)
        after = values.index()
        _reshape(layer.weight, lambda entry: _scattered(entry, before, after, addresses.shape), values.followers())
    if layer.bias is not None:
        computed = targets if closed is None else int((~closed).sum())
        missing = computed - layer.bias.numel()
        _reshape(layer.bias, lambda entry: torch.cat([entry, entry.new_zeros(missing)]), values.followers())
    if layer.slope is not None:
        kept, wanted = layer.slope.numel(), targets if slopes is None else slopes
        _reshape(layer.slope, lambda entry: torch.cat([entry, entry.new_zeros(wanted - kept)]), values.followers())
        layer.slope.data[kept:] = PRELU_SLOPE


def _scattered(entry: Tensor, before: Tensor, after: Tensor, shape: tuple[int, ...]) -> Tensor:
    fresh = entry.new_zeros(shape)
    fresh.view(-1)[after] = entry.reshape(-1)[before]
    return fresh


def _reshape(parameter: nn.Parameter, change: Callable[[Tensor], Tensor], optimizers: list[Any]) -> None:
    """Change a parameter and all state tensors of its shape."""
    shape = parameter.shape
    give(parameter, change(parameter.data))
    for optimizer in optimizers:
        state = optimizer.state.get(parameter, {})
        for key, entry in state.items():
            if isinstance(entry, Tensor) and entry.shape == shape:
                state[key] = change(entry)
