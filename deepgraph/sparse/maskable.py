"""Masks of layers: `MaskableModule`, which finds them, and `MaskedLayer`, whose weights have edge sets behind them.

A mask is a view of an edge set: setting it drops and grows edges, and the weight is zero wherever the mask is off.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Self, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from deepgraph.errors import ArgumentError, DtypeError, ShapeError
from deepgraph.graph.edge_set import EdgeSet
from deepgraph.sparse.build import matrix_addresses
from deepgraph.sparse.edge_masks import EdgeMasks
from deepgraph.sparse.masked_weight import GradientMask, WeightEdges, WeightValues, hold
from deepgraph.sparse.values import HELD

__all__ = [
    "MaskableModule",
    "MaskedLayer",
    "bind_full",
    "checked_mask",
    "maskable_layers",
    "maskable_layers_with_name",
    "prunable_layers",
    "prunable_layers_with_name",
    "put_mask",
]


Maskable: TypeAlias = "MaskedLayer | EdgeMasks"
"""What has a mask: `MaskedLinearLayer`, recurrent layers, and the layers of our own models."""


class MaskableModule(nn.Module):
    """A module that knows the masked layers below it, at any depth; its methods return itself and can be chained.

    Examples
    --------
    >>> from deepgraph.sparse import MaskedLinearLayer
    >>> class Net(MaskableModule):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.body = nn.Sequential(MaskedLinearLayer(4, 3), nn.ReLU(), MaskedLinearLayer(3, 2))
    >>> net = Net()
    >>> [name for name, _ in net.maskable_children_with_name]
    ['body.0', 'body.2']
    >>> net.recompute_mask(theta=10.0).maskable_children[0].get_weight_count()
    0
    """

    def apply_mask(self) -> Self:
        """Set all weights to zero where their mask is off, and return the module.

        Only needed after other code wrote to the weights: no optimizer moves what is masked.
        """
        for layer in self._leaves():
            layer.apply_mask()
        return self

    def recompute_mask(self, theta: float = 0.001, keep_masked: bool = True) -> Self:
        """Mask weights by magnitude, in all layers, and return the module.

        Parameters
        ----------
        theta : float
            Weights below it in magnitude are masked, >= 0.
        keep_masked : bool
            Whether what is masked stays so. False computes the mask anew from all weights.

        Raises
        ------
        ArgumentError
            If theta is negative or NaN.
        """
        for layer in self._leaves():
            layer.recompute_mask(theta, keep_masked)
        return self

    def reset_parameters(self, keep_mask: bool = False) -> Self:
        """Draw all weights of the masked layers anew, and return the module.

        Parameters
        ----------
        keep_mask : bool
            Whether masks stay; by default every weight is on again.
        """
        for layer in self._leaves():
            layer.reset_parameters(keep_mask)
        return self

    def _leaves(self) -> list[Maskable]:
        return [layer for _, layer in maskable_layers_with_name(self)]

    @property
    def maskable_children(self) -> list[Maskable]:
        """The masked layers below this module, at any depth, each once."""
        return self._leaves()

    @property
    def maskable_children_with_name(self) -> list[tuple[str, Maskable]]:
        """The masked layers below this module with their full names."""
        return list(maskable_layers_with_name(self))


class MaskedLayer(MaskableModule):
    """A layer with weights of its own that are masked. A subclass calls `bind_full` at the end of `__init__`."""

    def masked_weights(self) -> list[WeightValues]:
        """Return the edge values of the weights."""
        held: WeightEdges | None = self.__dict__.get(HELD)
        return [] if held is None else held.of(self)

    def get_weight_count(self) -> int:
        """Return the number of weights that are on."""
        return sum(values.edge_set.num_edges for values in self.masked_weights())

    def apply_mask(self) -> Self:
        """Set the weights to zero where their mask is off, and return the layer."""
        held: WeightEdges | None = self.__dict__.get(HELD)
        if held is not None:
            held.clear_absent(self)
        return self

    def recompute_mask(self, theta: float = 0.001, keep_masked: bool = True) -> Self:
        """Mask weights below theta in magnitude, and return the layer; see `MaskableModule.recompute_mask`."""
        for values in self.masked_weights():
            recompute(values, theta, keep_masked)
        return self


def check_threshold(theta: float) -> float:
    """Return a threshold as a float; ArgumentError if it is negative, infinite or NaN."""
    if not 0 <= theta < math.inf:
        raise ArgumentError(f"theta: expected a finite number >= 0, got {theta}")
    return float(theta)


def recompute(values: WeightValues, theta: float, keep_masked: bool) -> None:
    """Drop the edges of a weight that are below theta in magnitude, or choose them anew from all entries."""
    large = values.parameter.detach().abs() >= check_threshold(theta)
    put_mask(values, large & values.mask() if keep_masked else large)


def checked_mask(mask: Any, shape: Sequence[int], name: str) -> Tensor:
    """Return a mask as a bool tensor of the shape given.

    Raises
    ------
    DtypeError
        If it is no tensor or array of booleans or numbers.
    ShapeError
        If it has another shape.
    ArgumentError
        If it holds numbers other than 0 and 1.

    Examples
    --------
    >>> checked_mask(torch.eye(2), (2, 2), "mask")
    tensor([[ True, False],
            [False,  True]])
    """
    if isinstance(mask, np.ndarray):
        mask = torch.from_numpy(np.array(mask))
    if not isinstance(mask, Tensor) or mask.is_complex():
        kind = str(mask.dtype) if isinstance(mask, Tensor) else type(mask).__name__
        raise DtypeError(f"{name}: expected a tensor of bool or of zeros and ones, got {kind}")
    if tuple(mask.shape) != tuple(shape):
        hint = "; transpose it: torch weights are (out, in)" if tuple(mask.shape) == tuple(shape)[::-1] else ""
        raise ShapeError(f"{name}: expected shape {tuple(shape)} as the weight's, got {tuple(mask.shape)}{hint}")
    if mask.dtype != torch.bool and not bool(((mask == 0) | (mask == 1)).all()):
        raise ArgumentError(f"{name}: expected zeros and ones, got other numbers; compare with a threshold first")
    return mask.detach().bool()


def put_mask(values: WeightValues, mask: Tensor) -> None:
    """Make the pairs of a bool mask, of the parameter's shape, the edges of a weight, as one edit; new ones are 0.

    Raises
    ------
    EditRefusedError
        If an edit is not possible now.
    """
    edges = values.edge_set
    wanted = mask.detach().cpu().numpy()
    src, dst = edges.pairs()
    gone = ~wanted[dst, src]
    v, u = np.nonzero(wanted & ~values.mask().cpu().numpy())
    if gone.any() or len(u):
        edges.edit(drop=(src[gone], dst[gone]), grow=(u, v), reason="mask")


def bind_full(module: nn.Module, *names: str) -> None:
    """Give weights (out, in) of a module edge sets with every pair in them."""
    weights: dict[str, list[WeightValues]] = {}
    for name in names:
        parameter: nn.Parameter = getattr(module, name)
        targets, sources = parameter.shape
        cells = np.arange(sources * targets)
        edges = EdgeSet.from_pairs(cells // targets, cells % targets, sources, targets, name=name)
        addresses = matrix_addresses(sources, targets)
        weights[name] = [WeightValues(edges, parameter, addresses, GradientMask(tuple(parameter.shape)))]
    hold(module, WeightEdges(weights))


def maskable_layers_with_name(network: nn.Module) -> Iterator[tuple[str, Maskable]]:
    """Yield `(name, layer)` of the masked layers below a module, at any depth, each once.

    Examples
    --------
    >>> from deepgraph.sparse import MaskedLinearLayer
    >>> [name for name, _ in maskable_layers_with_name(nn.Sequential(nn.Sequential(MaskedLinearLayer(2, 2))))]
    ['0.0']
    """
    for name, module in network.named_modules():
        if module is not network and isinstance(module, (MaskedLayer, EdgeMasks)):
            yield name, module


def maskable_layers(network: nn.Module) -> Iterator[Maskable]:
    """Yield the masked layers below a module, at any depth, each once.

    Examples
    --------
    >>> from deepgraph.sparse import MaskedLinearLayer
    >>> len(list(maskable_layers(nn.Sequential(MaskedLinearLayer(2, 2), nn.Linear(2, 2)))))
    1
    """
    for _, layer in maskable_layers_with_name(network):
        yield layer


prunable_layers = maskable_layers
prunable_layers_with_name = maskable_layers_with_name
