"""Degree-preserving swaps inside blocks of edges: one chain, compiled or in Python; rounds of disjoint proposals."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from deepgraph.graph.sampling import IntArray

__all__ = ["compiled_swaps", "swap_in_order", "swap_rounds"]

# Attempts whose draws `swap_in_order` makes at once.
_AT_ONCE = 1 << 16


def _swap_kernel(
    source: IntArray, target: IntArray, start: IntArray, attempts: IntArray, num_nodes: int, state: np.uint64
) -> None:
    """Swap targets in place, block after block; the edges u * num_nodes + v of a block live in a hash set.

    Compiled by numba as one function without closures, so that its disk cache is found again by the next process.
    Linear probing at a load of at most 1/2; a removal shifts what follows back, so no tombstones gather.
    """
    for b in range(attempts.size):
        low, count = start[b], start[b + 1] - start[b]
        if attempts[b] == 0:
            continue
        bits = 2
        while (1 << bits) < 2 * count:
            bits += 1
        mask, shift = (1 << bits) - 1, np.uint64(64 - bits)
        table = np.full(1 << bits, -1, dtype=np.int64)
        for e in range(low, low + count):
            key = source[e] * num_nodes + target[e]
            slot = np.int64((np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)) >> shift)
            while table[slot] != -1:
                slot = (slot + 1) & mask
            table[slot] = key
        for _ in range(attempts[b]):
            # Two draws of SplitMix64 (Steele, Lea, Flood 2014); the bias of the remainder is below count / 2^64.
            state += np.uint64(0x9E3779B97F4A7C15)
            word = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            i = low + np.int64((word ^ (word >> np.uint64(31))) % np.uint64(count))
            state += np.uint64(0x9E3779B97F4A7C15)
            word = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            j = low + np.int64((word ^ (word >> np.uint64(31))) % np.uint64(count))
            u, v, x, y = source[i], target[i], source[j], target[j]
            if u == x or v == y:
                continue
            taken = False
            for key in (u * num_nodes + y, x * num_nodes + v):
                slot = np.int64((np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)) >> shift)
                while table[slot] != -1 and table[slot] != key:
                    slot = (slot + 1) & mask
                taken = taken or table[slot] == key
            if taken:
                continue
            for key in (u * num_nodes + v, x * num_nodes + y):
                hole = np.int64((np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)) >> shift)
                while table[hole] != key:
                    hole = (hole + 1) & mask
                slot = (hole + 1) & mask
                while table[slot] != -1:
                    home = np.int64((np.uint64(table[slot]) * np.uint64(0x9E3779B97F4A7C15)) >> shift)
                    if ((slot - home) & mask) >= ((slot - hole) & mask):
                        table[hole] = table[slot]
                        hole = slot
                    slot = (slot + 1) & mask
                table[hole] = -1
            for key in (u * num_nodes + y, x * num_nodes + v):
                slot = np.int64((np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)) >> shift)
                while table[slot] != -1:
                    slot = (slot + 1) & mask
                table[slot] = key
            target[i], target[j] = y, v


@functools.cache
def compiled_swaps() -> Callable[..., None] | None:
    """Return the numba version of `_swap_kernel`, or None without numba."""
    try:
        import numba
    except ImportError:
        return None
    compiled: Callable[..., None]
    try:
        compiled = numba.njit(nogil=True, cache=True)(_swap_kernel)
    except RuntimeError:
        # No directory for the cache can be written: compile anew in every process.
        compiled = numba.njit(nogil=True)(_swap_kernel)
    return compiled


def swap_in_order(
    source: IntArray, target: IntArray, start: IntArray, attempts: IntArray, num_nodes: int, state: np.uint64
) -> None:
    """Swap targets in place exactly as `_swap_kernel` does, without numba: one attempt after the other in Python."""
    used = 0
    for b in np.flatnonzero(attempts).tolist():
        block = slice(int(start[b]), int(start[b + 1]))
        rows, columns = (source[block] * num_nodes).tolist(), target[block].tolist()
        present = {row + column for row, column in zip(rows, columns, strict=True)}
        for first in range(0, int(attempts[b]), _AT_ONCE):
            number = min(int(attempts[b]) - first, _AT_ONCE)
            drawn = (_split_mix(state, used, 2 * number) % np.uint64(len(rows))).tolist()
            used += 2 * number
            for i, j in zip(drawn[::2], drawn[1::2], strict=True):
                u, v, x, y = rows[i], columns[i], rows[j], columns[j]
                if u == x or v == y or u + y in present or x + v in present:
                    continue
                present.difference_update((u + v, x + y))
                present.update((u + y, x + v))
                columns[i], columns[j] = y, v
        target[block] = columns


def _split_mix(state: np.uint64, first: int, count: int) -> npt.NDArray[np.uint64]:
    """Return draws `first` to `first + count` (count,) of SplitMix64 (Steele, Lea, Flood 2014) from a state."""
    word = np.arange(first + 1, first + count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) + state
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return word ^ (word >> np.uint64(31))


def swap_rounds(
    rng: np.random.Generator,
    source: IntArray,
    target: IntArray,
    start: IntArray,
    attempts: IntArray,
    capacity: IntArray,
) -> None:
    """Swap targets in place by rounds of disjoint proposals over all blocks at once.

    A round pairs the edges of each block at random. A pair swaps when each of its two present and two proposed keys
    occurs once among all present and all proposed keys. Swapping exchanges the two roles and leaves those keys as they
    were, so the way back is taken with the same probability: the chain is symmetric and its limit uniform. Some pairs
    hold still: one in `count`, or two edges would swap every time, and more in dense blocks, where proposals collide.
    As many rounds are made as give the attempts asked for after the expected collisions.
    """
    count = np.diff(start)
    moving = np.minimum(1 - 1 / np.maximum(count, 2), capacity / (4 * count))
    proposals = count / 2 * moving * np.exp(-4 * moving * count / capacity)
    rounds = np.where(attempts > 0, np.ceil(attempts / proposals), 0).astype(np.int64)
    block = np.repeat(np.arange(count.size), count)
    num_nodes = int(max(source.max(), target.max())) + 1
    live = np.flatnonzero(rounds[block] > 0)
    for turn in range(int(rounds.max())):
        live = live[rounds[block[live]] > turn]
        shuffled = live[np.argsort((block[live] << 32) | rng.integers(0, 1 << 32, size=live.size))]
        owner = block[shuffled]
        even = (np.arange(live.size) - np.searchsorted(owner, owner)) % 2 == 0
        first = np.flatnonzero(even[:-1] & (owner[:-1] == owner[1:]))
        first = first[rng.random(first.size) < moving[owner[first]]]
        i, j = shuffled[first], shuffled[first + 1]
        present = source[shuffled] * num_nodes + target[shuffled]
        proposed = np.concatenate([source[i] * num_nodes + target[j], source[j] * num_nodes + target[i]])
        keys = np.concatenate([present, proposed])
        order = np.argsort(keys)
        twice = np.flatnonzero(np.diff(keys[order]) == 0)
        clash = np.zeros(keys.size, dtype=bool)
        clash[order[twice]] = clash[order[twice + 1]] = True
        ahead, behind = np.split(clash[live.size :], 2)
        free = ~(clash[first] | clash[first + 1] | ahead | behind)
        i, j = i[free], j[free]
        target[i], target[j] = target[j], target[i]
