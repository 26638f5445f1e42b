"""Edges counted between groups of stages, and the drawing of these counts as bars, ribbons and arcs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from deepgraph.errors import ArgumentError
from deepgraph.plotting.layout import arcs, checked_graph, live_neurons, stage_ranks
from deepgraph.plotting.style import (
    FONT,
    INK,
    ROLE_COLORS,
    SEQUENTIAL,
    axes_points,
    bare_axes,
    color_bar,
    density_norm,
    short_count,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from deepgraph.graph import CachedLayeredGraph

__all__ = ["Blocks", "block_counts", "draw_blocks"]

_BAR = 0.30  # width of a bar; the distance between two bars is 1
_LOOP = 0.14  # depth of a loop below its bar
_ROOM = 30.0  # points between two bars, below which counts would touch
_MOST_COUNTS = 6  # arcs over other bars that can all be labelled without touching
_MIN_WIDTH = 0.7  # points; a block with a single edge must still be seen


@dataclass(frozen=True)
class Blocks:
    """Edge counts between B groups of neighbouring stages.

    Attributes
    ----------
    counts
        (B, B) edges from group (row) to group (column); they sum to the E edges of the graph.
    pairs
        (B, B) admissible pairs, stage[u] < stage[v], of each block.
    nodes
        (B,) neurons per group.
    labels
        B texts, the stages of each group: "3" or "4-7".
    block
        (N,) group of each neuron.
    """

    counts: NDArray[np.int64]
    pairs: NDArray[np.int64]
    nodes: NDArray[np.int64]
    labels: list[str]
    block: NDArray[np.int64]

    @property
    def density(self) -> NDArray[np.float64]:
        """Return (B, B) edges / admissible pairs in [0, 1]; 0 where no pair is admissible."""
        return self.counts / np.maximum(self.pairs, 1)


def block_counts(graph: CachedLayeredGraph, max_blocks: int = 12) -> Blocks:
    """Return the edges counted between at most `max_blocks` groups of neighbouring stages.

    Each stage is a group of its own where there are at most `max_blocks`; otherwise the groups hold equally many
    stages, give or take one.

    Parameters
    ----------
    graph
        The structure to count.
    max_blocks
        Largest number of groups, >= 1.

    Returns
    -------
    Blocks
        Counts, admissible pairs, sizes and labels; ``counts.sum()`` is the number of edges.

    Raises
    ------
    ArgumentError
        If `max_blocks` < 1.
    DtypeError
        If `graph` is not a `CachedLayeredGraph`.

    Examples
    --------
    >>> from deepgraph.graph import CachedLayeredGraph
    >>> blocks = block_counts(CachedLayeredGraph.from_arrays([0, 0, 1, 2], [1, 2, 3, 3]))
    >>> blocks.counts.tolist(), blocks.nodes.tolist(), blocks.density.max().item()
    ([[0, 2, 0], [0, 0, 2], [0, 0, 0]], [1, 2, 1], 1.0)
    """
    if max_blocks < 1:
        raise ArgumentError(f"max_blocks must be at least 1, got {max_blocks}; give a larger number of groups")
    graph = checked_graph(graph)
    rank, stages = stage_ranks(graph)
    num_stages = len(stages)
    num_blocks = min(num_stages, max_blocks)
    group = np.arange(num_stages) * num_blocks // max(num_stages, 1)
    block = group[rank] if num_stages else np.zeros(0, dtype=np.int64)
    src, dst = graph.edge_arrays()
    counts = np.bincount(block[src] * num_blocks + block[dst], minlength=num_blocks**2)
    sizes = np.bincount(rank, minlength=num_stages).astype(np.int64)
    nodes = np.bincount(group, sizes, num_blocks).astype(np.int64)
    squares = np.bincount(group, sizes.astype(np.float64) ** 2, num_blocks).astype(np.int64)
    pairs = np.triu(np.multiply.outer(nodes, nodes), 1) + np.diag((nodes**2 - squares) // 2)
    first = [stages[group == index][0] for index in range(num_blocks)]
    last = [stages[group == index][-1] for index in range(num_blocks)]
    labels = [f"{low}" if low == high else f"{low}\N{EN DASH}{high}" for low, high in zip(first, last, strict=True)]
    return Blocks(counts.reshape(num_blocks, num_blocks), pairs, nodes, labels, block)


def draw_blocks(graph: CachedLayeredGraph, ax: Axes, max_blocks: int = 12) -> None:
    """Draw groups of stages as bars, joined by ribbons, with arcs for blocks that skip a group.

    The width of a ribbon is proportional to its edges, its colour is the density of the block. The bars are as high as
    the logarithm of their neurons and split by role; edges inside a group of stages hang below it as a loop.

    Raises
    ------
    ArgumentError
        If `max_blocks` < 1.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from deepgraph.graph import CachedLayeredGraph
    >>> ax = Figure().add_subplot()
    >>> draw_blocks(CachedLayeredGraph.from_arrays([0, 1, 0], [1, 2, 2]), ax)
    >>> len(ax.collections)
    2
    """
    blocks = block_counts(graph, max_blocks)
    height = _bar_heights(blocks.nodes)
    roles = _bar_parts(graph, blocks, ax, height)
    widest = max(int(blocks.counts.max(initial=0)), 1)
    scale = _points_per_edge(blocks, ax, widest)
    top = _ribbons(blocks, ax, height, scale)
    _dress(blocks, ax, height, top, scale)
    widths = [
        Line2D(
            [],
            [],
            color="#888888",
            linewidth=max(scale * count, _MIN_WIDTH),
            label=f"{short_count(count)} edge{'s' * (count > 1)}",
        )
        for count in _reference_counts(min(widest, max(int(9.0 / scale), 1)))
    ]
    if np.diag(blocks.counts).any():
        widths.append(Line2D([], [], color="#888888", marker=r"$\cup$", linestyle="", label="inside a group of stages"))
    patches = [Patch(facecolor=face, edgecolor=edge, label=label) for label, face, edge in roles]
    ax.legend(
        handles=patches + (widths if blocks.counts.any() else []),
        loc="upper left",
        ncols=8,
        fontsize=FONT["small"],
        frameon=False,
        handlelength=1.6,
        columnspacing=1.2,
        borderaxespad=0.0,
    )


def _bar_heights(nodes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the heights (B,) of the bars in (0, 1], logarithmic in neurons, with room for a ribbon."""
    most = max(int(nodes.max(initial=1)), 2)
    return np.asarray(0.3 + 0.7 * np.log(np.maximum(nodes, 1)) / np.log(most), dtype=np.float64)


def _points_per_edge(blocks: Blocks, ax: Axes, widest: int) -> float:
    """Return the width of one edge in points, such that ribbons and loops stay narrower than the bars."""
    width, height = axes_points(ax)
    limit = float(np.clip(0.075 * height, 5.0, 22.0)) / widest
    inside = int(np.diag(blocks.counts).max(initial=0))
    return min(limit, 0.4 * _BAR * width / len(blocks.nodes) / inside) if inside else limit


def _reference_counts(widest: int) -> list[int]:
    """Return one or two round edge counts that the legend shows ribbons for."""
    largest = 10 ** int(np.log10(widest))
    largest *= 5 if widest >= 5 * largest else 2 if widest >= 2 * largest else 1
    return sorted({max(largest // 10, 1), largest})


def _bar_parts(
    graph: CachedLayeredGraph, blocks: Blocks, ax: Axes, height: NDArray[np.float64]
) -> list[tuple[str, str, str]]:
    """Return label, face and edge colour of each kind of neuron that occurs; add the bars, split by kind."""
    role = np.asarray(graph.role_array())
    dead = (role == "hidden") & ~live_neurons(graph)
    kinds = [(name, (role == name) & ~dead, color, color) for name, color in ROLE_COLORS.items()]
    kinds.append(("dead", dead, "white", ROLE_COLORS["hidden"]))
    polygons, faces, edges, found = [], [], [], []
    base = -height / 2
    for label, mask, face, edge in kinds:
        if not mask.any():
            continue
        found.append((label, face, edge))
        share = np.bincount(blocks.block[mask], minlength=len(blocks.nodes)) / blocks.nodes
        for index in np.flatnonzero(share).tolist():
            low, high = base[index], base[index] + height[index] * share[index]
            left, right = index - _BAR / 2, index + _BAR / 2
            polygons.append([(left, low), (right, low), (right, high), (left, high)])
            faces.append(face)
            edges.append(edge)
        base = base + height * share
    ax.add_collection(PolyCollection(polygons, facecolors=faces, edgecolors=edges, linewidths=0.8, zorder=3))
    return found


def _ribbons(blocks: Blocks, ax: Axes, height: NDArray[np.float64], scale: float) -> float:
    """Return the highest point of the arcs; add one line per occupied block, `scale` * edges points wide."""
    source, target = np.nonzero(blocks.counts)
    if source.size == 0:
        return float(height.max(initial=0.0)) / 2
    order = np.argsort(-(target - source), kind="stable")  # short arcs last, on top of long ones
    source, target = source[order], target[order]
    curves = _block_curves(source, target, height)
    density = blocks.density[source, target]
    lines = LineCollection(
        list(curves),
        array=density,
        cmap=SEQUENTIAL,
        norm=density_norm(density),
        linewidths=np.maximum(scale * blocks.counts[source, target], _MIN_WIDTH),
        capstyle="butt",
        alpha=0.9,
        zorder=2,
    )
    ax.add_collection(lines)
    color_bar(ax, lines, "density of the block (edges / possible edges)")
    skips = np.flatnonzero(target - source > 1)
    if skips.size <= _MOST_COUNTS and axes_points(ax)[0] / len(blocks.nodes) >= _ROOM:
        for at in skips.tolist():
            middle = curves[at, curves.shape[1] // 2]
            _write_count(ax, (float(middle[0]), float(middle[1])), int(blocks.counts[source[at], target[at]]), 0.0)
    return max(float(height.max()) / 2, float(curves[..., 1].max()))


def _block_curves(
    source: NDArray[np.int64], target: NDArray[np.int64], height: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the curves (K, P, 2): straight to the next bar, arched above those between, or a loop below."""
    leave, arrive = _docks(source, target)
    length = target - source
    tallest = np.array([height[low : high + 1].max() for low, high in zip(source, target, strict=True)])
    apex = tallest / 2 + 0.10 + 1.1 * (length / height.size) ** 0.8
    start, stop = height[source] / 2, height[target] / 2
    loop, straight = length == 0, length == 1
    start[loop], stop[loop], apex[loop] = -start[loop], -stop[loop], -start[loop] - _LOOP
    leave[straight], arrive[straight] = source[straight] + _BAR / 2, target[straight] - _BAR / 2
    start[straight] = stop[straight] = apex[straight] = 0.0
    tails, heads = np.stack([leave, start], axis=1), np.stack([arrive, stop], axis=1)
    return arcs(tails, heads, apex, bend=np.zeros(source.size))


def _docks(source: NDArray[np.int64], target: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the x (K,) where curves leave and arrive, spread over a bar so that nested arcs do not cross."""
    leave, arrive = source.astype(np.float64), target.astype(np.float64)
    length = target - source
    for ends, anchor, side in ((leave, source, 1.0), (arrive, target, -1.0)):
        for index in np.unique(anchor).tolist():
            here = np.flatnonzero((anchor == index) & (length > 1))
            here = here[np.argsort(length[here], kind="stable")]
            ends[here] = index + side * _BAR / 2 * (1.0 - (np.arange(here.size) + 0.5) / max(here.size, 1))
    loop = length == 0
    leave[loop] += 0.4 * _BAR
    arrive[loop] -= 0.4 * _BAR
    return leave, arrive


def _dress(blocks: Blocks, ax: Axes, height: NDArray[np.float64], top: float, scale: float) -> None:
    """Set limits, stage ticks and, where there is room, the edge counts of ribbons and loops."""
    num_blocks = len(blocks.nodes)
    width, points = axes_points(ax)
    room = width / max(num_blocks, 1)
    inside = np.diag(blocks.counts)
    bare_axes(ax)
    shown = range(0, num_blocks, int(np.ceil(44.0 / room)) if room < 30 else 1)
    ax.set_xticks(list(shown), [f"{blocks.labels[index]}\nn={short_count(blocks.nodes[index])}" for index in shown])
    bottom = -float(height.max(initial=0.3)) / 2 - (_LOOP if inside.any() else 0.04)
    top = max(top, 0.2)
    per_point = (top - bottom) / max(points - 50.0, 50.0)  # data units, once legend and counts have their place
    ax.set_xlim(-0.6, max(num_blocks - 0.4, 0.6))
    ax.set_ylim(bottom - (22.0 * per_point if inside.any() else 0.0), top + 28.0 * per_point)
    if room < _ROOM:
        return
    following = np.diag(blocks.counts, 1)
    for index in np.flatnonzero(following).tolist():
        _write_count(ax, (index + 0.5, 0.0), int(following[index]), 0.0)
    for index in np.flatnonzero(inside).tolist():
        below = 0.5 * max(scale * inside[index], _MIN_WIDTH) + 6.0
        _write_count(ax, (index, -height[index] / 2 - _LOOP), int(inside[index]), -below)


def _write_count(ax: Axes, place: tuple[float, float], count: int, shift: float) -> None:
    """Write an edge count on white, so that it can be read on a ribbon, `shift` points above `place`."""
    ax.annotate(
        short_count(count),
        place,
        xytext=(0.0, shift),
        textcoords="offset points",
        ha="center",
        va="center",
        fontsize=FONT["small"],
        color=INK,
        zorder=4,
        bbox={"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none", "alpha": 0.85},
    )
