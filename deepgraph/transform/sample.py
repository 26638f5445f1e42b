"""The one sample that a trace runs on, and what of a result belongs to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

from deepgraph.errors import ArgumentError, DtypeError, UnsupportedOperationError
from deepgraph.transform.provenance import DERIVED, OTHER_SAMPLE

__all__ = ["Result", "Sample", "results_of", "take_sample"]


@dataclass(frozen=True)
class Sample:
    """Arguments for one run of the model on the first sample, and on a second copy of it.

    Parameters
    ----------
    args, kwargs : tuple, dict
        What to call the model with; tensors are copies.
    tensors : list of torch.Tensor
        The tensors among them, in order.
    own : list of torch.Tensor
        Views of them with the elements of the sample, in the order of the columns of x.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    tensors: list[Tensor]
    own: list[Tensor]


def take_sample(inputs: tuple[Any, ...], kwargs: dict[str, Any], batch_dim: int | None, copies: int = 2) -> Sample:
    """Return the first sample of the inputs, as a batch of copies of itself.

    The second copy carries no nodes: it is there to find operations that mix samples.

    Parameters
    ----------
    inputs, kwargs : tuple, dict
        Arguments of the model, nested as it likes; every tensor among them has the samples along `batch_dim`.
    batch_dim : int or None
        None where the whole input is one sample, which then is not copied.
    copies : int
        1 or 2.

    Raises
    ------
    ArgumentError
        If there is no tensor, a tensor lacks the dimension, or sample counts differ or are 0.
    DtypeError
        If a tensor is not strided.
    """
    leaves, spec = tree_flatten((inputs, kwargs))
    given = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
    if not given:
        raise ArgumentError(
            "expected at least one tensor among the inputs of the model, got none; pass an example input"
        )
    for tensor in given:
        if tensor.layout != torch.strided:
            raise DtypeError(f"expected dense input tensors, got one with layout {tensor.layout}; pass x.to_dense()")
    if batch_dim is not None:
        _check_batch(given, batch_dim)
    taken = {id(tensor): _copies(tensor.detach(), batch_dim, copies) for tensor in given}
    filled = [taken[id(leaf)] if isinstance(leaf, Tensor) else leaf for leaf in leaves]
    args, keywords = tree_unflatten(filled, spec)
    tensors = list(taken.values())
    own = [tensor if batch_dim is None else tensor.narrow(batch_dim, 0, 1) for tensor in tensors]
    return Sample(args, keywords, tensors, own)


def _check_batch(tensors: list[Tensor], batch_dim: int) -> None:
    for tensor in tensors:
        if not -tensor.ndim <= batch_dim < tensor.ndim:
            raise ArgumentError(
                f"expected inputs with samples along dimension batch_dim={batch_dim}, got a tensor of shape "
                f"{tuple(tensor.shape)}; pass batch_dim=None if the whole input is one sample"
            )
    counts = {tensor.shape[batch_dim] for tensor in tensors}
    if len(counts) > 1 or counts == {0}:
        raise ArgumentError(
            f"expected every input tensor to hold the same number of samples, at least 1, along batch_dim={batch_dim}, "
            f"got shapes {[tuple(tensor.shape) for tensor in tensors]}; pass batch_dim=None if the whole input is one "
            "sample"
        )


def _copies(tensor: Tensor, batch_dim: int | None, copies: int) -> Tensor:
    if batch_dim is None:
        return tensor.clone()
    first = tensor.narrow(batch_dim, 0, 1)
    return torch.cat([first] * copies, dim=batch_dim)


@dataclass(frozen=True)
class Result:
    """One tensor that the model returned, cut down to the sample.

    Parameters
    ----------
    ids, value : torch.Tensor
        Ids and values of the sample's elements.
    shape : tuple of int
        Shape of one sample's result, without the batch dimension.
    """

    ids: Tensor
    value: Tensor
    shape: tuple[int, ...]


def results_of(returned: Any, read: Any, batch_dim: int | None) -> list[Result]:
    """Return the tensors among what the model returned, each cut down to the sample.

    Parameters
    ----------
    returned : object
        A tensor, or containers of tensors.
    read : callable
        Tensor -> its ids.
    batch_dim : int or None
        As for `take_sample`.

    Raises
    ------
    ArgumentError
        If no tensor was returned.
    UnsupportedOperationError
        If a result holds other samples only or mixed with this one, or depends on the input without a derivative.
    """
    tensors = [leaf for leaf in tree_leaves(returned) if isinstance(leaf, Tensor)]
    if not tensors:
        raise ArgumentError(
            "expected the model to return a tensor, or a tuple, list or dict of tensors, got "
            f"{type(returned).__name__}; wrap it in a module that returns tensors"
        )
    results = [_cut(read(tensor), tensor.detach(), batch_dim) for tensor in tensors]
    if any(bool((result.ids == DERIVED).any()) for result in results):
        raise UnsupportedOperationError(
            "expected results that can be differentiated, got indices or comparisons that depend on the input; let the "
            "model return the scores that they are taken from"
        )
    return results


def _cut(ids: Tensor, value: Tensor, batch_dim: int | None) -> Result:
    foreign = ids == OTHER_SAMPLE
    if batch_dim is None or (not bool(foreign.any()) and bool((ids >= 0).any())):
        return Result(ids, value, tuple(ids.shape))
    dims = [batch_dim, *range(ids.ndim)]
    for dim in dims:
        if -ids.ndim <= dim < ids.ndim and ids.shape[dim] == 2:
            mine, theirs = ids.select(dim, 0), ids.select(dim, 1)
            if not bool((mine == OTHER_SAMPLE).any()) and not bool((theirs >= 0).any()):
                return Result(mine, value.select(dim, 0), tuple(mine.shape))
    if not bool(foreign.any()):
        return Result(ids, value, tuple(ids.shape))
    raise UnsupportedOperationError(
        f"expected results with one entry per sample along a dimension, got a result of shape {tuple(ids.shape)} for "
        "two copies of the sample in which they cannot be told apart; if the whole input is one sample pass "
        "batch_dim=None"
    )
