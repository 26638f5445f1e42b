"""Dense products whose bytes do not depend on the number of threads.

A BLAS library shares the rows of a product among its threads, and the last bits of a row depend on its place in a
share. Here the rows are cut into blocks that look at the shape only; each block is computed by one thread.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache

import torch
from torch import Tensor

__all__ = ["add_product", "product", "single_thread"]

_BLOCKS = 4
_NARROWEST = 64
# Below this many multiply-adds handing blocks to threads costs more than it saves.
_THREAD_WORK = 8_000_000


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, "deepgraph-products", initializer=torch.set_num_threads, initargs=(1,))


# A forked child has no threads: it makes its own.
os.register_at_fork(after_in_child=_pool.cache_clear)


@contextmanager
def single_thread() -> Iterator[None]:
    """Let torch use one thread in this block, so that its sums have one order."""
    threads = torch.get_num_threads()
    if threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _blocks(rows: int) -> list[slice]:
    height = max(_NARROWEST, -(-rows // (_BLOCKS * 16)) * 16)
    return [slice(begin, min(begin + height, rows)) for begin in range(0, rows, height)]


def add_product(out: Tensor, a: Tensor, b: Tensor, beta: float = 1.0) -> Tensor:
    """Return `out` (M, N) after it became beta * out + a (M, K) @ b (K, N), whatever the number of threads.

    Parameters
    ----------
    out, a, b : Tensor
        Of one dtype and device.
    beta : float
        0 ignores what `out` holds.

    Raises
    ------
    RuntimeError
        torch's, if shapes or dtypes do not fit.

    Examples
    --------
    >>> add_product(torch.ones(1, 1), torch.tensor([[2.0, 3.0]]), torch.ones(2, 1))
    tensor([[6.]])
    """
    if out.device.type != "cpu":
        return out.addmm_(a, b, beta=beta)

    @torch.no_grad()
    def compute(block: slice) -> None:
        # Whether gradients are recorded is a setting of each thread, hence the decorator.
        out[block].addmm_(a[block], b, beta=beta)

    blocks, threads = _blocks(out.shape[0]), torch.get_num_threads()
    with single_thread():
        if threads > 1 and len(blocks) > 1 and a.numel() * b.shape[1] >= _THREAD_WORK:
            for _ in _pool(threads).map(compute, blocks):
                pass
        else:
            for block in blocks:
                compute(block)
    return out


def product(a: Tensor, b: Tensor) -> Tensor:
    """Return a (M, K) @ b (K, N), whatever the number of threads.

    Examples
    --------
    >>> product(torch.tensor([[2.0, 3.0]]), torch.ones(2, 1))
    tensor([[5.]])
    """
    return add_product(a.new_empty(a.shape[0], b.shape[1]), a, b, beta=0.0)
