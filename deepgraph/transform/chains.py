"""Pairs of layers of which the second reads the first channel by channel: what `compact` takes channels out of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from deepgraph.transform.calls import module_graph
from deepgraph.transform.traced import Array

__all__ = ["Chain", "find_chains"]

Conv: TypeAlias = nn.Conv1d | nn.Conv2d | nn.Conv3d
Layer: TypeAlias = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d
Masks: TypeAlias = dict[tuple[nn.Module, str], Tensor]

_POINTWISE = (
    nn.ReLU, nn.ReLU6, nn.Tanh, nn.Sigmoid, nn.GELU, nn.SiLU, nn.ELU, nn.SELU, nn.CELU, nn.LeakyReLU, nn.Hardtanh,
    nn.Hardswish, nn.Hardsigmoid, nn.Softplus, nn.Mish, nn.LogSigmoid, nn.PReLU, nn.Dropout, nn.Identity,
)  # fmt: skip
_POOLS = (
    nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d, nn.AdaptiveAvgPool1d,
    nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d,
)  # fmt: skip
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_POINTWISE_NAMES = "relu tanh sigmoid gelu silu elu leaky_relu hardtanh hardswish softplus mish clone"
_POINTWISE_OPERATIONS = {f"aten::{name}{end}" for name in _POINTWISE_NAMES.split() for end in ("", "_")}
_POOL_OPERATIONS = {
    "aten::max_pool2d_with_indices", "aten::max_pool3d_with_indices", "aten::avg_pool2d", "aten::avg_pool3d",
    "aten::_adaptive_avg_pool2d", "aten::_adaptive_avg_pool3d", "aten::mean",
}  # fmt: skip


@dataclass(frozen=True)
class Chain:
    """Two layers, and the modules between them that have entries per channel.

    Parameters
    ----------
    first_path : str
        Path of the first layer.
    first, second : nn.Linear or nn.Conv1d, Conv2d, Conv3d
        The second reads what the first makes.
    between : list of nn.Module
        Batch norms and PReLUs.
    """

    first_path: str
    first: Layer
    second: Layer
    between: list[nn.Module]

    @property
    def width(self) -> int:
        """Number of channels that the first layer makes, C."""
        return self.first.weight.shape[0]

    def columns(self, channels: Array) -> Array:
        """Return which inputs of the second layer the channels are, shape (K * S,), S places per channel."""
        each = self.second.weight.shape[1] // self.width
        columns: Array = (channels[:, None] * each + np.arange(each)).reshape(-1)
        return columns

    def fold(self, values: Tensor, channels: Array) -> tuple[Array, Tensor]:
        """Return which channels can be replaced by a bias (K,) bool, and that bias of the second layer (O,).

        Parameters
        ----------
        values : torch.Tensor
            An input of the second layer.
        channels : np.ndarray, shape (K,)
            Channels that are the same for every sample.
        """
        weight = self.second.weight.detach()
        if isinstance(self.second, nn.Linear):
            columns = torch.from_numpy(self.columns(channels))
            value = values.reshape(-1, values.shape[-1])[0, columns]
            return np.ones(len(channels), dtype=bool), weight[:, columns] @ value
        index = torch.from_numpy(channels).to(values.device)
        flat = values[0, index].flatten(1)
        even = (flat == flat[:, :1]).all(1)
        if self.second.padding_mode == "zeros" and self.second.padding not in ("valid", (0,) * (weight.ndim - 2)):
            even &= flat[:, 0] == 0
        constant = even.cpu().numpy()
        return constant, weight[:, index[even]].flatten(2).sum(2) @ flat[even, 0]

    def keep(self, channels: Array, shift: Tensor | None, masks: Masks) -> None:
        """Take all but some channels out of the layers, and raise the bias of the second.

        Parameters
        ----------
        channels : np.ndarray, shape (K,)
            Those that stay.
        shift : torch.Tensor, shape (O,), optional
            What is added to the bias.
        masks : dict
            Masks of weights, cut alike.
        """
        kept, columns = torch.from_numpy(channels), torch.from_numpy(self.columns(channels))
        for name in ("weight", "bias"):
            _cut(self.first, name, 0, kept, masks)
        for module in self.between:
            for name in ("weight", "bias", "running_mean", "running_var"):
                _cut(module, name, 0, kept, masks)
            for size in ("num_features", "num_parameters"):
                if hasattr(module, size):
                    setattr(module, size, len(kept))
        _cut(self.second, "weight", 1, columns, masks)
        for layer, name, count in ((self.first, "out", len(kept)), (self.second, "in", len(columns))):
            setattr(layer, f"{name}_{'features' if isinstance(layer, nn.Linear) else 'channels'}", count)
        if shift is not None and bool(shift.any()):
            bias = self.second.bias
            if bias is None:
                self.second.bias = nn.Parameter(shift.clone())
            else:
                bias.data = bias.data + shift


def _cut(module: nn.Module, name: str, dim: int, kept: Tensor, masks: Masks) -> None:
    tensor = getattr(module, name, None)
    if not isinstance(tensor, Tensor) or (name == "weight" and isinstance(module, nn.PReLU) and len(tensor) == 1):
        return
    cut = tensor.detach().index_select(dim, kept.to(tensor.device))
    if isinstance(tensor, nn.Parameter):
        setattr(module, name, nn.Parameter(cut, tensor.requires_grad))
    else:
        setattr(module, name, cut)
    if (module, name) in masks:
        masks[module, name] = masks[module, name].index_select(dim, kept.to(tensor.device))


def find_chains(model: nn.Module, inputs: tuple[Any, ...], kwargs: dict[str, Any], batch_dim: int) -> list[Chain]:
    """Return the pairs of layers of a model with nothing between them that mixes channels.

    Parameters
    ----------
    model : nn.Module
        Without parametrizations of its linear layers and convolutions.
    inputs, kwargs : tuple, dict
        Example arguments.
    batch_dim : int
        The dimension of the samples.
    """
    graph = module_graph(model, inputs, kwargs, batch_dim)
    modules = dict(model.named_modules())
    paths, operations = graph.node_column("module").tolist(), graph.node_column("operation").tolist()
    results = set(graph.output_positions().tolist())
    owners = [id(p) for module in modules.values() for p in module._parameters.values() if p is not None]
    chains = []
    for node in range(len(graph)):
        first = _layer(modules, paths, operations, node, owners)
        if first is None:
            continue
        between: list[nn.Module] = []
        here = node
        while here not in results:
            after = list(graph.successors(here))
            if len(after) != 1 or graph.in_degree(after[0]) != 1:
                break
            here = after[0]
            second = _layer(modules, paths, operations, here, owners)
            if second is not None:
                if _fit(first, second):
                    chains.append(Chain(paths[node], first, second, between))
                break
            module = modules.get(paths[here])
            if not _keeps_channels(module, operations[here], first):
                break
            if isinstance(module, (*_NORMS, nn.PReLU)):
                size = module.num_parameters if isinstance(module, nn.PReLU) else module.num_features
                if paths.count(paths[here]) > 1 or size not in (1, first.weight.shape[0]):
                    break
                between.append(module)
    return chains


def _layer(
    modules: dict[str, nn.Module], paths: list[str], operations: list[str], node: int, owners: list[int]
) -> Layer | None:
    """Return the layer of a call if it is one that channels can be taken out of."""
    module = modules.get(paths[node])
    if not isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d):
        return None
    shared = any(owners.count(id(p)) > 1 for p in module._parameters.values() if p is not None)
    grouped = not isinstance(module, nn.Linear) and module.groups > 1
    plain = operations[node] == type(module).__name__ and paths.count(paths[node]) == 1
    return module if plain and not shared and not grouped else None


def _fit(first: Layer, second: Layer) -> bool:
    made, read = first.weight.shape[0], second.weight.shape[1]
    if isinstance(first, nn.Linear) or not isinstance(second, nn.Linear):
        return made == read
    return read % made == 0


def _keeps_channels(module: nn.Module | None, operation: str, first: Layer) -> bool:
    if module is not None and operation == type(module).__name__:
        spatial = isinstance(module, _POOLS) and not isinstance(first, nn.Linear)
        return spatial or isinstance(module, (*_POINTWISE, *_NORMS))
    return operation in _POINTWISE_OPERATIONS or (operation in _POOL_OPERATIONS and not isinstance(first, nn.Linear))
