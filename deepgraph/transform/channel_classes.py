"""Which elements of a result are one channel: classes by what they read. Arrays in, arrays out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deepgraph.transform.traced import Array

__all__ = ["Classes", "by_set", "by_tuple", "join", "members", "single_source", "unique_pairs"]


@dataclass(frozen=True)
class Classes:
    """A partition of n elements.

    Parameters
    ----------
    of : np.ndarray, shape (n,), int64
        Class of each element; classes are numbered in order of their first element.
    first : np.ndarray, shape (C,), int64
        First element of each class.
    """

    of: Array
    first: Array

    @property
    def count(self) -> int:
        """Number of classes, C."""
        return len(self.first)

    @classmethod
    def of_keys(cls, key: Array) -> Classes:
        """Return the classes of elements with equal keys (n,).

        Examples
        --------
        >>> Classes.of_keys(np.array([7, 3, 7])).of.tolist()
        [0, 1, 0]
        """
        _, first, inverse = np.unique(key, return_index=True, return_inverse=True)
        order = np.argsort(first)
        rank = np.empty(len(first), dtype=np.int64)
        rank[order] = np.arange(len(first))
        return cls(rank[inverse.reshape(-1)], first[order])


def by_tuple(columns: Sequence[Array], num_nodes: int) -> Classes:
    """Return the classes of elements that read the same node in every term.

    Constants do not tell classes apart: of two terms an element that reads b and a constant belongs to those that read
    a and b, if they read the same a.

    Parameters
    ----------
    columns : sequence of np.ndarray, shape (n,), int64
        Ids read in each term, negative for constants.
    num_nodes : int
        Larger than every id.

    Examples
    --------
    >>> by_tuple([np.array([1, -1, 2, -1]), np.array([5, 5, 6, 7])], 10).of.tolist()
    [0, 0, 1, 2]
    """
    if len(columns) == 2:
        a, b = _completed(columns[0], columns[1], num_nodes)
        columns = [*_completed(b, a, num_nodes)][::-1]
    key = np.zeros(len(columns[0]), dtype=np.int64)
    for number, column in enumerate(columns):
        if number > 1:
            # Two ids fit into 64 bits side by side, more do not.
            key = np.unique(key, return_inverse=True)[1].reshape(-1)
        key = key * (num_nodes + 1) + np.maximum(column, -1) + 1
    return Classes.of_keys(key)


def _completed(a: Array, b: Array, num_nodes: int) -> tuple[Array, Array]:
    """Return (a, b) with a filled in where it is constant and all others with the same b read the same a."""
    if (a >= 0).all() or (a < 0).all():
        return a, b
    least = np.full(num_nodes, num_nodes, dtype=np.int64)
    most = np.full(num_nodes, -1, dtype=np.int64)
    both = (a >= 0) & (b >= 0)
    np.minimum.at(least, b[both], a[both])
    np.maximum.at(most, b[both], a[both])
    partner = np.where(least == most, most, -1)
    open_ = (a < 0) & (b >= 0)
    filled = a.copy()
    filled[open_] = partner[b[open_]]
    return filled, b


def by_set(rows: Array) -> Classes:
    """Return the classes of rows that read the same set of nodes.

    Parameters
    ----------
    rows : np.ndarray, shape (n, K), int64
        Ids read by each row, negative for constants.

    Examples
    --------
    >>> by_set(np.array([[3, 4, 4], [4, -1, 3], [3, 3, 3]])).of.tolist()
    [0, 0, 1]
    """
    if rows.shape[1] == 0:
        return Classes.of_keys(np.zeros(len(rows), dtype=np.int64))
    most = rows.max(axis=1)
    if ((rows == most[:, None]) | (rows < 0)).all():
        return Classes.of_keys(np.maximum(most, -1))
    ordered = np.sort(rows, axis=1)
    counts = ordered >= 0
    counts[:, 1:] &= ordered[:, 1:] != ordered[:, :-1]
    # A set is known by the sum of 64 mixed bits per member: two sets among 10^6 meet once in 10^7 runs.
    return Classes.of_keys(np.where(counts, _mixed(ordered), np.uint64(0)).sum(axis=1, dtype=np.uint64))


def _mixed(ids: Array) -> Array:
    # The finaliser of splitmix64 (Steele, Lea, Flood 2014).
    with np.errstate(over="ignore"):
        z = ids.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: Array = z ^ (z >> np.uint64(31))
    return mixed


def single_source(rows: Array) -> Array | None:
    """Return the one node (R,) that each row reads, None if a row reads several or none.

    Parameters
    ----------
    rows : np.ndarray, shape (R, K), int64
        Ids, negative for constants.

    Examples
    --------
    >>> single_source(np.array([[4, -1], [5, 5]])).tolist()
    [4, 5]
    """
    if 0 in rows.shape:
        return None
    most: Array = rows.max(axis=1)
    one = ((rows == most[:, None]) | (rows < 0)).all() and (most >= 0).all()
    return most if one else None


def unique_pairs(a: Array, b: Array) -> tuple[Array, Array, Array]:
    """Return the different pairs (a, b), sorted, and which of them each given pair is.

    Parameters
    ----------
    a, b : np.ndarray, shape (n,), int
        0 or more.

    Examples
    --------
    >>> unique_pairs(np.array([2, 1, 2]), np.array([0, 0, 0]))
    (array([1, 2]), array([0, 0]), array([1, 0, 1]))
    """
    width = int(b.max(initial=0)) + 1
    key, inverse = np.unique(a.astype(np.int64) * width + b, return_inverse=True)
    first, second = np.divmod(key, width)
    return first, second, inverse.reshape(-1)


def members(rows: Array) -> tuple[Array, Array]:
    """Return the pairs (row, node) of rows (n, K) and the nodes that they read, sorted, each once.

    Examples
    --------
    >>> members(np.array([[3, 3], [-1, 2]]))
    (array([0, 1]), array([3, 2]))
    """
    row, place = (rows >= 0).nonzero()
    a, b, _ = unique_pairs(row, rows[row, place])
    return a, b


def join(keys: Array, group: Array, value: Array) -> tuple[Array, Array]:
    """Return all pairs (index into keys, value) where the value's group is the key.

    Parameters
    ----------
    keys : np.ndarray, shape (n,), int64
        Groups that are asked for.
    group, value : np.ndarray, shape (m,), int64
        Values by group, sorted by group.

    Examples
    --------
    >>> join(np.array([1, 0, 1]), np.array([0, 1, 1]), np.array([7, 8, 9]))
    (array([0, 0, 1, 2, 2]), array([8, 9, 7, 8, 9]))
    """
    begin, end = np.searchsorted(group, keys, side="left"), np.searchsorted(group, keys, side="right")
    count = end - begin
    index = np.repeat(np.arange(len(keys)), count)
    within = np.arange(len(index)) - np.repeat(np.cumsum(count) - count, count)
    return index, value[begin[index] + within]
