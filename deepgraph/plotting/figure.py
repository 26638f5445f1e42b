"""A one-page figure of a graph: drawing, adjacency, degrees and a table of numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from deepgraph.errors import DtypeError, ShapeError
from deepgraph.plotting.blocks import block_counts
from deepgraph.plotting.degrees import degree_distribution
from deepgraph.plotting.layered import draw
from deepgraph.plotting.layout import checked_graph, live_neurons
from deepgraph.plotting.spy import spy
from deepgraph.plotting.style import FONT, INK, PALE, titled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

    from deepgraph.graph import CachedLayeredGraph

__all__ = ["report_figure", "stage_rows"]

_MOST_ROWS = 12


def stage_rows(graph: CachedLayeredGraph, max_rows: int = 10) -> dict[str, list[Any]]:
    """Return the columns of a table with one row per stage, or per group of them beyond `max_rows` stages.

    "edges in" counts the edges that arrive at the stage, "fan-in" is their mean over its neurons, "density" divides
    them by the pairs of the blocks that hold edges, "live" is the share of neurons on some path from an input to an
    output.

    Raises
    ------
    ArgumentError
        If `max_rows` < 1.

    Examples
    --------
    >>> from deepgraph.graph import CachedLayeredGraph
    >>> rows = stage_rows(CachedLayeredGraph.from_arrays([0, 0, 1, 2], [1, 2, 3, 3]))
    >>> rows["stage"], rows["edges in"], rows["fan-in"]
    (['0', '1', '2'], [0, 2, 2], [0.0, 1.0, 2.0])
    """
    blocks = block_counts(graph, max_rows)
    arriving = blocks.counts.sum(axis=0)
    possible = np.where(blocks.counts > 0, blocks.pairs, 0).sum(axis=0)
    live = np.bincount(blocks.block[live_neurons(graph)], minlength=blocks.nodes.size)
    return {
        "stage": blocks.labels,
        "neurons": blocks.nodes.tolist(),
        "edges in": arriving.tolist(),
        "fan-in": (arriving / blocks.nodes).tolist(),
        "density": (arriving / np.maximum(possible, 1)).tolist(),
        "live": (live / blocks.nodes).tolist(),
    }


def report_figure(
    graph: CachedLayeredGraph,
    values: Mapping[str, Any] | None = None,
    per_stage: Mapping[str, Sequence[Any]] | None = None,
    *,
    fit: Mapping[str, Any] | None = None,
    title: str = "",
    figure: Figure | SubFigure | None = None,
) -> dict[str, Axes]:
    """Return the axes "drawing", "spy", "degrees" and "table" of a one-page figure of the graph.

    Parameters
    ----------
    graph
        The structure to show.
    values
        Name -> number or text, listed left of the table (at most 12 are shown); nodes, edges, density and stages by
        default.
    per_stage
        Column -> one value per row, all columns of one length (at most 12 rows are shown); `stage_rows` by default.
    fit
        Power laws for `degree_distribution`.
    title
        Text above the page.
    figure
        Figure to draw into, best with constrained layout; None makes a new one of 9 x 9.5 inches.

    Raises
    ------
    ShapeError
        If the columns of `per_stage` differ in length.
    DtypeError
        If `values` or `per_stage` is not a mapping, or `graph` is of another type.

    Examples
    --------
    >>> from deepgraph.graph import CachedLayeredGraph
    >>> page = report_figure(CachedLayeredGraph.from_arrays([0, 0, 1, 2], [1, 2, 3, 3]), {"accuracy": 0.87})
    >>> sorted(page)
    ['degrees', 'drawing', 'spy', 'table']
    """
    graph = checked_graph(graph)
    listed, table = _plain_values(graph, values), _plain_table(graph, per_stage)
    if figure is None:
        from matplotlib import pyplot

        figure = pyplot.figure(figsize=(9.0, 9.5), layout="constrained")
    rows = max(len(listed), 1 + max((len(column) for column in table.values()), default=0))
    axes = figure.subplot_mosaic(
        [["drawing", "drawing"], ["spy", "degrees"], ["table", "table"]],
        height_ratios=[1.15, 1.15, 0.12 + 0.065 * rows],
    )
    draw(graph, axes["drawing"])
    # The cell is nearly square; a fixed proportion would make constrained layout misjudge the room for labels.
    spy(graph, axes["spy"]).set_box_aspect(None)
    degree_distribution(graph, axes["degrees"], fit=fit)
    _write_page_table(axes["table"], listed, table)
    if title:
        figure.suptitle(title, fontsize=FONT["title"] + 2, color=INK)
    return dict(axes)


def _plain_values(graph: CachedLayeredGraph, values: Mapping[str, Any] | None) -> dict[str, str]:
    """Return name -> text of the single values."""
    if values is None:
        blocks = block_counts(graph)
        edges, pairs = int(blocks.counts.sum()), max(int(blocks.pairs.sum()), 1)
        stages = len(np.unique(np.asarray(graph.stage_array())))
        values = {"nodes": len(graph), "edges": edges, "density": edges / pairs, "stages": stages}
    if not isinstance(values, Mapping):
        raise DtypeError(f"values must map names to numbers or texts, got {type(values).__name__}; pass a dict")
    return {str(name): _text(value) for name, value in list(values.items())[:_MOST_ROWS]}


def _plain_table(graph: CachedLayeredGraph, per_stage: Mapping[str, Sequence[Any]] | None) -> dict[str, list[str]]:
    """Return column -> texts of the table."""
    if per_stage is None:
        per_stage = stage_rows(graph)
    if not isinstance(per_stage, Mapping):
        raise DtypeError(f"per_stage must map columns to values, got {type(per_stage).__name__}; pass a dict of lists")
    lengths = {str(name): len(column) for name, column in per_stage.items()}
    if len(set(lengths.values())) > 1:
        raise ShapeError(f"the columns of per_stage must have one length, got {lengths}; give every row each column")
    return {str(name): [_text(value) for value in list(column)[:_MOST_ROWS]] for name, column in per_stage.items()}


def _text(value: Any) -> str:
    """Return a number in three digits, or the text as it is."""
    if isinstance(value, (bool, str)) or value is None:
        return "" if value is None else str(value)
    if isinstance(value, (int, np.integer)):
        return f"{value:,}"
    return f"{value:.3g}" if isinstance(value, (float, np.floating)) else str(value)


def _write_page_table(ax: Axes, listed: Mapping[str, str], table: Mapping[str, Sequence[str]]) -> None:
    """Write the single values on the left third and the table on the rest of the axes."""
    ax.set_axis_off()
    ax.set_xlim(0.0, 1.0)
    titled(ax, "values")
    rows = max(len(listed), 1 + max((len(column) for column in table.values()), default=0), 1)
    style: dict[str, Any] = {"fontsize": FONT["tick"], "color": INK, "va": "center"}

    def height(row: int) -> float:
        return 1.0 - (row + 0.5) / rows

    for row, (name, text) in enumerate(listed.items()):
        ax.text(0.0, height(row), name, ha="left", **style)
        ax.text(0.30, height(row), text, ha="right", **style)
    right_ends = np.linspace(0.38, 1.0, len(table) + 1)[1:] if listed else np.linspace(0.0, 1.0, len(table) + 1)[1:]
    for right, (name, column) in zip(right_ends.tolist(), table.items(), strict=True):
        ax.text(right, height(0), name, ha="right", weight="bold", **style)
        for row, text in enumerate(column):
            ax.text(right, height(row + 1), text, ha="right", **style)
    if table:
        left = 0.38 if listed else 0.0
        ax.plot([left, 1.0], [1.0 - 1.0 / rows] * 2, color=PALE, linewidth=0.8)
    ax.set_ylim(0.0, 1.0)
