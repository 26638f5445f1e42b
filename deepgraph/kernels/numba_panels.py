"""The loops of NumbaWalk for dense enough layers: a panel of rows stays in the first cache while all nodes use it.

A node's sum is put down and taken up again between panels, in the same order of additions: results are those of the
plain loops, bit by bit. Importing this file imports numba and compiles nothing.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from deepgraph.kernels.numba_compile import compiled
from deepgraph.kernels.numba_loops import (
    LEAKY,
    PRELU,
    activate_node,
    bend_back,
    bend_node,
    load_columns,
    pull_back,
    store_columns,
    values_of,
)
from deepgraph.kernels.vector import row_backward, row_continue, row_weight_gradient
from deepgraph.kernels.vector_functions import row_total

__all__ = ["backward_panels", "forward_panels"]


@cache
def forward_panels(tile: int) -> Any:
    """Return the compiled forward loop for tiles of `tile` columns; its arguments are those of `forward_walk`.

    `table` is (starts (S + 1,) of the stages, panels (S,) of each, pointers (N, P + 1) into the edges of each node).
    """

    def walk(
        x: Any, saved: Any, y: Any, nodes: Any, table: Any, step: Any, w: Any, bias: Any, inputs: Any, outputs: Any,
        first: int, last: int,
    ) -> None:  # fmt: skip
        """Fill tiles first:last of `saved` (tiles, N + K, tile) and the rows of y (B, O) that they hold."""
        bias_index, mode, kept, _, slope, _ = nodes
        starts, panels, pointers = table
        count, spare = bias_index.shape[0], saved.shape[1] - 2
        for number in range(first, last):
            block = saved[number]
            block[spare:] = 0
            for rank in range(count):
                if bias_index[rank] >= 0:
                    block[rank] = bias[bias_index[rank]]
            load_columns(x, block, inputs, number * tile, True)
            for stage in range(panels.shape[0]):
                for panel in range(panels[stage]):
                    done = panel + 1 == panels[stage]
                    for rank in range(starts[stage], starts[stage + 1]):
                        if bias_index[rank] < 0:
                            continue
                        code = mode[rank] if done else 0
                        start, stop = pointers[rank, panel], pointers[rank, panel + 1]
                        row_continue(tile, block, rank, step, w, start, stop, code)
                        if code == PRELU:
                            bend_node(block, rank, count + kept[rank], bias[slope[rank]])
                        elif code > LEAKY:
                            activate_node(block, rank, count, kept[rank], code)
            store_columns(y, block, outputs, number * tile)

    return compiled(walk)


@cache
def backward_panels(tile: int) -> Any:
    """Return the compiled backward loop for tiles of `tile` columns; its arguments are those of `backward_walk`."""

    def walk(
        dy: Any, saved: Any, dz: Any, dx: Any, nodes: Any, table: Any, step: Any, w: Any, dw: Any, db: Any,
        inputs: Any, outputs: Any, is_seeded: Any, first: int, last: int, need_dx: bool,
    ) -> None:  # fmt: skip
        """Fill tiles first:last of dz (tiles, N + 3, tile) and their rows of dx (B, I), and dw (E,) and db (C,).

        Where dz has fewer tiles, later ones replace earlier ones.
        """
        bias_index, mode, kept, _, slope, slopes = nodes
        starts, panels, pointers = table
        count = bias_index.shape[0]
        if first == last:
            dw[:] = 0
        db[:] = 0
        for number in range(first, last):
            block, gradient, fresh = saved[number], dz[number % dz.shape[0]], number == first
            gradient[count:] = 0
            load_columns(dy, gradient, outputs, number * tile, False)
            for stage in range(panels.shape[0] - 1, -1, -1):
                for panel in range(panels[stage]):
                    done = panel + 1 == panels[stage]
                    for rank in range(starts[stage], starts[stage + 1]):
                        node, code = bias_index[rank], mode[rank] if done else 0
                        start, stop = pointers[rank, panel], pointers[rank, panel + 1]
                        if node < 0 and not need_dx:
                            row_weight_gradient(tile, block, gradient, rank, step, dw, start, stop, fresh)
                            continue
                        seed = gradient[rank] if panel > 0 or is_seeded[rank] else gradient[count]
                        values = values_of(w, rank, block)
                        total = row_backward(
                            tile, block, gradient, rank, seed, step, values, dw, start, stop, code, fresh
                        )  # fmt: skip
                        if code == PRELU:
                            own, known = slopes[slope[rank]], block[count + kept[rank]]
                            db[slope[rank]] += bend_back(gradient[rank], known, gradient[count + 1], own)
                            total = row_total(gradient[rank])
                        elif code > LEAKY:
                            known = block[count + kept[rank]] if kept[rank] >= 0 else block[rank]
                            total = pull_back(gradient[rank], known, gradient[count + 1], gradient[count + 2], code)
                        if node >= 0 and done:
                            db[node] += total
            if need_dx:
                store_columns(dx, gradient, inputs, number * tile)

    return compiled(walk)
