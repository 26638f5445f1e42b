"""Two graphs of the same neurons in one picture: which edges both have, and which only the one or the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.lines import Line2D

from deepgraph.errors import ArgumentError, ShapeError
from deepgraph.graph import CachedLayeredGraph
from deepgraph.plotting.layered import draw, draw_neurons, dress_layers, skip_arcs
from deepgraph.plotting.layout import checked_graph, layered_positions
from deepgraph.plotting.style import FONT, INK, PALE, SERIES, axes_or_new, dress, titled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

__all__ = ["draw_difference", "side_by_side"]

_COLORS = (PALE, SERIES[1], SERIES[0])  # in both, only in the first, only in the second
_SOLID, _DASHED = (0.0, ()), (0.0, (3.0, 1.4))
_MOST_ROWS = 24  # stage pairs that are bars of their own


def draw_difference(
    first: CachedLayeredGraph,
    second: CachedLayeredGraph,
    ax: Axes | None = None,
    max_edges: int = 3000,
    names: tuple[str, str] = ("before", "after"),
) -> Axes:
    """Return the axes with the edges of two graphs: grey in both, dashed only in the first, strong only in the second.

    With more than `max_edges` edges in either of them together, 40 stages or 160 neurons in a stage the edges are
    counted by stage pair instead: a bar per pair, split into the three kinds, with their numbers.

    Parameters
    ----------
    first, second
        Graphs of the same N neurons in the same order.
    ax
        Axes to draw into; None makes a new figure of 8 x 4.8 inches.
    max_edges
        Largest number of edges drawn one by one, >= 1.
    names
        What the two are called in the legend.

    Raises
    ------
    ArgumentError
        If `max_edges` < 1.
    ShapeError
        If the graphs do not have the same neurons in the same order.
    StructureError
        If the edges of the second do not go up in the stages of the first.
    DtypeError
        If `first`, `second` or `ax` is of another type.

    Examples
    --------
    >>> from deepgraph.graph import CachedLayeredGraph
    >>> before = CachedLayeredGraph.from_arrays([0, 1, 0], [1, 2, 2])
    >>> after = CachedLayeredGraph.from_arrays([0, 1], [1, 2])
    >>> draw_difference(before, after).get_title(loc="left")
    '2 edges in both, 1 only before, 0 only after (Jaccard 0.67)'
    """
    if max_edges < 1:
        raise ArgumentError(f"max_edges must be at least 1, got {max_edges}; a smaller number draws no single edge")
    union, kind = _union(first, second)
    ax = axes_or_new(ax, (8.0, 4.8))
    both, gone, new = (int(count) for count in np.bincount(kind, minlength=3))
    share = both / kind.size if kind.size else 1.0
    edges = f"{both:,} edge{'' if both == 1 else 's'}"
    title = f"{edges} in both, {gone:,} only {names[0]}, {new:,} only {names[1]} (Jaccard {share:.2f})"
    sizes = np.unique(union.stage_array(), return_counts=True)[1]
    if kind.size > max_edges or sizes.size > 40 or sizes.max(initial=0) > 160:
        _draw_bars(union, kind, ax, names, title)
    else:
        _draw_lines(union, kind, ax, names, title)
    return ax


def side_by_side(
    first: CachedLayeredGraph,
    second: CachedLayeredGraph,
    axes: Sequence[Axes] | None = None,
    names: tuple[str, str] = ("before", "after"),
    **options: Any,
) -> tuple[Axes, Axes]:
    """Return two axes with the drawings of two graphs of the same neurons, every neuron at the same place in both.

    Parameters
    ----------
    first, second
        Graphs of the same N neurons in the same order.
    axes
        Two axes to draw into; None makes a new figure of 12 x 4.8 inches.
    names
        Titles, before the counts.
    options
        Passed to `draw`; a layout of "stored" or "blocks" is kept.

    Raises
    ------
    ArgumentError
        If there are not two axes.
    ShapeError
        If the graphs do not have the same neurons in the same order.
    StructureError
        If the edges of the second do not go up in the stages of the first.

    Examples
    --------
    >>> from deepgraph.graph import CachedLayeredGraph
    >>> before = CachedLayeredGraph.from_arrays([0, 1, 0], [1, 2, 2])
    >>> after = CachedLayeredGraph.from_arrays([0, 1], [1, 2])
    >>> [ax.get_title(loc="left") for ax in side_by_side(before, after)]
    ['before: 3 nodes, 3 edges (1 skipping a stage), 3 stages', 'after: 3 nodes, 2 edges, 3 stages']
    """
    if axes is None:
        from matplotlib import pyplot

        axes = list(pyplot.subplots(1, 2, figsize=(12.0, 4.8), layout="constrained")[1])
    if len(axes) != 2:
        raise ArgumentError(f"axes must be two, one for each graph, got {len(axes)}")
    union, _ = _union(first, second)
    x, y, _ = layered_positions(union)
    for graph, ax, name in zip((first, second), axes, names, strict=True):
        placed = graph.copy()
        placed.set_node_column("stage", union.stage_array())
        draw(placed, ax, positions=(x, y), **options)
        titled(ax, f"{name}: {ax.get_title(loc='left')}", x="stage")
    limits = np.array([ax.get_ylim() for ax in axes])
    for ax in axes:
        ax.set_ylim(limits[:, 0].min(), limits[:, 1].max())
    return axes[0], axes[1]


def _union(first: CachedLayeredGraph, second: CachedLayeredGraph) -> tuple[CachedLayeredGraph, NDArray[np.int64]]:
    """Return the graph of all edges, with the nodes of the first, and the kind of each: 0 in both, 1 and 2 in one."""
    first, second = checked_graph(first), checked_graph(second)
    if list(first) != list(second):
        raise ShapeError(
            f"expected two graphs of the same neurons in the same order, got {len(first):,} and {len(second):,} neurons"
            f"{'' if len(first) != len(second) else ' with other labels'}; compare(a, b) matches neurons by label"
        )
    size = max(len(first), 1)
    own, other = (src.astype(np.int64) * size + dst for src, dst in (first.edge_arrays(), second.edge_arrays()))
    keys = np.union1d(own, other)
    kind = np.where(np.isin(keys, other), np.where(np.isin(keys, own), 0, 2), 1)
    union = CachedLayeredGraph.from_arrays(*np.divmod(keys, size), num_nodes=len(first))
    union.set_node_column("stage", first.stage_array())
    union.set_node_column("role", first.role_array())
    return union, kind


def _draw_lines(
    union: CachedLayeredGraph, kind: NDArray[np.int64], ax: Axes, names: tuple[str, str], title: str
) -> None:
    """Draw every edge as a line."""
    x, y, stages = layered_positions(union)
    src, dst = union.edge_arrays()
    entries: list[Line2D] = []
    low, high = -1.0, 1.0
    said = ("in both", f"only {names[0]}", f"only {names[1]}")
    for number, (label, color) in enumerate(zip(said, _COLORS, strict=True)):
        chosen = np.flatnonzero(kind == number)
        width, dashes = (0.6 if number == 0 else 1.1), (_DASHED if number == 1 else _SOLID)
        entries.append(Line2D([], [], color=color, linewidth=1.6, linestyle=dashes, label=label))
        if not chosen.size:
            continue
        tails, heads = (np.stack([x[ends[chosen]], y[ends[chosen]]], axis=1) for ends in (src, dst))
        curves = list(np.stack([tails, heads], axis=1))
        skips = np.flatnonzero(heads[:, 0] - tails[:, 0] > 1)
        if skips.size:
            arcs = skip_arcs(tails[skips], heads[skips], float(x.max()))
            low, high = min(low, float(arcs[..., 1].min())), max(high, float(arcs[..., 1].max()))
            for at, arc in zip(skips.tolist(), arcs, strict=True):
                curves[at] = arc
        opacity = float(np.clip(22.0 / np.sqrt(kind.size), 0.35, 0.9))
        ax.add_collection(
            LineCollection(
                curves, colors=color, linewidths=width, linestyles=dashes, alpha=opacity, zorder=2 if number else 1,
                label=label,
            )
        )  # fmt: skip
    rows = int(np.bincount(x.astype(np.int64)).max()) if x.size else 0
    titled(ax, title, x="stage")
    dress_layers(ax, x, stages, (low, high), [*draw_neurons(union, ax, x, y, rows, None), *entries], False)


def _draw_bars(
    union: CachedLayeredGraph, kind: NDArray[np.int64], ax: Axes, names: tuple[str, str], title: str
) -> None:
    """Draw one bar per stage pair, split into the three kinds; the smallest pairs are one bar together."""
    stage = union.stage_array().astype(np.int64)
    src, dst = union.edge_arrays()
    pairs, of_edge = np.unique(np.stack([stage[src], stage[dst]], axis=1), axis=0, return_inverse=True)
    counts = np.bincount(of_edge.reshape(-1) * 3 + kind, minlength=3 * len(pairs)).reshape(-1, 3)
    texts = [f"{low}\N{EN DASH}{high}" for low, high in pairs.tolist()]
    if len(pairs) > _MOST_ROWS:
        rest = np.argsort(-counts.sum(axis=1), kind="stable")[_MOST_ROWS - 1 :]
        kept = np.setdiff1d(np.arange(len(pairs)), rest)
        texts = [texts[at] for at in kept.tolist()] + [f"{len(rest):,} others"]
        counts = np.concatenate([counts[kept], counts[rest].sum(axis=0, keepdims=True)])
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    left = np.zeros(len(texts))
    said = ("in both", f"only {names[0]}", f"only {names[1]}")
    hatches = ("", "///", "")
    for number, (label, color) in enumerate(zip(said, _COLORS, strict=True)):
        bars = ax.barh(
            np.arange(len(texts)), share[:, number], left=left, height=0.8, color=color, hatch=hatches[number],
            edgecolor="white", linewidth=0.5, label=label,
        )  # fmt: skip
        shown = [
            f"{count:,}" if part > 0.12 else "" for count, part in zip(counts[:, number], share[:, number], strict=True)
        ]
        box = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none", "alpha": 0.85}
        for text in ax.bar_label(bars, shown, label_type="center", fontsize=FONT["small"], color=INK):
            if text.get_text():
                text.set_bbox(box)
        left = left + share[:, number]
    ax.set_yticks(range(len(texts)), texts)
    ax.set_ylim(len(texts) - 0.4, -0.6)
    ax.set_xlim(0.0, 1.0)
    dress(ax, "", "share of the edges of either (numbers: edges)", "from stage\N{EN DASH}to stage")
    ax.set_title(title, loc="left", fontsize=FONT["title"], color=INK, pad=18)
    ax.legend(
        loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=3, fontsize=FONT["small"], frameon=False, borderaxespad=0.1
    )
