"""`compact`: a smaller model with the same function, without channels that nothing reads or that nothing reaches."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune

from deepgraph.errors import ArgumentError
from deepgraph.transform.channel_groups import ChannelGroups
from deepgraph.transform.channel_layers import LAYER_TYPES, Layer, find_layers
from deepgraph.transform.couplings import Couplings
from deepgraph.transform.masks import Mask, Place
from deepgraph.transform.same_function import check_same, run_quietly
from deepgraph.transform.trace import run_trace
from deepgraph.transform.traced import Array
from deepgraph.transform.tracer import Settings

__all__ = ["compact"]


def compact(model: nn.Module, *inputs: Any, kwargs: Mapping[str, Any] | None = None, batch_dim: int = 0) -> nn.Module:
    """Return a smaller copy of a model without dead neurons and channels, with the same function.

    A channel (of a linear layer: a neuron) is dead if no path of the channel graph leads from it to a result, or if
    none leads to it from an input: what it then says, always the same, is added to the biases of its readers. Channels
    that other layers read side by side go together or not at all: the branches of a residual sum, what a depthwise
    convolution or a batch norm keeps apart, places of one channel in a flattened image. Grouped convolutions lose whole
    groups. What mixes channels in another way (attention, layer norm, recurrent cells, operations with constants of
    their own per channel) keeps the channels that it reads, as do inputs and results; no layer loses its last channel.

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
        If the smaller model fails, or computes something else on the inputs: the model depends on numbers or on an
        order of channels that it was written for. The message names the module.

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
    _shrink(small, inputs, arguments, batch_dim, masks)
    for (module, name), mask in masks.items():
        if not bool(mask.all()):
            parametrize.register_parametrization(module, name, Mask(mask.to(getattr(module, name).dtype)))
    check_same(model, small, inputs, arguments)
    return small


def _shrink(
    model: nn.Module, inputs: tuple[Any, ...], kwargs: dict[str, Any], batch_dim: int, masks: dict[Place, Tensor]
) -> None:
    """Take the dead channels out of a model."""
    layers = find_layers(model)
    couplings = Couplings([layer.module for layer in layers])
    trace = run_trace(model, inputs, kwargs, Settings(batch_dim=batch_dim, order=1), None, couplings)
    traced = trace.collector.finish(trace.inputs, trace.outputs)
    count = traced.num_nodes
    read = _reachable(traced.dst, traced.src, count, trace.outputs)
    reached = _reachable(traced.src, traced.dst, count, trace.inputs)
    live = read & reached
    live[trace.inputs] = live[trace.outputs] = True
    groups = ChannelGroups(layers, couplings, live)
    parameters = list(model.parameters())
    for index in np.unique(np.searchsorted(trace.tracer.provenance.starts, couplings.entries, side="right") - 1):
        groups.keep_tensor(parameters[index])
    groups.keep_last()
    layers = [layer for layer in layers if groups.called(layer)]
    added = _constants(model, layers, groups, reached, inputs, kwargs)
    groups.keep_last()
    kept = {layer: groups.made_kept(layer) for layer in added}
    shifts = {layer: shift[:, groups.read_gone(layer)].sum(1) for layer, shift in added.items()}
    _cut(model, groups, masks)
    for layer in layers:
        layer.set_sizes(*groups.counts(layer))
        if layer in shifts and shifts[layer].any():
            layer.add_bias(shifts[layer][kept[layer]])


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
    """Turn effective weights of layers into parameters; return the masks that they had."""
    masks: dict[tuple[nn.Module, str], Tensor] = {}
    for module in list(model.modules()):
        if not isinstance(module, LAYER_TYPES):
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


def _reachable(tail: Array, head: Array, count: int, ends: Array) -> Array:
    """Return which of `count` nodes a path along the edges leads to from any of `ends`, shape (count,) bool."""
    tail, head = np.concatenate([tail, np.full(len(ends), count)]), np.concatenate([head, ends])
    matrix = sparse.csr_array((np.ones(len(tail), dtype=np.int8), (tail, head)), shape=(count + 1, count + 1))
    found = np.zeros(count + 1, dtype=bool)
    found[sparse.csgraph.breadth_first_order(matrix, count, return_predecessors=False)] = True
    reached: Array = found[:count]
    return reached


def _constants(
    model: nn.Module,
    layers: list[Layer],
    groups: ChannelGroups,
    reached: Array,
    inputs: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> dict[Layer, Array]:
    """Return per layer what each channel that goes, and that does not depend on the input, adds to its results (O, C).

    Channels that no bias can stand for are kept.
    """
    candidates = {}
    for layer in layers:
        gone = groups.read_gone(layer) if layer.mixes else np.zeros(0, dtype=np.int64)
        fixed = gone[~groups.read_any(layer, reached)[gone]]
        if len(fixed):
            candidates[layer] = fixed
    values = _values_read(model, list(candidates), inputs, kwargs)
    added = {}
    for layer, channels in candidates.items():
        even, shift = layer.fold(values[layer], channels)
        groups.keep_channels(layer, channels[~even])
        added[layer] = np.zeros((len(shift), len(groups.read_any(layer, reached))))
        added[layer][:, channels] = shift
    return added


def _values_read(
    model: nn.Module, layers: list[Layer], inputs: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[Layer, list[Array]]:
    """Return what layers read, by channel, in each of their calls."""
    seen: dict[Layer, list[Array]] = {layer: [] for layer in layers}
    if not layers:
        return seen

    def keeper(layer: Layer) -> Any:
        def keep(_: nn.Module, args: tuple[Any, ...], given: dict[str, Any]) -> None:
            seen[layer].append(layer.by_channel([*args, *given.values()][0].detach().double().cpu()))

        return keep

    with ExitStack() as hooks:
        for layer in layers:
            hooks.callback(layer.module.register_forward_pre_hook(keeper(layer), with_kwargs=True).remove)
        run_quietly(model, inputs, kwargs)
    return seen


def _cut(model: nn.Module, groups: ChannelGroups, masks: dict[Place, Tensor]) -> None:
    """Keep the entries of all tensors that stay; what several modules share stays shared."""
    cut: dict[int, Tensor] = {}
    for module in model.modules():
        tables: tuple[dict[str, Any], ...] = module._parameters, module._buffers
        for table in tables:
            for name, tensor in table.items():
                if tensor is None:
                    continue
                new, mask = tensor.detach(), masks.get((module, name))
                for dim in range(tensor.ndim):
                    kept = groups.kept(tensor, dim)
                    if kept is not None:
                        index = torch.from_numpy(kept).to(tensor.device)
                        new = new.index_select(dim, index)
                        mask = None if mask is None else mask.index_select(dim, index)
                if new.shape == tensor.shape:
                    continue
                if id(tensor) not in cut:
                    is_parameter = isinstance(tensor, nn.Parameter)
                    cut[id(tensor)] = nn.Parameter(new, tensor.requires_grad) if is_parameter else new
                table[name] = cut[id(tensor)]
                if mask is not None:
                    masks[module, name] = mask
