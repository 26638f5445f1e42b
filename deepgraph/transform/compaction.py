"""`compact`: a smaller model with the same function, without channels that nothing reads or that nothing reaches."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune
from torch.utils._pytree import tree_leaves

from deepgraph.errors import ArgumentError, EditRefusedError
from deepgraph.graph import CachedLayeredGraph
from deepgraph.transform.chains import Chain, find_chains
from deepgraph.transform.extraction import extract
from deepgraph.transform.masks import Mask
from deepgraph.transform.sandbox import Guard, Sandbox
from deepgraph.transform.traced import Array

__all__ = ["compact"]

_TOLERANCE = 1e-4
"""Of the check, relative to the largest result: sums are added up in another order."""
_PRODUCTS = ("aten::convolution", "aten::addmm", "aten::mm")


def compact(model: nn.Module, *inputs: Any, kwargs: Mapping[str, Any] | None = None, batch_dim: int = 0) -> nn.Module:
    """Return a smaller copy of a model without dead neurons and channels, with the same function.

    Looks at pairs of Linear and Conv layers with only batch norms, activations, pools, dropout and flattening between
    them. A channel of the first is dead if no path of the channel graph leads from it to a result, or if none leads to
    it from an input: what it then says, always the same, is added to the bias of the second. Other layers stay as they
    are.

    Parameters
    ----------
    model : nn.Module
        Left as it is.
    *inputs : object
        Example arguments, for the channel graph and for the check. May be left out if the first layer is Linear: then
        they are drawn (torch's global generator stays as it is).
    kwargs : mapping, optional
        Keyword arguments of the model.
    batch_dim : int
        The dimension of the samples.

    Raises
    ------
    ArgumentError
        If inputs are needed.
    EditRefusedError
        If the smaller model computes something else on the inputs.

    Examples
    --------
    >>> import torch
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.ReLU(), torch.nn.Linear(6, 2))
    >>> _ = model[2].weight.data[:, :4].zero_()
    >>> compact(model)
    Sequential(
      (0): Linear(in_features=4, out_features=2, bias=True)
      (1): ReLU()
      (2): Linear(in_features=2, out_features=2, bias=True)
    )
    """
    arguments = dict(kwargs or {})
    if not inputs and not arguments:
        inputs = (_example(model),)
    small = _copy(model)
    masks = _make_plain(small)
    graph = extract(small, *inputs, kwargs=arguments, order=1, fuse=False, batch_dim=batch_dim)
    read, reached = _reachable(graph, graph.output_positions(), True), _reachable(graph, graph.input_positions(), False)
    for chain in find_chains(small, inputs, arguments, batch_dim):
        nodes = _nodes_of(graph, chain.first_path)
        if len(nodes) == chain.width:
            _shrink(small, chain, read[nodes], reached[nodes], inputs, arguments, masks)
    for (module, name), mask in masks.items():
        if not bool(mask.all()):
            parametrize.register_parametrization(module, name, Mask(mask.to(getattr(module, name).dtype)))
    _check(model, small, inputs, arguments)
    return small


def _example(model: nn.Module) -> Tensor:
    first = next((module for module in model.modules() if isinstance(getattr(module, "weight", None), Tensor)), None)
    if not isinstance(first, nn.Linear):
        raise ArgumentError(
            "expected example inputs, got none, and the first layer with a weight is "
            f"{type(first).__name__}, no Linear: call compact(model, x)"
        )
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4, first.in_features, generator=generator, dtype=first.weight.dtype)
    return x.to(first.weight.device)


def _copy(model: nn.Module) -> nn.Module:
    # Pruning keeps effective weights as plain attributes with a history, which cannot be copied.
    memo: dict[int, Any] = {}
    for module in model.modules():
        for value in vars(module).values():
            if isinstance(value, Tensor) and not value.is_leaf:
                memo[id(value)] = value.detach().clone()
    copied: nn.Module = copy.deepcopy(model, memo)
    return copied


def _make_plain(model: nn.Module) -> dict[tuple[nn.Module, str], Tensor]:
    """Turn effective weights of linear layers and convolutions into parameters; return the masks that they had."""
    masks: dict[tuple[nn.Module, str], Tensor] = {}
    for module in list(model.modules()):
        if not isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d):
            continue
        if prune.is_pruned(module):
            for name in [name[:-5] for name in module._parameters if name.endswith("_orig")]:
                masks[module, name] = getattr(module, f"{name}_mask").bool()
                prune.remove(module, name)  # type: ignore[no-untyped-call]
        elif parametrize.is_parametrized(module):
            masks.update(_drop_parametrizations(module))
    return masks


def _drop_parametrizations(module: nn.Module) -> dict[tuple[nn.Module, str], Tensor]:
    """Make all weights of a copied module plain parameters; return their masks."""
    held: Any = module.parametrizations
    masks: dict[tuple[nn.Module, str], Tensor] = {}
    values = {name: getattr(module, name).detach() for name in held}
    for name, parts in held.items():
        found = [part.mask.bool() for part in parts if isinstance(part, Mask)]
        if found:
            masks[module, name] = torch.stack(found).all(0)
    # Not remove_parametrizations: it would also change the module that this one was copied from, whose class it shares.
    module.__class__ = parametrize.type_before_parametrizations(module)
    del module.parametrizations
    for name, value in values.items():
        module.register_parameter(name, nn.Parameter(value))
    return masks


def _nodes_of(graph: CachedLayeredGraph, path: str) -> Array:
    """Return the positions of the channels that a layer makes, in order."""
    products = np.array([operation in _PRODUCTS for operation, _ in graph.graph["results"]])
    mine = (graph.node_column("module") == path) & products[graph.node_column("result")]
    nodes = np.flatnonzero(mine)
    ordered: Array = nodes[np.argsort(graph.node_column("channel")[nodes], kind="stable")]
    return ordered


def _reachable(graph: CachedLayeredGraph, ends: Array, backwards: bool) -> Array:
    """Return which nodes a path leads to from any of `ends`, or from which one leads there, shape (N,) bool."""
    n = len(graph)
    src, dst = graph.edge_arrays()
    tail, head = (dst, src) if backwards else (src, dst)
    tail, head = np.concatenate([tail, np.full(len(ends), n)]), np.concatenate([head, ends])
    matrix = sparse.csr_array((np.ones(len(tail), dtype=np.int8), (tail, head)), shape=(n + 1, n + 1))
    found = np.zeros(n + 1, dtype=bool)
    found[sparse.csgraph.breadth_first_order(matrix, n, return_predecessors=False)] = True
    reached: Array = found[:n]
    return reached


def _shrink(
    model: nn.Module,
    chain: Chain,
    read: Array,
    reached: Array,
    inputs: tuple[Any, ...],
    kwargs: dict[str, Any],
    masks: dict[tuple[nn.Module, str], Tensor],
) -> None:
    """Take dead channels out of the layers of a chain."""
    live = read & reached
    shift = None
    if (read & ~reached).any():
        values = _input_of(model, chain.second, inputs, kwargs)
        constant, shift = chain.fold(values, np.flatnonzero(read & ~reached))
        live[np.flatnonzero(read & ~reached)[~constant]] = True
    if live.all():
        return
    if not live.any():
        live[0] = True
        shift = None if shift is None else chain.fold(values, np.flatnonzero(read & ~reached & ~live))[1]
    chain.keep(np.flatnonzero(live), shift, masks)


def _input_of(model: nn.Module, layer: nn.Module, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    seen: list[Tensor] = []
    hook = layer.register_forward_pre_hook(lambda _, args: seen.append(args[0].detach()))
    try:
        _run(model, inputs, kwargs)
    finally:
        hook.remove()
    return seen[0]


def _run(model: nn.Module, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Tensor]:
    with Sandbox(model) as sandbox, Guard(sandbox):
        result = model(*copy.deepcopy(inputs), **copy.deepcopy(kwargs))
    return [leaf.detach() for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]


def _check(model: nn.Module, small: nn.Module, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    for expected, found in zip(_run(model, inputs, kwargs), _run(small, inputs, kwargs), strict=True):
        scale = max(1.0, float(expected.abs().max())) if expected.numel() else 1.0
        difference = float((found - expected).abs().max()) if expected.numel() else 0.0
        if found.shape != expected.shape or not difference <= _TOLERANCE * scale:
            raise EditRefusedError(
                f"expected the compact model to compute the same up to {_TOLERANCE:g}, got a difference of "
                f"{difference / scale:g}: the model orders its channels in a way that compact does not follow"
            )
