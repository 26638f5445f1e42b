"""The adjacency matrix as a picture: one dot per edge, or a map of densities where the dots would merge."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from deepgraph.errors import ArgumentError
from deepgraph.plotting.layout import checked_graph, stage_ranks
from deepgraph.plotting.style import (
    FONT,
    INK,
    PALE,
    SEQUENTIAL,
    SERIES,
    axes_or_new,
    axes_points,
    color_bar,
    density_norm,
    titled,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from deepgraph.graph import CachedLayeredGraph

__all__ = ["density_grid", "spy"]

_MOST_BOUNDARIES = 40


def density_grid(
    graph: CachedLayeredGraph, bins: int = 200
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return edge counts (K, K) and sizes (K, K) of a raster of the adjacency matrix, and its lines (K + 1,).

    Rows are sources and columns targets, both sorted by stage; the counts sum to the number of edges. Each stage is
    divided into its share of about `bins` parts, at least one, so that no part straddles two stages; with more than
    `bins` stages the parts hold equally many neurons instead.

    Raises
    ------
    ArgumentError
        If `bins` < 1.

    Examples
    --------
    >>> from deepgraph.graph import CachedLayeredGraph
    >>> counts, cells, lines = density_grid(CachedLayeredGraph.from_arrays([0, 0, 1, 2], [1, 2, 3, 3]), bins=2)
    >>> counts.tolist(), cells.tolist(), lines.tolist()
    ([[1, 2], [0, 1]], [[4, 4], [4, 4]], [0, 2, 4])
    """
    if bins < 1:
        raise ArgumentError(f"bins must be at least 1, got {bins}; give the raster more cells")
    place, sizes, _ = _places(graph)
    num_nodes = place.size
    src, dst = graph.edge_arrays()
    lines = _raster_lines(sizes, bins)
    size = np.diff(lines)
    cell = np.repeat(np.arange(size.size), size)[place] if num_nodes else place
    counts = np.bincount(cell[src] * size.size + cell[dst], minlength=size.size**2).reshape(size.size, size.size)
    return counts, np.multiply.outer(size, size), lines


def _raster_lines(sizes: NDArray[np.int64], bins: int) -> NDArray[np.int64]:
    """Return the first row of each part (K,), then the number of neurons: (K + 1,) ascending."""
    num_nodes = int(sizes.sum())
    if not num_nodes:
        return np.zeros(1, dtype=np.int64)
    if sizes.size > bins:
        return np.unique(np.arange(bins + 1) * num_nodes // bins)
    parts = np.clip(np.round(bins * sizes / num_nodes).astype(np.int64), 1, sizes)
    starts = np.cumsum(sizes) - sizes
    within = np.arange(parts.sum()) - np.repeat(np.cumsum(parts) - parts, parts)
    lines = np.repeat(starts, parts) + within * np.repeat(sizes, parts) // np.repeat(parts, parts)
    return np.append(lines, num_nodes)


def spy(graph: CachedLayeredGraph, ax: Axes | None = None, max_points: int = 5000, bins: int | None = None) -> Axes:
    """Return the axes with the adjacency matrix: sources in rows, targets in columns, neurons sorted by stage.

    Grey lines separate the stages. A graph with more than `max_points` edges is shown as a raster of densities, edges
    divided by matrix cells, with a colour bar; empty parts stay white.

    Parameters
    ----------
    graph
        The structure to show.
    ax
        Axes to draw into; None makes a new figure of 5.6 x 5 inches.
    max_points
        Largest number of edges shown as single dots, >= 0.
    bins
        Cells of the raster along each side, >= 1, about; None takes fewer for fewer edges, 40 to 200.

    Raises
    ------
    ArgumentError
        If `max_points` < 0 or `bins` < 1.
    DtypeError
        If `graph` or `ax` is of another type.

    Examples
    --------
    >>> from deepgraph.graph import CachedLayeredGraph
    >>> ax = spy(CachedLayeredGraph.from_arrays([0, 1, 0], [1, 2, 2]))
    >>> ax.get_title(loc="left"), ax.collections[0].get_offsets().tolist()
    ('adjacency: 3 edges', [[1.0, 0.0], [2.0, 0.0], [2.0, 1.0]])
    """
    graph = checked_graph(graph)
    if max_points < 0:
        raise ArgumentError(f"max_points must be at least 0, got {max_points}; 0 always shows the raster")
    if bins is not None and bins < 1:
        raise ArgumentError(f"bins must be at least 1, got {bins}; give the raster more cells")
    ax = axes_or_new(ax, (5.6, 5.0))
    place, sizes, stages = _places(graph)
    num_nodes = len(graph)
    src, dst = graph.edge_arrays()
    side = max(num_nodes, 1)
    if src.size > max_points:
        # With a few edges per cell the raster shows densities; with one it would show the dots it replaces.
        wanted = int(np.clip(0.7 * np.sqrt(src.size), 40, 200)) if bins is None else bins
        counts, cells, lines = density_grid(graph, wanted)
        density = np.ma.masked_equal(counts / cells, 0.0)
        image = ax.pcolormesh(
            lines - 0.5, lines - 0.5, density, cmap=SEQUENTIAL, norm=density_norm(density.filled(0.0)), rasterized=True
        )
        color_bar(ax, image, "density (edges / matrix cells)", square=True)
    else:
        cell = min(axes_points(ax)) / side
        ax.scatter(
            place[dst], place[src], s=float(np.clip(0.8 * cell, 1.0, 9.0)) ** 2, marker="s", c=SERIES[0], linewidths=0
        )
    ax.set_xlim(-0.5, side - 0.5)
    ax.set_ylim(side - 0.5, -0.5)
    ax.set_box_aspect(1)
    _mark_stages(ax, sizes, stages, dotted=src.size <= max_points)
    ax.spines[:].set_color(PALE)
    count = f"{src.size:,} edge{'' if src.size == 1 else 's'}"
    titled(ax, f"adjacency: {count}", "target neuron (column), by stage", "source neuron (row), by stage")
    return ax


def _places(graph: CachedLayeredGraph) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the row of each neuron (N,) when sorted by stage, then the sizes (S,) and numbers (S,) of the stages."""
    rank, stages = stage_ranks(graph)
    place = np.empty(rank.size, dtype=np.int64)
    place[np.argsort(rank, kind="stable")] = np.arange(rank.size)
    return place, np.bincount(rank, minlength=len(stages)), stages


def _mark_stages(ax: Axes, sizes: NDArray[np.int64], stages: NDArray[np.int64], *, dotted: bool) -> None:
    """Separate stages by lines and names those that are wide enough, all on both axes alike."""
    edges = np.concatenate([[0], np.cumsum(sizes)]) - 0.5
    if len(stages) <= _MOST_BOUNDARIES:
        for line in (ax.hlines, ax.vlines):
            line(edges[1:-1], -0.5, edges[-1], colors=PALE, linewidths=0.5, zorder=0.5 if dotted else 2)
    middle = 0.5 * (edges[:-1] + edges[1:])
    least = 13.0 / min(axes_points(ax)) * max(sizes.sum(), 1)
    shown: list[int] = []
    for index in np.flatnonzero(sizes).tolist() if len(stages) <= _MOST_BOUNDARIES else _evenly(middle, least):
        if not shown or middle[index] - middle[shown[-1]] >= least:
            shown.append(index)
    ax.set_xticks(middle[shown], [str(stages[index]) for index in shown])
    ax.set_yticks(middle[shown], [str(stages[index]) for index in shown])
    ax.tick_params(length=0, labelsize=FONT["tick"], labelcolor=INK)


def _evenly(middle: NDArray[np.float64], least: float) -> list[int]:
    """Return about ten of many stages, evenly spaced in neurons and at least `least` apart."""
    if not middle.size:
        return []
    wanted = np.linspace(middle[0], middle[-1], int(np.clip((middle[-1] - middle[0]) / max(least, 1e-9), 1, 10)))
    return [int(index) for index in np.unique(np.searchsorted(middle, wanted).clip(0, middle.size - 1))]
