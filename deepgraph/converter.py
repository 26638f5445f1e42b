"""Between storages: linear layers as dense, COO or CSR ones, alone or everywhere in a model."""

from __future__ import annotations

from copy import deepcopy
from typing import Any, Literal, TypeVar, get_args

import torch
from torch import Tensor, nn

from deepgraph.errors import DtypeError
from deepgraph.sparse.linear import SparseLinear
from deepgraph.sparse.maskable import checked_mask
from deepgraph.sparse.sparse_layer import SparseLayer

__all__ = ["convert", "convert_model"]

Target = Literal["dense", "coo", "csr"]
Model = TypeVar("Model", bound=nn.Module)


def convert(layer: nn.Module, conversion_target: Target, mask: Tensor | None = None) -> nn.Linear | SparseLayer:
    """Return a new layer that computes the same, stored in another way; zeros of the weight become no edges.

    Parameters
    ----------
    layer : nn.Linear, SparseLayer or SparseLinear
        Left as it is.
    conversion_target : {"dense", "coo", "csr"}
        `torch.nn.Linear`, or `SparseLayer` of that format.
    mask : (C, R) Tensor, optional
        Bool, or zeros and ones: which weights are kept.

    Raises
    ------
    DtypeError
        If the target is unknown, the layer is of another type, or the mask is no mask.
    ShapeError, ArgumentError
        If the mask does not fit.

    Notes
    -----
    Bias, dtype, device, training mode, `requires_grad` of the weight and k are kept.

    Examples
    --------
    >>> layer = nn.Linear(4, 2)
    >>> convert(layer, "csr", mask=torch.eye(2, 4))
    SparseLayer(in_features=4, out_features=2, bias=True, csr_mode=True, k=0.05)
    >>> convert(convert(layer, "coo"), "dense")
    Linear(in_features=4, out_features=2, bias=True)
    """
    _check_target(conversion_target)
    weight, bias = _dense_parts(layer)
    if mask is not None:
        weight = weight * checked_mask(mask, weight.shape, "mask").to(weight.device)
    made = _make(weight, bias, conversion_target, getattr(layer, "k", 0.05))
    learns = next(iter(layer.parameters())).requires_grad
    for parameter in made.parameters():
        parameter.requires_grad_(learns)
    if isinstance(made, SparseLayer):
        made.train_mode = learns
    return made.train(layer.training)


def _check_target(target: Any) -> None:
    if target not in get_args(Target):
        raise DtypeError(f"conversion_target: expected one of {get_args(Target)}, got {target!r}")


def _dense_parts(layer: nn.Module) -> tuple[Tensor, Tensor | None]:
    """Return weight (C, R) and bias of a layer, detached."""
    if isinstance(layer, SparseLinear):
        values = layer.layer.edges
        src, dst = (torch.from_numpy(ends.astype("int64")) for ends in values.edge_set.pairs())
        weight = values.parameter.new_zeros(layer.out_features, layer.in_features).detach()
        weight[dst.to(weight.device), src.to(weight.device)] = values.values()
        bias = layer.layer.bias
    elif isinstance(layer, nn.Linear):
        # Learned masks count: this is the weight that the layer computes with.
        weight = (layer[:] if getattr(layer, "mask_as_params", False) else layer.weight).detach()  # type: ignore[index]
        bias = layer.bias
    else:
        raise DtypeError(f"layer: expected nn.Linear or SparseLayer, got {type(layer).__name__}")
    return weight, None if bias is None else bias.detach()


def _make(weight: Tensor, bias: Tensor | None, target: Target, k: float) -> nn.Linear | SparseLayer:
    outs, ins = weight.shape
    place: dict[str, Any] = {"device": weight.device, "dtype": weight.dtype}
    if target == "dense":
        # Empty first: drawing weights would move torch's global generator for nothing.
        dense: nn.Linear = nn.utils.skip_init(  # type: ignore[no-untyped-call]
            nn.Linear, ins, outs, bias is not None, **place
        )
        with torch.no_grad():
            dense.weight.copy_(weight)
            if bias is not None:
                dense.bias.copy_(bias)
        return dense
    few = 1 / (outs * ins)
    layer = SparseLayer(ins, outs, bias is not None, target == "csr", k=k, density=few, seed=0, **place)
    layer.assign_new_weight(weight, bias)
    layer.compact()
    layer.layer.edge_set.history.clear()
    return layer


def convert_model(
    model: Model, layer_type: type[nn.Module] | tuple[type[nn.Module], ...], conversion_target: Target
) -> Model:
    """Return a deep copy of a model in which all layers of a type, at any depth, are converted.

    Parameters
    ----------
    model : nn.Module
        Left as it is. A layer of that type itself is converted.
    layer_type : type or tuple of types
        Of the layers to convert, subclasses included; other modules stay.
    conversion_target : {"dense", "coo", "csr"}

    Raises
    ------
    DtypeError
        If the target is unknown, or a layer of the type cannot be converted.

    Notes
    -----
    A layer that occurs twice is one layer again.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(4, 3), nn.Sequential(nn.Linear(3, 2)))
    >>> convert_model(model, nn.Linear, "coo")[1][0]
    SparseLayer(in_features=3, out_features=2, bias=True, csr_mode=False, k=0.05)
    """
    _check_target(conversion_target)
    copied = deepcopy(model)
    done: dict[int, nn.Module] = {}

    def replaced(module: nn.Module) -> nn.Module:
        if isinstance(module, layer_type):
            return done.setdefault(id(module), done.get(id(module)) or convert(module, conversion_target))
        if id(module) not in done:
            done[id(module)] = module
            for name, child in list(module._modules.items()):
                if child is not None:
                    module._modules[name] = replaced(child)
        return module

    return replaced(copied)  # type: ignore[return-value]
