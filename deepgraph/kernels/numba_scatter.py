"""The forward loop of NumbaWalk for few columns, by source: it reads the values of edges in order, without a copy.

A call takes microseconds, so what it is given comes as few arrays of addresses. Importing this file imports numba and
compiles nothing.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from deepgraph.kernels.numba_compile import compiled
from deepgraph.kernels.numba_loops import LEAKY, PRELU, activate_node, bend_node, load_columns, store_columns
from deepgraph.kernels.numba_memory import at_address, matrix_at_address
from deepgraph.kernels.vector import row_scatter

__all__ = ["scatter_walk"]


@cache
def scatter_walk(tile: int) -> Any:
    """Return the compiled forward loop by source for tiles of `tile` columns.

    Every node adds its output to the sums of its targets, when all that it sums itself has come.
    """

    def walk(
        index: Any, like: Any, step: Any, places: Any, x: int, y: int, batch: int, count: int, width: int, height: int,
        edges: int, saved: Any,
    ) -> None:  # fmt: skip
        """Fill all tiles of `saved` (tiles, N + K + 2, tile) and y (B, O) at an address, from x (B, I) at another.

        `index` (13,) holds the addresses of index arrays of the dtype of `like` (0,), in the order of their names
        below; `places` (2 P,) those where, for each of P tensors, value 0 of all would be, then the same for biases.
        `count`, `width`, `height` and `edges` are N, I, O and E.
        """
        tensors, spare = places.shape[0] // 2, saved.shape[1] - 2
        mode, kept = at_address(index[0], like, count), at_address(index[1], like, count)
        start, stop = at_address(index[2], like, count), at_address(index[3], like, count)
        part, bounds = at_address(index[4], like, count), at_address(index[5], like, tensors + 1)
        computed, straight = at_address(index[6], like, 2 * count), at_address(index[12], like, tensors)
        fresh, squares = at_address(index[8], like, width), at_address(index[9], like, width // 16 + 1)
        inputs = at_address(index[7], like, width), fresh, squares
        outputs = at_address(index[10], like, height), fresh, at_address(index[11], like, height // 16 + 1)
        columns, results = matrix_at_address(x, saved, batch, width), matrix_at_address(y, saved, batch, height)
        for number in range(saved.shape[0]):
            block = saved[number]
            block[spare:] = 0
            for k in range(tensors):
                bias = at_address(places[tensors + k], saved, 0)
                begin, end = bounds[k], bounds[k + 1]
                if straight[k]:
                    origin, here = np.uint64(begin), np.uint64(computed[begin] if begin < end else 0)
                    for i in range(np.uint64(end - begin)):
                        for t in range(tile):
                            block[here + i, t] = bias[origin + i]
                    continue
                for node in range(begin, end):
                    rank, value = computed[node], bias[node]
                    for t in range(tile):
                        block[rank, t] = value
            load_columns(columns, block, inputs, number * tile, True)
            # Unsigned, because numba would ask whether a signed index counts from the end.
            for rank in range(np.uint64(count)):
                code = mode[rank]
                if code == PRELU:
                    bend_node(block, rank, count + kept[rank], block[count + kept[rank], 0])
                elif code > LEAKY:
                    activate_node(block, rank, count, kept[rank], code)
                values = at_address(places[np.uint32(part[rank])], saved, edges)
                row_scatter(tile, block, rank, step, values, start[rank], stop[rank], code)
            store_columns(results, block, outputs, number * tile)

    return compiled(walk)
