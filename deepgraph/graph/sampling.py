"""Random numbers: where a generator comes from, and samples without replacement that need no array of all cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from deepgraph.errors import ArgumentError, CapacityError, ShapeError

if TYPE_CHECKING:
    import torch

__all__ = ["Edges", "IntArray", "Seed", "as_generator", "sample_cells"]

IntArray: TypeAlias = npt.NDArray[np.int64]
Edges: TypeAlias = tuple[IntArray, IntArray]
Seed: TypeAlias = "int | np.integer[Any] | np.random.Generator | torch.Generator | None"


def as_generator(seed: Seed = None) -> np.random.Generator:
    """Return the numpy generator that `seed` stands for.

    Parameters
    ----------
    seed : int, numpy.random.Generator, torch.Generator or None
        An int >= 0 starts a fresh generator, a numpy generator is returned as it is, a torch generator gives one draw
        that starts a fresh one. None takes one draw from numpy's global state, so that `np.random.seed` is obeyed.

    Raises
    ------
    ArgumentError
        When an int is negative or `seed` is of another type.

    Examples
    --------
    >>> int(as_generator(0).integers(100)) == int(as_generator(0).integers(100))
    True
    """
    if isinstance(seed, np.random.Generator):
        return seed
    if seed is None:
        return np.random.default_rng(int(np.random.randint(0, 2**63 - 1, dtype=np.int64)))
    if isinstance(seed, (int, np.integer)):
        if seed < 0:
            raise ArgumentError(f"seed must be an int >= 0, a generator or None; got {seed}")
        return np.random.default_rng(int(seed))
    if type(seed).__module__.partition(".")[0] == "torch":
        import torch

        if isinstance(seed, torch.Generator):
            draw = torch.randint(2**63 - 1, (1,), generator=seed, device=seed.device)
            return np.random.default_rng(int(draw))
    raise ArgumentError(f"seed must be an int >= 0, a numpy or torch Generator, or None; got {type(seed).__name__}")


def _without_copies(values: IntArray) -> IntArray:
    """Return the distinct values, sorted. numpy's own `unique` hashes int64, which is several times slower here."""
    values = np.sort(values)
    return values[np.concatenate([[True], values[1:] != values[:-1]])] if values.size else values


def _draw_distinct(rng: np.random.Generator, size: IntArray, start: IntArray, count: IntArray) -> IntArray:
    """Return `count[b]` distinct keys of `start[b] + [0, size[b])` for each block b, sorted, (sum of count,) int64.

    Draws with replacement and draws again exactly as many as were doubles, never more: the set is that of "draw until
    `count[b]` differ", which is uniform. Meant for count <= size / 2, where every pass at least halves what is missing.
    """
    keys = np.empty(0, dtype=np.int64)
    missing = count
    while missing.any():
        block = np.repeat(np.arange(size.size), missing)
        high: Any = size[0] if size.size == 1 else size[block]
        fresh = _without_copies(start[block] + rng.integers(0, high, size=block.size))
        if keys.size:
            at = np.minimum(np.searchsorted(keys, fresh), keys.size - 1)
            fresh = fresh[keys[at] != fresh]
        keys = np.sort(np.concatenate([keys, fresh]), kind="stable")
        missing = missing - np.bincount(np.searchsorted(start, fresh, side="right") - 1, minlength=size.size)
    return keys


def sample_cells(size: npt.ArrayLike, count: npt.ArrayLike, seed: Seed = None) -> Edges:
    """Return `(block, cell)` of a uniform sample without replacement from each of B blocks at once.

    Parameters
    ----------
    size : (B,) int
        Number of cells of each block; their sum stays below 2^63, and no array of that length is ever made.
    count : (B,) int
        Number of cells to take from each, 0 <= count <= size.
    seed : int, Generator or None

    Returns
    -------
    block : (S,) int64
        S = sum of `count`; ascending.
    cell : (S,) int64
        In [0, size[block]); ascending inside a block.

    Raises
    ------
    ShapeError
        When `size` and `count` differ in shape.
    CapacityError
        When a count is negative or above its size.

    Notes
    -----
    Expected O(S log S). A block of which more than half is wanted is sampled by what is left out.

    Examples
    --------
    >>> block, cell = sample_cells([4, 10**12], [4, 2], seed=0)
    >>> block.tolist(), cell[:4].tolist()
    ([0, 0, 0, 0, 1, 1], [0, 1, 2, 3])
    """
    size, count = (np.atleast_1d(np.asarray(values, dtype=np.int64)) for values in (size, count))
    if size.shape != count.shape or size.ndim != 1:
        raise ShapeError(f"size and count must be (B,) arrays of one length; got {size.shape} and {count.shape}")
    if bool(np.any((count < 0) | (count > size))):
        bad = int(np.flatnonzero((count < 0) | (count > size))[0])
        raise CapacityError(
            f"block {bad} has {size[bad]} cells, of which {count[bad]} cannot be taken; ask for 0 to {size[bad]}"
        )
    rng = as_generator(seed)
    start = np.cumsum(size) - size
    # Blocks without cells share their start with the next block: only non-empty ones may be looked up by key.
    some = np.flatnonzero(size > 0)
    size, count, start = size[some], count[some], start[some]
    crowded = 2 * count > size
    keys = _draw_distinct(rng, size, start, np.where(crowded, size - count, count))
    if crowded.any():
        inside = crowded[np.searchsorted(start, keys, side="right") - 1]
        cells = size[crowded]
        every = np.repeat(start[crowded] - (np.cumsum(cells) - cells), cells) + np.arange(cells.sum())
        left_out = np.zeros(every.size, dtype=bool)
        left_out[np.searchsorted(every, keys[inside])] = True
        keys = np.sort(np.concatenate([keys[~inside], every[~left_out]]), kind="stable")
    block = np.searchsorted(start, keys, side="right") - 1
    return some[block], keys - start[block]
