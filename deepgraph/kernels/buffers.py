"""`Buffers`: memory for intermediate results that is used again as soon as nobody holds it."""

from __future__ import annotations

import math
import sys
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

__all__ = ["Buffers"]

_ALIGNMENT = 64
# One list entry, one loop variable and the argument of getrefcount: nobody else holds the block.
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
    >>> first = buffers.array((2, 3), np.float32)
    >>> address = first.ctypes.data
    >>> buffers.array((2, 3), np.float32).ctypes.data == address
    False
    >>> del first
    >>> buffers.array((3, 2), np.float32).ctypes.data == address
    True
    """

    def __init__(self, blocks: int = 6) -> None:
        self._most, self._blocks, self._lock = blocks, list[NDArray[np.uint8]](), Lock()

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
            block = self._block(size + _ALIGNMENT)
            begin = -block.ctypes.data % _ALIGNMENT
            return block[begin : begin + size].view(number).reshape(shape)

    def _block(self, size: int) -> NDArray[np.uint8]:
        for block in self._blocks:
            # A block of much more than is asked for waits for those who need it.
            if size <= block.nbytes <= 2 * size and sys.getrefcount(block) == _FREE:
                return block
        block = np.empty(size, np.uint8)
        self._blocks = [block, *(kept for kept in self._blocks[: self._most - 1])]
        return block
