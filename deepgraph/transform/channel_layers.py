"""Layers that can lose channels: which dimension of which of their tensors counts the channels they read and make."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from deepgraph.transform.traced import Array

__all__ = ["LAYER_TYPES", "Layer", "find_layers"]

Axis = tuple[Tensor, int]
"""A tensor and the dimension of it that counts channels."""


@dataclass(frozen=True)
class _Kind:
    """Tensors (name, dimension) with an entry per channel that is read, or made; attributes that count the channels."""

    read: tuple[tuple[str, int], ...]
    made: tuple[tuple[str, int], ...]
    read_size: str
    made_size: str


_ENTRIES = (("weight", 0), ("bias", 0), ("running_mean", 0), ("running_var", 0))
_LINEAR = _Kind((("weight", 1),), (("weight", 0), ("bias", 0)), "in_features", "out_features")
_CONV = _Kind((("weight", 1),), (("weight", 0), ("bias", 0)), "in_channels", "out_channels")
_TRANSPOSED = _Kind((("weight", 0),), (("weight", 1), ("bias", 0)), "in_channels", "out_channels")
_GROUPED = _Kind((), (("weight", 0), ("bias", 0)), "in_channels", "out_channels")
_GROUPED_TRANSPOSED = _Kind((("weight", 0),), (("bias", 0),), "in_channels", "out_channels")
_NORM = _Kind((), _ENTRIES, "", "num_features")
_SLOPE = _Kind((), (("weight", 0),), "", "num_parameters")
_TABLE = _Kind((), (("weight", 1),), "", "embedding_dim")
_CONVS = (_CONV, _TRANSPOSED, _GROUPED, _GROUPED_TRANSPOSED)

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)
_KINDS: dict[type[nn.Module], _Kind] = {
    nn.Linear: _LINEAR,
    **dict.fromkeys((nn.Conv1d, nn.Conv2d, nn.Conv3d), _CONV),
    **dict.fromkeys((nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d), _TRANSPOSED),
    **dict.fromkeys(_NORMS, _NORM),
    nn.PReLU: _SLOPE,
    nn.Embedding: _TABLE,
}

LAYER_TYPES = tuple(_KINDS)


class Layer:
    """A module that can lose channels.

    Parameters
    ----------
    path : str
        Where it is in the model.
    module : nn.Module
        One of the known kinds.
    kind : object
        What its dimensions are.
    """

    def __init__(self, path: str, module: Any, kind: _Kind) -> None:
        self.path = path
        self.module: Any = module
        self.groups = int(getattr(module, "groups", 1))
        self.keeps = kind in (_NORM, _SLOPE)
        """Whether it makes one channel of each channel that it reads."""
        self.looks_up = kind is _TABLE
        self.mixes = kind in (_LINEAR, _CONV, _TRANSPOSED)
        """Whether every channel that it makes reads all of them."""
        self._kind = kind

    def read_axes(self) -> list[Axis]:
        """Return the tensors and dimensions that have an entry per channel that it reads."""
        return self._axes(self._kind.read)

    def made_axes(self) -> list[Axis]:
        """Return the tensors and dimensions that have an entry per channel that it makes."""
        return self._axes(self._kind.made)

    def _axes(self, names: tuple[tuple[str, int], ...]) -> list[Axis]:
        found = ((getattr(self.module, name, None), dim) for name, dim in names)
        return [(tensor, dim) for tensor, dim in found if isinstance(tensor, Tensor)]

    def by_channel(self, entries: Tensor) -> Array:
        """Return what a tensor that the layer reads or makes holds for each channel, shape (C, places).

        Parameters
        ----------
        entries : torch.Tensor
            Values or ids, on the CPU.
        """
        if self._kind in (_LINEAR, _TABLE):
            dim = entries.ndim - 1
        elif self._kind in _CONVS:
            dim = entries.ndim - (self.module.weight.ndim - 1)
        elif isinstance(self.module, nn.modules.instancenorm._InstanceNorm):
            dim = entries.ndim - int(self.module._get_no_batch_dim())  # type: ignore[no-untyped-call]
        else:
            dim = min(1, entries.ndim - 1)
        moved = entries.movedim(dim, 0)
        rows: Array = moved.reshape(len(moved), -1).numpy()
        return rows

    def fold(self, values: list[Array], channels: Array) -> tuple[Array, Array]:
        """Return which constant channels it can read from its bias instead, (K,) bool, and what they add there, (O, K).

        One that has the same value everywhere can, unless padding with zeros meets another value. Roundings do not
        count: vector instructions and the loop over what is left beside them disagree in the last bits of a tanh.

        Parameters
        ----------
        values : list of np.ndarray, shape (C, places)
            What it read in each of its calls.
        channels : np.ndarray, shape (K,), int64
            Channels that do not depend on the input.
        """
        found = np.concatenate([rows[channels] for rows in values], axis=1)
        value = np.median(found, axis=1)
        rounding = 8 * torch.finfo(self.module.weight.dtype).eps
        even: Array = (np.abs(found - value[:, None]) <= rounding * np.abs(value[:, None])).all(axis=1)
        if self._kind is _TRANSPOSED or (self._kind is _CONV and self._pads_zeros()):
            even &= value == 0
        weight = self.module.weight.detach().double().cpu()
        weight = weight.transpose(0, 1) if self._kind is _TRANSPOSED else weight
        total = weight[:, torch.from_numpy(channels)].reshape(len(weight), len(channels), -1)
        even |= (total == 0).all(2).all(0).numpy()
        added: Array = total.sum(2).numpy() * np.where(even, value, 0.0)
        return even, added

    def _pads_zeros(self) -> bool:
        padding = self.module.padding
        return self.module.padding_mode == "zeros" and padding != "valid" and any(size != 0 for size in padding)

    def add_bias(self, shift: Array) -> None:
        """Raise the bias by a shift (O,); a layer without one gets it.

        Parameters
        ----------
        shift : np.ndarray, shape (O,)
            What is added.
        """
        weight, bias = self.module.weight, self.module.bias
        added = torch.from_numpy(shift).to(weight.device, weight.dtype)
        if bias is None:
            self.module.bias = nn.Parameter(added, weight.requires_grad)
        else:
            bias.data = bias.data + added

    def set_sizes(self, read: int, made: int, groups: int) -> None:
        """Set the attributes that count channels, after the tensors were cut.

        Parameters
        ----------
        read, made, groups : int
            How many are left.
        """
        for name, count in ((self._kind.read_size, read), (self._kind.made_size, made)):
            if name:
                setattr(self.module, name, count)
        if self._kind in _CONVS:
            self.module.groups = groups


def find_layers(model: nn.Module) -> list[Layer]:
    """Return the modules of a model that can lose channels: plain ones of the known kinds, with plain parameters.

    Parameters
    ----------
    model : nn.Module
        Any model.

    Examples
    --------
    >>> [layer.path for layer in find_layers(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.LayerNorm(3)))]
    ['0']
    """
    found = []
    for path, module in model.named_modules():
        base = next((kind for kind in _KINDS if isinstance(module, kind)), None)
        # A subclass with a forward of its own may do something else with its tensors.
        if base is None or type(module).forward is not base.forward:
            continue
        kind = _KINDS[base]
        if int(getattr(module, "groups", 1)) > 1:
            kind = _GROUPED if kind is _CONV else _GROUPED_TRANSPOSED
        weight = module._parameters.get("weight")
        single = kind is _SLOPE and weight is not None and weight.numel() == 1
        if not single and (weight is not None or kind is _NORM):
            found.append(Layer(path, module, kind))
    return found
