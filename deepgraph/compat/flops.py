"""Operations of a forward pass of any PyTorch model, with and without its zeros, counted by hooks."""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import Tensor, nn

from deepgraph.errors import ArgumentError

__all__ = ["FlopsCounter", "count_flops"]

_CONV = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


class FlopsCounter:
    """Counts the operations of the forward passes that are made inside its `with` block.

    A weight that is used takes 2 operations, a product and a sum, for each position and sample; 0 takes none in
    `sparse`. Counted are Linear, convolutions (padding as if it were data), transposed convolutions, attention, and
    recurrent layers and cells; biases, norms and activations are not.

    Parameters
    ----------
    model : nn.Module

    Attributes
    ----------
    dense, sparse : int
        Operations with all weights, and without zeros.
    by_module : dict of str to (int, int)
        Both, by the name of the module.

    Examples
    --------
    >>> model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(16, 2))
    >>> _ = nn.init.zeros_(model[2].weight[0])
    >>> with FlopsCounter(model) as counter, torch.no_grad():
    ...     _ = model(torch.zeros(1, 1, 4, 4))
    >>> counter.dense, counter.sparse
    (352, 320)
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.by_module: dict[str, tuple[int, int]] = {}
        self._handles: list[Any] = []
        self._inside: list[nn.Module] = []

    @property
    def dense(self) -> int:
        """Operations with all weights."""
        return sum(dense for dense, _ in self.by_module.values())

    @property
    def sparse(self) -> int:
        """Operations without weights that are 0."""
        return sum(sparse for _, sparse in self.by_module.values())

    def __enter__(self) -> Self:
        for name, module in self.model.named_modules():
            if _counted(module):
                self._handles.append(module.register_forward_hook(_Hook(self, name), with_kwargs=True))
        return self

    def __exit__(self, *error: object) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def add(self, name: str, uses: list[tuple[Tensor, int]], fixed: int) -> None:
        """Add weights with the number of times that each is used, and operations that no weight takes part in."""
        dense, sparse = self.by_module.get(name, (0, 0))
        for weight, times in uses:
            dense += 2 * weight.numel() * times
            sparse += 2 * int(torch.count_nonzero(weight.detach())) * times
        self.by_module[name] = dense + fixed, sparse + fixed


class _Hook:
    def __init__(self, counter: FlopsCounter, name: str) -> None:
        self.counter, self.name = counter, name

    def __call__(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        given = [*args, *kwargs.values()]
        self.counter.add(self.name, *_uses(module, given, output))


def _counted(module: nn.Module) -> bool:
    return isinstance(module, (nn.Linear, *_CONV, *_TRANSPOSED, nn.MultiheadAttention, nn.RNNBase, nn.RNNCellBase))


def _uses(module: nn.Module, given: list[Any], output: Any) -> tuple[list[tuple[Tensor, int]], int]:
    """Return `(weights and how often each is used, operations without weights)` of one call."""
    x: Tensor = given[0]
    if isinstance(module, nn.Linear):
        return [(module.weight, output.numel() // module.out_features)], 0
    if isinstance(module, _CONV):
        return [(module.weight, output.numel() // module.out_channels)], 0
    if isinstance(module, _TRANSPOSED):
        return [(module.weight, x.numel() // module.in_channels)], 0
    if isinstance(module, nn.MultiheadAttention):
        return _attention_uses(module, given)
    weights = [p for name, p in module.named_parameters(recurse=False) if name.startswith("weight")]
    data = getattr(x, "data", x)
    return [(weight, data.numel() // data.shape[-1]) for weight in weights], 0


def _attention_uses(module: nn.MultiheadAttention, given: list[Any]) -> tuple[list[tuple[Tensor, int]], int]:
    query, key = given[0], given[1]
    size = module.embed_dim
    asked, known = query.numel() // query.shape[-1], key.numel() // key.shape[-1]
    times = (asked, known, known)
    if module.in_proj_weight is not None:
        projections = list(torch.split(module.in_proj_weight, size))
    else:
        projections = [module.q_proj_weight, module.k_proj_weight, module.v_proj_weight]
    axis = 1 if module.batch_first and query.dim() == 3 else 0
    pairs = asked * key.shape[axis]
    uses = [*zip(projections, times, strict=True), (module.out_proj.weight, asked)]
    return uses, 2 * 2 * pairs * size


def count_flops(model: nn.Module, *inputs: Any, sparse: bool = True) -> int:
    """Return the operations of one forward pass, made in eval mode and without gradients.

    Parameters
    ----------
    model : nn.Module
    *inputs
        What it is called with.
    sparse : bool
        Whether weights that are 0 take none; see `FlopsCounter`.

    Raises
    ------
    ArgumentError
        If no input is given.

    Examples
    --------
    >>> layer = nn.Linear(4, 3)
    >>> count_flops(layer, torch.zeros(2, 4))
    48
    """
    if not inputs:
        raise ArgumentError("inputs: expected what the model is called with, got nothing")
    training = {module: module.training for module in model.modules()}
    try:
        with FlopsCounter(model.eval()) as counter, torch.no_grad():
            model(*inputs)
    finally:
        for module, mode in training.items():
            module.training = mode
    return counter.sparse if sparse else counter.dense
