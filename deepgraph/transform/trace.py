"""One traced forward pass: from a model and its inputs to nodes, edges and results."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from deepgraph.errors import ArgumentError, UnsupportedOperationError
from deepgraph.sparse.sparsify import weight_masks
from deepgraph.transform.collect import Collector
from deepgraph.transform.couplings import Couplings
from deepgraph.transform.provenance import OTHER_SAMPLE, Provenance
from deepgraph.transform.sample import Result, Sample, results_of, take_sample
from deepgraph.transform.sandbox import Sandbox, module_stack
from deepgraph.transform.traced import Array
from deepgraph.transform.tracer import Settings, Tracer

__all__ = ["Trace", "run_trace"]

_CHANNELS_FIRST = (nn.modules.conv._ConvNd, nn.modules.batchnorm._NormBase, nn.GroupNorm)


@dataclass(frozen=True)
class Trace:
    """What one traced forward pass found.

    Parameters
    ----------
    tracer : Tracer
        With the notes that it took.
    collector : Collector
        With nodes and edges.
    inputs, outputs : np.ndarray, shape (I,) and (O,), int64
        Node ids in column order.
    results : list of Result
        The tensors that the model returned.
    """

    tracer: Tracer
    collector: Collector
    inputs: Array
    outputs: Array
    results: list[Result]

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of one sample's result; of several results put end to end, flattened."""
        return self.results[0].shape if len(self.results) == 1 else (len(self.outputs),)


def run_trace(
    model: Callable[..., Any],
    inputs: tuple[Any, ...],
    kwargs: Mapping[str, Any] | None,
    settings: Settings,
    max_edges: int | None,
    couplings: Couplings | None = None,
) -> Trace:
    """Return the trace of one forward pass of the model on the first sample of its inputs.

    Parameters
    ----------
    model : callable
        An nn.Module, or a function of tensors.
    inputs, kwargs : tuple, mapping
        Its arguments.
    settings : Settings
        What was asked for.
    max_edges : int or None
        Beyond this many edges only counts are kept; 0 counts from the start.
    couplings : Couplings, optional
        Order 1: told which channels can only go together.

    Raises
    ------
    ArgumentError
        If the model cannot be called, or the inputs do not fit.
    UnsupportedOperationError
        If an operation has no rule or mixes samples.
    """
    if not callable(model):
        raise ArgumentError(f"expected an nn.Module or a function of tensors, got {type(model).__name__}")
    sample = take_sample(inputs, dict(kwargs or {}), settings.batch_dim)
    named = dict(model.named_parameters()) if isinstance(model, nn.Module) else {}
    buffers = dict(model.named_buffers()) if isinstance(model, nn.Module) else {}
    if any(tensor.is_meta for tensor in (*named.values(), *sample.tensors)):
        raise UnsupportedOperationError(
            "expected a model and inputs with values, got tensors on the device meta: extract runs the model; call "
            "model.to_empty(device='cpu') and load a state first"
        )
    provenance = Provenance(named, buffers)
    if isinstance(model, nn.Module):
        for weight, mask in weight_masks(model):
            provenance.support.write(weight.detach(), mask.long().cpu())
    collector = Collector(max_edges, _weight_dtype([*named.values(), *sample.tensors]), progress=True)
    try:
        with Sandbox(model) as sandbox, module_stack(model) as stack:
            tracer = Tracer(provenance, collector, sandbox, stack, settings, couplings)
            first = _number_inputs(model, provenance, collector, sample, settings)
            with couplings.watching(provenance.ids.read) if couplings is not None else nullcontext():
                returned = _run(model, sample, tracer, settings)
            results = results_of(returned, provenance.ids.read, settings.batch_dim)
            outputs = np.concatenate([_output_ids(collector, result, settings.order) for result in results])
    finally:
        collector.close()
    return Trace(tracer, collector, first, outputs, results)


def _weight_dtype(tensors: list[Tensor]) -> Any:
    return np.float64 if any(tensor.dtype == torch.float64 for tensor in tensors) else np.float32


def _number_inputs(
    model: Callable[..., Any], provenance: Provenance, collector: Collector, sample: Sample, settings: Settings
) -> Array:
    for tensor, own in zip(sample.tensors, sample.own, strict=True):
        provenance.ids.write(tensor, torch.tensor(OTHER_SAMPLE))
        numbers = torch.arange(own.numel()).view(own.shape)
        if settings.order == 1:
            numbers = _channel_numbers(model, own, settings)
        shape = tuple(size for dim, size in enumerate(own.shape) if dim != settings.batch_dim)
        start = collector.add_nodes(
            int(numbers.max()) + 1 if own.numel() else 0, "input", operation="input", shape=shape
        )
        provenance.ids.write(own, start + numbers)
    return np.arange(collector.num_nodes)


def _channel_numbers(model: Callable[..., Any], own: Tensor, settings: Settings) -> Tensor:
    """Return the channel of every element of an input, int64 of its shape."""
    batch = None if settings.batch_dim is None else settings.batch_dim % max(1, own.ndim)
    dims = [dim for dim in range(own.ndim) if dim != batch]
    if settings.channel_dim is not None:
        if not -own.ndim <= settings.channel_dim < own.ndim:
            raise ArgumentError(
                f"expected inputs with channels along dimension channel_dim={settings.channel_dim}, got a tensor of "
                f"shape {tuple(own.shape)}"
            )
        dims = [settings.channel_dim % own.ndim]
    elif not dims or not (own.is_floating_point() or own.is_complex()):
        # Tokens, classes, flags: one channel, whatever the positions.
        return torch.zeros(own.shape, dtype=torch.int64)
    dim = dims[0] if len(dims) != 2 or _is_convolutional(model) else dims[1]
    return torch.arange(own.shape[dim]).view([-1 if d == dim else 1 for d in range(own.ndim)]).expand(own.shape)


def _is_convolutional(model: Callable[..., Any]) -> bool:
    """Return whether the first module with a weight reads channels before positions."""
    modules = model.modules() if isinstance(model, nn.Module) else ()
    for module in modules:
        if isinstance(getattr(module, "weight", None), Tensor):
            # Convolutions, batch, group and instance norm; a linear layer, a layer norm, an embedding do not.
            return isinstance(module, _CHANNELS_FIRST)
    return False


def _run(model: Callable[..., Any], sample: Sample, tracer: Tracer, settings: Settings) -> Any:
    try:
        with tracer:
            return model(*sample.args, **sample.kwargs)
    except Exception as error:
        if settings.batch_dim is not None:
            error.add_note(
                "extract ran the model on two copies of the first sample along batch_dim="
                f"{settings.batch_dim}; pass batch_dim=None if the model takes the whole input as one sample"
            )
        raise


def _output_ids(collector: Collector, result: Result, order: int) -> Array:
    """Return the node ids (O,) of a result, at order 1 each once; constant elements become nodes without inputs."""
    ids = result.ids.reshape(-1).clone()
    fixed = (ids < 0).nonzero().squeeze(1)
    if order == 1:
        if len(fixed):
            ids[fixed] = collector.add_nodes(1, "unit", operation="constant")
        _, first = np.unique(ids.numpy(), return_index=True)
        distinct: Array = ids.numpy()[np.sort(first)]
        return distinct
    bias = result.value.reshape(-1)[fixed].double().cpu().numpy()
    shape = result.shape
    start = collector.add_nodes(len(fixed), "unit", bias=bias, operation="constant", shape=shape, element=fixed.numpy())
    ids[fixed] = torch.arange(start, start + len(fixed))
    return ids.numpy()
