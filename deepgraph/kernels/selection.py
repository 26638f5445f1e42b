"""The k largest of many scores without sorting them: a sample says where to look, one pass looks there."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from deepgraph.kernels.plan import has_numba

__all__ = ["highest", "largest"]

Int64 = NDArray[np.int64]
Floats = NDArray[np.float64]

_SAMPLE = 1 << 14
"""Scores that are looked at for a first guess of the limit."""


def largest(scores: Tensor, k: int, threshold: float = 0.0) -> tuple[Int64, Floats]:
    """Return the places, ascending, and values of all scores >= `threshold` that are no lower than the k-th highest.

    Of scores that equal the k-th highest all are returned, so that the caller decides between them. NaN is never
    returned.

    Parameters
    ----------
    scores : (S,) Tensor
        float32 or float64, on any device.
    k : int
        At least 1.
    threshold : float

    Examples
    --------
    >>> import torch
    >>> largest(torch.tensor([3.0, 1.0, 5.0, 3.0, 2.0]), 2)
    (array([0, 2, 3]), array([3., 5., 3.]))
    """
    if scores.device.type != "cpu":
        if k < len(scores):
            threshold = max(threshold, float(scores.topk(k, sorted=False).values.min()))
        at = (scores >= threshold).nonzero().squeeze(1)
        return at.cpu().numpy(), scores[at].cpu().numpy().astype(np.float64)
    array = scores.numpy()
    places = _at_least(array, max(threshold, _guess(array, k)))
    if len(places) < min(k, len(array)):
        places = _at_least(array, threshold)
    found = array[places]
    if len(found) > k:
        stays = found >= np.partition(found, len(found) - k)[len(found) - k]
        places, found = places[stays], found[stays]
    return places, found.astype(np.float64)


def highest(scores: Floats, keys: Int64, k: int) -> Int64:
    """Return the rows (k,), ascending, of the highest scores (C,); of equal scores those of the lowest keys (C,).

    Examples
    --------
    >>> highest(np.array([1.0, 3.0, 3.0, 2.0]), np.array([0, 9, 4, 1]), 2).tolist()
    [1, 2]
    >>> highest(np.array([1.0, 3.0, 3.0, 2.0]), np.array([0, 9, 4, 1]), 1).tolist()
    [2]
    """
    if k >= len(scores):
        return np.arange(len(scores))
    if k <= 0:
        return np.empty(0, np.int64)
    limit = np.partition(scores, len(scores) - k)[len(scores) - k]
    chosen = scores > limit
    ties = np.flatnonzero(scores == limit)
    chosen[ties[np.argsort(keys[ties], kind="stable")[: k - int(chosen.sum())]]] = True
    return np.flatnonzero(chosen)


def _guess(array: NDArray[Any], k: int) -> float:
    """Return a number that the k-th highest score reaches almost surely, from every so-manieth score."""
    stride = len(array) // _SAMPLE
    if stride < 4 or 4 * k > len(array):
        return -math.inf
    # Odd, so that the sample does not stay in a few columns of a matrix.
    sample = array[:: stride | 1]
    expected = k * len(sample) / len(array)
    rank = int(expected + 5 * math.sqrt(expected) + 5)
    guess = float(np.partition(sample, len(sample) - rank)[len(sample) - rank])
    return guess if guess == guess else -math.inf


def _at_least(array: NDArray[Any], limit: float) -> Int64:
    """Return the places (K,), ascending, of the entries that are at least `limit`."""
    if not has_numba() or len(array) < 4 * _SAMPLE:
        return np.flatnonzero(array >= limit)
    from deepgraph.kernels.numba_selection import at_least

    places = np.empty(len(array), np.int64)
    return places[: at_least(array, array.dtype.type(limit), places)].copy()
