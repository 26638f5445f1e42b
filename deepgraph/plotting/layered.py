"""The layered drawing: neurons by stage from left to right, or blocks of them where they are too many."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize, to_rgba
from matplotlib.lines import Line2D

from deepgraph.errors import ArgumentError, DtypeError, MissingColumnError, ShapeError
from deepgraph.plotting.blocks import draw_blocks
from deepgraph.plotting.layout import arcs, checked_graph, layered_positions, live_neurons
from deepgraph.plotting.style import (
    DIVERGING,
    FONT,
    INK,
    PALE,
    ROLE_COLORS,
    ROLE_MARKERS,
    SEQUENTIAL,
    axes_or_new,
    axes_points,
    bare_axes,
    color_bar,
    titled,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from deepgraph.graph import CachedLayeredGraph

__all__ = ["draw", "draw_neurons", "dress_layers", "skip_arcs"]

_LAYOUTS = ("layered", "stored", "blocks")
_MOST_STAGES = 40  # more columns than this are closer than their markers
_MOST_ROWS = 160
_MOST_ARCS = 400


def draw(
    graph: CachedLayeredGraph,
    ax: Axes | None = None,
    max_edges: int = 3000,
    layout: Literal["layered", "stored", "blocks"] = "layered",
    color: str | None = "weight",
    labels: bool | str | Sequence[str] = "auto",
    *,
    max_blocks: int = 12,
    title: str | None = None,
    positions: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None,
) -> Axes:
    """Return the axes with the layered drawing of the graph: stages from left to right, edges running rightwards.

    Straight lines join neighbouring stages; edges that skip a stage are dashed arcs. Neurons are coloured and shaped
    by role; a hidden neuron on no path from an input to an output (dead) is hollow. A graph with more than `max_edges`
    edges, 400 skip edges, 40 stages or 160 neurons in a stage is drawn by blocks instead: see
    `deepgraph.plotting.draw_blocks`, whose counts come from `deepgraph.plotting.block_counts`.

    Parameters
    ----------
    graph
        The structure to draw.
    ax
        Axes to draw into; None makes a new figure of 8 x 4.8 inches.
    max_edges
        Largest number of edges drawn one by one, >= 1.
    layout
        "layered" sorts the neurons of a stage for few crossings, "stored" keeps their order (pixels, for instance),
        "blocks" draws blocks whatever the size.
    color
        Numeric edge column shown as colour, or None for plain edges. "weight" and every column with a negative value
        get a diverging map centred at 0 that ends at the 98th percentile of the absolute values; edges without a
        finite value are black. A graph without weights is drawn plain. Blocks are always coloured by density.
    labels
        Neuron labels: True, False, N texts, or "auto" for the graph's own labels where they fit.
    max_blocks
        Largest number of groups of stages in a drawing by blocks, >= 1.
    title
        Text above the drawing; None states nodes, edges, stages and skip edges.
    positions
        x (N,), the rank of the stage, and y (N,) in (-1, 1) of every neuron, as `layered_positions` returns them for
        another graph of the same neurons; None lays out this one.

    Returns
    -------
    matplotlib.axes.Axes
        The axes, with a colour bar where colour has a meaning.

    Raises
    ------
    ArgumentError
        If `max_edges` or `max_blocks` < 1, or `layout` or `labels` is unknown.
    MissingColumnError
        If there is no edge column `color`.
    DtypeError
        If the column is not numeric, or `graph` or `ax` is of another type.
    ShapeError
        If there are not N labels, or `positions` belong to other stages.
    CycleError
        If the graph has a directed cycle.
    StructureError
        If stages are declared and an edge does not go up in stage.

    Examples
    --------
    >>> from deepgraph.graph import CachedLayeredGraph
    >>> ax = draw(CachedLayeredGraph.from_arrays([0, 1, 0], [1, 2, 2], weight=[0.5, -1.0, 2.0]))
    >>> ax.get_title(loc="left")
    '3 nodes, 3 edges (1 skipping a stage), 3 stages'
    """
    graph = checked_graph(graph)
    _check_arguments(max_edges, layout)
    values = _edge_values(graph, color)
    texts = _label_texts(graph, labels)
    ax = axes_or_new(ax, (8.0, 4.8))
    x, y, stages = layered_positions(graph, sweeps=0 if layout == "stored" or positions else 12)
    y = y if positions is None else _placed(positions, x)
    src, dst = graph.edge_arrays()
    span = x[dst] - x[src]
    titled(ax, _summary(x.size, span, len(stages)) if title is None else title, x="stage")
    rows = int(np.bincount(x.astype(np.int64)).max()) if x.size else 0
    crowded = len(stages) > _MOST_STAGES or rows > _MOST_ROWS or (span > 1).sum() > _MOST_ARCS
    if layout == "blocks" or src.size > max_edges or crowded:
        draw_blocks(graph, ax, max_blocks)
        return ax
    reach = _draw_edges(ax, x, y, src, dst, values, color)
    kinds = draw_neurons(graph, ax, x, y, rows, texts if _labels_fit(labels, texts, rows, len(stages), ax) else None)
    dress_layers(ax, x, stages, reach, kinds, bool((span > 1).any()))
    return ax


def _check_arguments(max_edges: int, layout: str) -> None:
    """Raise `ArgumentError` where `max_edges` or `layout` is none that `draw` knows."""
    if max_edges < 1:
        raise ArgumentError(f"max_edges must be at least 1, got {max_edges}; layout='blocks' draws no single edge")
    if layout not in _LAYOUTS:
        raise ArgumentError(f"layout must be one of {', '.join(_LAYOUTS)}, got {layout!r}")


def _placed(positions: tuple[NDArray[np.float64], NDArray[np.float64]], x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the heights (N,) that were given, once they are known to belong to these stages."""
    across, up = (np.asarray(part, dtype=np.float64) for part in positions)
    if up.shape != x.shape or not np.array_equal(across, x):
        raise ShapeError(
            f"positions must be x and y of shape {x.shape} with x the rank of each neuron's stage, got {across.shape} "
            f"and {up.shape}; take layered_positions of a graph with the same neurons and stages"
        )
    return up


def _summary(num_nodes: int, span: NDArray[np.float64], num_stages: int) -> str:
    """Return one line that counts what is drawn."""

    def counted(count: int, noun: str) -> str:
        return f"{count:,} {noun}{'' if count == 1 else 's'}"

    skipping = int((span > 1).sum())
    note = f" ({skipping:,} skipping a stage)" if skipping else ""
    return f"{counted(num_nodes, 'node')}, {counted(span.size, 'edge')}{note}, {counted(num_stages, 'stage')}"


def _edge_values(graph: CachedLayeredGraph, color: str | None) -> NDArray[np.float64] | None:
    """Return the values (E,) of the column that colours the edges; None for plain edges."""
    if color is None or (color == "weight" and not graph.has_column("weight")):
        return None
    if not graph.has_column(color):
        known = ", ".join(sorted(graph.column_names)) or "none"
        raise MissingColumnError(
            f"color must name an edge column or be None, got {color!r}; the graph has these columns: {known}"
        )
    column = np.asarray(graph.column(color))
    if not (np.issubdtype(column.dtype, np.number) or column.dtype == bool):
        raise DtypeError(
            f"color must name a numeric edge column, but {color!r} has dtype {column.dtype}; "
            "store it as numbers or use color=None"
        )
    return column.astype(np.float64)


def _label_texts(graph: CachedLayeredGraph, labels: bool | str | Sequence[str]) -> list[str] | None:
    """Return the N texts to show if they fit; None for no labels."""
    if labels is False:
        return None
    if labels is True or (isinstance(labels, str) and labels == "auto"):
        return [str(label) for label in graph]
    if isinstance(labels, str):
        raise ArgumentError(f"labels must be True, False, 'auto' or one text per node, got {labels!r}")
    texts = [str(label) for label in labels]
    if len(texts) != len(graph):
        raise ShapeError(f"labels must hold one text per node, {len(graph)} in all, got {len(texts)}")
    return texts


def _labels_fit(
    labels: bool | str | Sequence[str], texts: list[str] | None, rows: int, num_stages: int, ax: Axes
) -> bool:
    """Return whether labels are shown: on demand always, by "auto" where they fit into their neuron's own place."""
    if texts is None or not isinstance(labels, str):
        return texts is not None
    width, height = axes_points(ax)
    longest = max((len(text) for text in texts), default=0)
    return longest * 5.0 < 0.8 * width / max(num_stages, 1) and longest <= 12 and 0.72 * height / max(rows, 1) > 14.0


def _draw_edges(
    ax: Axes,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    src: NDArray[np.integer[Any]],
    dst: NDArray[np.integer[Any]],
    values: NDArray[np.float64] | None,
    color: str | None,
) -> tuple[float, float]:
    """Return the lowest and highest y that edges reach; add the straight edges, the arcs and the colour bar."""
    if not src.size:
        return -1.0, 1.0
    strength = np.full(src.size, 0.5)
    style: dict[str, Any] = {"colors": PALE}
    extend = "neither"
    if values is not None:
        finite = np.abs(values[np.isfinite(values)])
        limit = (float(np.percentile(finite, 98)) or float(finite.max())) if finite.size else 0.0
        limit = limit or 1.0
        diverging = color == "weight" or bool((values < 0).any())
        strength = np.clip(np.nan_to_num(np.abs(values) / limit, nan=1.0, posinf=1.0), 0.0, 1.0)
        style = {
            "cmap": (DIVERGING if diverging else SEQUENTIAL).with_extremes(bad="black"),
            "norm": Normalize(-limit if diverging else 0.0, limit),
        }
        beyond = finite.size and float(finite.max()) > 1.001 * limit
        extend = ("both" if diverging else "max") if beyond else "neither"
    thin = float(np.clip(14.0 / np.sqrt(src.size), 0.35, 1.1))
    opacity = float(np.clip(22.0 / np.sqrt(src.size), 0.45, 0.95))
    strongest_last = np.argsort(strength, kind="stable")
    skip = (x[dst] - x[src] > 1)[strongest_last]
    low, high, drawn = -1.0, 1.0, None
    for group, dashed in ((strongest_last[skip], True), (strongest_last[~skip], False)):
        if not group.size:
            continue
        tails = np.stack([x[src[group]], y[src[group]]], axis=1)
        heads = np.stack([x[dst[group]], y[dst[group]]], axis=1)
        curves = skip_arcs(tails, heads, x.max()) if dashed else np.stack([tails, heads], axis=1)
        low, high = min(low, float(curves[..., 1].min())), max(high, float(curves[..., 1].max()))
        lines = LineCollection(
            list(curves),
            linewidths=np.maximum(thin * (0.6 + 1.4 * strength[group]), 0.6 if dashed else 0.0),
            linestyles=(0, (4.0, 1.2)) if dashed else "solid",
            # Grown skip edges are weak at first, hence pale: they lie apart from all others and can be drawn firmly.
            alpha=max(opacity, 0.75) if dashed else opacity,
            zorder=1 if dashed else 2,
            label="skip edges" if dashed else "edges",
            **style,
        )
        if values is not None:
            lines.set_array(np.ma.masked_invalid(values[group]))
        ax.add_collection(lines)
        drawn = lines
    if values is not None and drawn is not None:
        color_bar(ax, drawn, str(color), extend=extend)
    return low, high


def skip_arcs(tails: NDArray[np.float64], heads: NDArray[np.float64], last: float) -> NDArray[np.float64]:
    """Return curves (K, P, 2) that bow away from the middle of the drawing, further for longer skips."""
    reach = heads[:, 0] - tails[:, 0]
    side = np.where(tails[:, 1] + heads[:, 1] >= 0, 1.0, -1.0)
    return arcs(tails, heads, side * (1.06 + 0.5 * reach / max(last, 1.0)), bend=np.minimum(0.25 * reach, 1.0))


def draw_neurons(
    graph: CachedLayeredGraph,
    ax: Axes,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    rows: int,
    texts: list[str] | None,
) -> list[Line2D]:
    """Return one legend entry per kind of neuron present; add one scatter per kind, and the labels."""
    role = np.asarray(graph.role_array())
    dead = (role == "hidden") & ~live_neurons(graph) if x.size else np.zeros(0, dtype=bool)
    gap = 0.72 * axes_points(ax)[1] / max(rows, 1)
    diameter = float(np.clip(0.6 * gap, 2.0, 15.0 if texts is not None else 9.0))
    if texts is not None:
        diameter = max(diameter, 9.0)
    kinds = [(name, (role == name) & ~dead, name) for name in ROLE_COLORS] + [("hidden", dead, "dead")]
    entries = []
    for name, mask, label in kinds:
        if not mask.any():
            continue
        color = ROLE_COLORS[name]
        face = "white" if label == "dead" else color
        edge = color if label == "dead" else "white"
        wide = max(0.16 * diameter, 0.7) if label == "dead" else 0.4
        ax.scatter(
            x[mask], y[mask], s=diameter**2, marker=ROLE_MARKERS[name], c=[to_rgba(face)], edgecolors=edge,
            linewidths=wide, zorder=4, label=label,
        )  # fmt: skip
        entries.append(
            Line2D(
                [],
                [],
                linestyle="",
                marker=ROLE_MARKERS[name],
                markersize=6,
                markerfacecolor=face,
                markeredgecolor=edge if label == "dead" else color,
                label=label,
            )
        )
    if texts is not None:
        _write_labels(ax, x, y, texts, dead, diameter)
    return entries


def _write_labels(
    ax: Axes,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    texts: list[str],
    dead: NDArray[np.bool_],
    diameter: float,
) -> None:
    """Write short labels into their neurons and long ones above them."""
    inside = max((len(text) for text in texts), default=0) * 4.2 <= diameter
    for across, up, text, hollow in zip(x.tolist(), y.tolist(), texts, dead.tolist(), strict=True):
        ax.annotate(
            text,
            (across, up),
            xytext=(0, 0 if inside else 0.5 * diameter + 1.0),
            textcoords="offset points",
            ha="center",
            va="center_baseline" if inside else "bottom",
            fontsize=FONT["small"],
            color="white" if inside and not hollow else INK,
            zorder=5,
        )


def dress_layers(
    ax: Axes,
    x: NDArray[np.float64],
    stages: NDArray[np.int64],
    reach: tuple[float, float],
    kinds: list[Line2D],
    skips: bool,
) -> None:
    """Set limits, stage ticks with sizes where there is room, and the legend above the drawing."""
    if not x.size:
        ax.text(0.5, 0.5, "empty graph", ha="center", va="center", transform=ax.transAxes, fontsize=FONT["title"])
    bare_axes(ax)
    num_stages = len(stages)
    sizes = np.bincount(x.astype(np.int64), minlength=num_stages)
    room = axes_points(ax)[0] / max(num_stages, 1)
    every = max(int(np.ceil(16.0 / room)), 1)
    shown = range(0, num_stages, every)
    ax.set_xticks(list(shown), [f"{stages[i]}\nn={sizes[i]}" if room > 34 else f"{stages[i]}" for i in shown])
    ax.set_xlim(-0.5, max(num_stages - 0.5, 0.5))
    low, high = reach
    ax.set_ylim(low - 0.06, high + 0.06 + (high - low) * 20.0 / axes_points(ax)[1])
    if skips:
        kinds = [*kinds, Line2D([], [], color=PALE, linestyle=(0, (4.0, 1.2)), label="skip edge")]
    if kinds:
        ax.legend(
            handles=kinds, loc="upper left", ncols=6, fontsize=FONT["small"], frameon=False, handlelength=1.8,
            columnspacing=1.4, borderaxespad=0.0,
        )  # fmt: skip
