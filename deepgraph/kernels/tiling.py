"""How a batch is cut: tile width and groups of tiles, from a fixed table.

The table looks at the batch and the dtype only. Threads share out the groups but never change them, so the order of
every sum is the same whatever their number.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

__all__ = ["MAX_GROUPS", "Tiling", "narrow", "tile_width", "tiling"]

MAX_GROUPS = 8
"""Most groups of tiles, that is, most threads one network can use; each group has its own partial weight gradient."""

_COLUMNS = 64
"""Columns of a float32 tile: a neuron's sums fill a quarter of the vector registers, two tiles share a batch of 128."""


@dataclass(frozen=True)
class Tiling:
    """A batch cut into tiles of `tile` columns, and the tiles into groups `first:last` that are summed one by one.

    Parameters
    ----------
    tile : int
        Columns per tile, T.
    tiles : int
        Number of tiles; the last may be padded.
    groups : tuple of (int, int)
        Consecutive ranges of tiles.
    """

    tile: int
    tiles: int
    groups: tuple[tuple[int, int], ...]

    @property
    def single(self) -> bool:
        """Return whether each group is one tile, so that partial sums can be added up in place in the same order."""
        return len(self.groups) == self.tiles


def tile_width(batch: int, itemsize: int) -> int:
    """Return the number of columns of a tile.

    Parameters
    ----------
    batch : int
        Rows of x.
    itemsize : int
        Bytes of one value, 4 or 8; a tile of float64 has half as many columns.

    Examples
    --------
    >>> tile_width(128, 4), tile_width(128, 8), tile_width(20, 4), tile_width(3, 4), tile_width(1, 4)
    (64, 32, 32, 4, 1)
    """
    if batch == 1:
        return 1
    columns = _COLUMNS
    while columns > 4 and columns * 4 >= 2 * batch * itemsize:
        columns //= 2
    return columns * 4 // itemsize


def narrow(tile: int, itemsize: int) -> bool:
    """Return whether a row of a tile fits one vector of 64 bytes.

    Examples
    --------
    >>> narrow(16, 4), narrow(16, 8)
    (True, False)
    """
    return tile * itemsize <= 64


@lru_cache(maxsize=256)
def tiling(batch: int, itemsize: int) -> Tiling:
    """Return how a batch is cut; see `tile_width` for the parameters.

    Examples
    --------
    >>> tiling(200, 4)
    Tiling(tile=64, tiles=4, groups=((0, 1), (1, 2), (2, 3), (3, 4)))
    """
    tile = tile_width(batch, itemsize)
    tiles = -(-batch // tile)
    count = min(tiles, MAX_GROUPS)
    bounds = [tiles * group // max(count, 1) for group in range(count + 1)]
    return Tiling(tile, tiles, tuple(pairwise(bounds)))
