"""Masks that keep entries of a parameter zero, also while it trains: a parametrization in place of the parameter."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune

from deepgraph.errors import EditRefusedError
from deepgraph.transform.sandbox import Guard, Sandbox
from deepgraph.transform.traced import Array

__all__ = ["Mask", "Place", "check_place", "mask_entries", "places_of"]

Place = tuple[nn.Module, str]
"""A module and the name under which it holds a parameter."""


class Mask(nn.Module):
    """A parametrization: weight * mask. Extraction reads the buffer as the declared support.

    Parameters
    ----------
    mask : torch.Tensor
        Ones and zeros in the shape of the weight.
    """

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask)

    def forward(self, weight: Tensor) -> Tensor:
        """Return the weight with zeros off the mask."""
        return weight * self.mask


def places_of(model: nn.Module, parameter: Tensor) -> list[Place]:
    """Return where a model holds a parameter as (module, name of the weight), tied ones several times.

    A parameter behind a parametrization or behind torch's pruning is known by the name of the weight that it makes.

    Parameters
    ----------
    model : nn.Module
        Holds the parameter.
    parameter : torch.Tensor
        One of its parameters.
    """
    modules = dict(model.named_modules())
    found = []
    for path, module in modules.items():
        for name, held in module._parameters.items():
            if held is not parameter:
                continue
            if isinstance(module, parametrize.ParametrizationList):
                owner, _, tensor = f".{path}".rpartition(".parametrizations.")
                found.append((modules[owner[1:]], tensor))
            elif name.endswith("_orig") and hasattr(module, f"{name[:-5]}_mask"):
                found.append((module, name[:-5]))
            else:
                found.append((module, name))
    return found


def check_place(place: Place, parameter: Tensor, new: Tensor, removed: Array) -> None:
    """Raise if a parametrization stands between a parameter and its weight that does not act entry by entry.

    Parameters
    ----------
    place : (nn.Module, str)
        From `places_of`.
    parameter, new : torch.Tensor
        The parameter, and the values that it is to get.
    removed : np.ndarray, shape (K,), int64
        Entries that are to stay zero.

    Raises
    ------
    EditRefusedError
        If new values change more of the weight than these entries, or removed ones are not zero there.
    """
    module, name = place
    if not parametrize.is_parametrized(module, name):
        return
    parts = _parametrizations(module, name)
    with Sandbox(module) as sandbox, Guard(sandbox):
        before, after = parameter.detach().clone(), new.clone()
        several = not hasattr(parts, "original")
        for part in () if several else parts:
            before, after = part(before), part(after)
    edited = int((parameter.detach() != new).sum())
    if (
        several
        or after.shape != parameter.shape
        or int((before != after).sum()) > edited
        or bool(after.reshape(-1)[torch.from_numpy(removed)].any())
    ):
        raise EditRefusedError(
            f"expected a weight whose parametrization acts entry by entry, got {name!r} of {type(module).__name__} "
            f"with {', '.join(type(part).__name__ for part in parts)}: an edit of one entry changes others; remove the "
            "parametrization first (torch.nn.utils.parametrize.remove_parametrizations)"
        )


def mask_entries(place: Place, entries: Array) -> None:
    """Keep entries of a weight at zero from now on: they do not move in training.

    Parameters
    ----------
    place : (nn.Module, str)
        From `places_of`.
    entries : np.ndarray, shape (K,), int64
        Indices into the flattened weight.
    """
    module, name = place
    declared = getattr(module, f"{name}_mask", None)
    if f"{name}_orig" in module._parameters and isinstance(declared, Tensor):
        _clear(declared, entries)
        setattr(module, name, getattr(module, f"{name}_orig") * declared)
        return
    if parametrize.is_parametrized(module, name):
        for part in _parametrizations(module, name):
            if isinstance(part, Mask):
                _clear(part.mask, entries)
                return
    weight = getattr(module, name)
    mask = torch.ones_like(weight, memory_format=torch.contiguous_format, requires_grad=False)
    _clear(mask, entries)
    if isinstance(module, nn.RNNBase):
        # Recurrent layers keep a list of their weights, which follows assignments but no parametrization.
        prune.custom_from_mask(module, name, mask)  # type: ignore[no-untyped-call]
    else:
        parametrize.register_parametrization(module, name, Mask(mask))


def _parametrizations(module: nn.Module, name: str) -> parametrize.ParametrizationList:
    held: Any = module.parametrizations
    parts: parametrize.ParametrizationList = held[name]
    return parts


def _clear(mask: Tensor, entries: Array) -> None:
    with torch.no_grad():
        mask[np.unravel_index(entries, tuple(mask.shape))] = 0
