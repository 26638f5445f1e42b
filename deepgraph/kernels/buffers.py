"""`Buffers`: memory for intermediate results that is used again as soon as nobody holds it."""

from __future__ import annotations

import contextlib
import math
import mmap
import sys
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

__all__ = ["Buffers"]

_ALIGNMENT = 64
_LARGE_PAGE = 2**21
_SMALL = 2**12
# One entry, one loop variable and the argument of getrefcount: nobody else holds the block.
_FREE = 3


class Buffers:
    """Hands out arrays; the memory of those that nobody holds any more serves the next request of about its size.

    A network asks for the same few arrays at every step. Memory that stays mapped, and in the caches, saves the
    operating system's work of handing out zeroed pages.

    Parameters
    ----------
    blocks : int
        Most blocks to keep; further ones are ordinary arrays.

    Examples
    --------
    >>> buffers = Buffers()
    >>> first, second = buffers.array((2, 3), np.float32), buffers.array((2, 3), np.float32)
    >>> address = first.ctypes.data
    >>> second.ctypes.data == address
    False
    >>> del first
    >>> buffers.array((3, 2), np.float32).ctypes.data == address
    True
    """

    def __init__(self, blocks: int = 6) -> None:
        self._most, self._lock = blocks, Lock()
        self._blocks: list[tuple[NDArray[np.uint8], int, int]] = []

    def __reduce__(self) -> tuple[Any, ...]:
        # A copy has memory of its own.
        return Buffers, (self._most,)

    def array(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Return an array of any content that begins at a multiple of 64 bytes.

        Parameters
        ----------
        shape : tuple of int
        dtype : numpy dtype
        """
        number = np.dtype(dtype)
        size = math.prod(shape) * number.itemsize
        with self._lock:
            block, begin = self._block(size + _ALIGNMENT)
            return np.ndarray(shape, number, block, begin)

    def _block(self, size: int) -> tuple[NDArray[np.uint8], int]:
        """Return memory, and where in it a multiple of the alignment is."""
        for block, room, begin in self._blocks:
            # A block of much more than is asked for waits for those who need it.
            if size <= room <= 2 * size + _SMALL and sys.getrefcount(block) == _FREE:
                return block, begin
        block = _memory(size)
        begin = -block.ctypes.data % _ALIGNMENT
        self._blocks = [(block, block.nbytes, begin), *self._blocks[: self._most - 1]]
        return block, begin


def _memory(size: int) -> NDArray[np.uint8]:
    """Return `size` bytes or a few more, on large pages where the system has them and they are worth it."""
    advice = getattr(mmap, "MADV_HUGEPAGE", None)
    # A page of which more than a quarter would lie idle stays small pages.
    pages = (size + _LARGE_PAGE // 4) // _LARGE_PAGE
    if pages == 0 or advice is None:
        return np.empty(size, np.uint8)
    # Room to begin at a multiple of the page size; what is not touched takes no memory.
    mapped = mmap.mmap(-1, max(size, pages * _LARGE_PAGE) + _LARGE_PAGE)
    begin = -np.frombuffer(mapped, np.uint8).ctypes.data % _LARGE_PAGE
    with contextlib.suppress(OSError):
        mapped.madvise(advice, begin, pages * _LARGE_PAGE)
    return np.frombuffer(mapped, np.uint8, size, begin)
