"""What rules hand to the makers of nodes: summands, blocks of a product, and which elements are the sample's."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from deepgraph.transform.provenance import CONSTANT, DERIVED, OTHER_SAMPLE
from deepgraph.transform.rules import Call
from deepgraph.transform.support import Matrix

__all__ = ["Block", "Term", "flat", "owners", "row_codes", "sample_shape", "short_name", "size"]


@dataclass(frozen=True)
class Term:
    """One summand of an elementwise sum: factor * value.

    Parameters
    ----------
    value : torch.Tensor
        Elements that may depend on the input; broadcastable to the result.
    factor : torch.Tensor or float
        Broadcastable to the result. Elements where it is 0 are no edges.
    ids : torch.Tensor, int64, optional
        Ids of the elements, where they are not those of `value`.
    """

    value: Tensor
    factor: Tensor | float = 1.0
    ids: Tensor | None = None


@dataclass(frozen=True)
class Block:
    """Rows of elements times a constant matrix: columns of one product.

    Parameters
    ----------
    ids : torch.Tensor, shape (R, K), int64
        Ids of the elements.
    value : torch.Tensor, shape (R, K)
        Their values, read where an element is constant.
    matrix : Matrix
        K x M entries.
    """

    ids: Tensor
    value: Tensor
    matrix: Matrix


def owners(call: Call, ids: Tensor) -> tuple[Tensor, Tensor]:
    """Return which rows of ids (R, K) belong to the sample, shape (R,) bool, and the codes of the other rows, (R,)."""
    return (ids >= 0).any(1), row_codes(call, (ids,))


def row_codes(call: Call, parts: tuple[Tensor, ...]) -> Tensor:
    """Return what is read from rows without nodes: the code of another sample, of a choice by value, or of constants.

    Parameters
    ----------
    call : Call
        The operation; it is an error if it mixes samples.
    parts : tuple of torch.Tensor, each (..., K), int64
        Ids of the elements of the rows; a row is made of all parts, broadcast against each other.
    """
    own, other, derived = (
        sum(found.any(-1) for found in tests)
        for tests in zip(*((ids >= 0, ids == OTHER_SAMPLE, ids == DERIVED) for ids in parts), strict=True)
    )
    if bool((own * other).any()):
        raise call.tracer.mixes(call)
    if bool((derived * own).any()):
        call.tracer.input_dependent = True
    return torch.where(other > 0, OTHER_SAMPLE, torch.where(derived > 0, DERIVED, CONSTANT))


def flat(value: Tensor | float, shape: tuple[int, ...], where: Tensor) -> Tensor:
    """Return the chosen elements of a value that is broadcast to a shape and flattened, float64.

    Parameters
    ----------
    value : torch.Tensor or float
        Broadcastable to `shape`.
    shape : tuple of int
        The shape.
    where : torch.Tensor, int64
        Flat indices.
    """
    tensor = value if isinstance(value, Tensor) else torch.tensor(value, dtype=torch.float64)
    return tensor.double().cpu().expand(shape).reshape(-1)[where]


def size(shape: tuple[int, ...]) -> int:
    """Return the number of elements of a shape.

    Examples
    --------
    >>> size((2, 3))
    6
    """
    return int(np.prod(shape, dtype=np.int64))


def sample_shape(call: Call, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of one sample's part of a result, in which flat indices of its elements stay what they are.

    Parameters
    ----------
    call : Call
        The operation; its own result is taken where it has as many elements.
    shape : tuple of int
        Of the ids of a result.
    """
    results = call.result if isinstance(call.result, list | tuple) else [call.result]
    for result in results:
        if isinstance(result, Tensor) and result.numel() == size(shape):
            shape = tuple(result.shape)
            break
    if call.tracer.settings.batch_dim != 0 or not shape or shape[0] % 2:
        return shape
    return shape[1:] if shape[0] == 2 else (shape[0] // 2, *shape[1:])


def short_name(call: Call) -> str:
    """Return the name of an operation as the activation of nodes that do what no sum does: "softmax"."""
    return call.name.partition("::")[2].strip("_")
