"""Signs of pairs that are fixed, random and never stored: a hash of seed, edge set and pair."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from deepgraph.graph.arrays import Array

__all__ = ["pair_signs"]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def _mixed(words: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Return the words after the output function of splitmix64 (Steele, Lea, Flood 2014)."""
    words = words + _GOLDEN
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def pair_signs(seed: int, index: int, src: Array, dst: Array) -> npt.NDArray[np.int8]:
    """Return for each pair (K,) a sign, +1 or -1, that depends on nothing but the arguments.

    Parameters
    ----------
    seed : int
        In [0, 2**63).
    index : int
        Number of the edge set in its model, >= 0.
    src, dst : (K,) int
        Pairs, each below 2**31.

    Raises
    ------
    ValueError
        From numpy, if `src` and `dst` cannot be broadcast together.

    Examples
    --------
    >>> pair_signs(0, 0, np.arange(6), np.full(6, 7)).tolist()
    [-1, -1, -1, 1, -1, -1]
    """
    # Arrays of one element rather than scalars: unsigned arrays wrap around silently, scalars warn.
    word = _mixed(_mixed(np.array([seed], np.uint64)) ^ np.array([index], np.uint64))
    pairs = (np.asarray(src).astype(np.uint64) << np.uint64(32)) | np.asarray(dst).astype(np.uint64)
    bits = _mixed(_mixed(pairs) ^ word) >> np.uint64(63)
    return np.where(bits == 0, 1, -1).astype(np.int8)
