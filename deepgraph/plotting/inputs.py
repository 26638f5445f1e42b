"""Which inputs a network looks at: connections per input, laid out as the image that the inputs are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from deepgraph.errors import MissingColumnError, ShapeError
from deepgraph.plotting.layout import checked_graph
from deepgraph.plotting.style import PALE, SEQUENTIAL, axes_or_new, color_bar, titled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from deepgraph.graph import CachedLayeredGraph

__all__ = ["input_connections", "input_heatmap"]


def input_connections(graph: CachedLayeredGraph, weight: str | None = None) -> NDArray[np.float64]:
    """Return the connections (I,) that leave each input column, or the sum of |weight| over them.

    Raises
    ------
    MissingColumnError
        If there is no edge column `weight`.

    Examples
    --------
    >>> from deepgraph.graph import CachedLayeredGraph
    >>> graph = CachedLayeredGraph.from_arrays([0, 0, 1], [2, 3, 3], weight=[1.0, -2.0, 0.5])
    >>> input_connections(graph).tolist(), input_connections(graph, "weight").tolist()
    ([2.0, 1.0], [3.0, 0.5])
    """
    src, _ = graph.edge_arrays()
    if weight is not None and not graph.has_column(weight):
        known = ", ".join(sorted(graph.column_names)) or "none"
        raise MissingColumnError(
            f"weight must name an edge column or be None, got {weight!r}; the graph has these columns: {known}"
        )
    amount = None if weight is None else np.abs(np.asarray(graph.column(weight), dtype=np.float64))
    per_node = np.bincount(src, amount, minlength=len(graph)).astype(np.float64)
    return per_node[np.asarray(graph.input_positions(), dtype=np.int64)]


def input_heatmap(
    graph: CachedLayeredGraph, shape: Sequence[int] = (28, 28), ax: Axes | None = None, weight: str | None = None
) -> Axes:
    """Return the axes with the connections of each input, or their summed |weight|, as an image; unused inputs white.

    Parameters
    ----------
    graph
        A graph whose inputs, in column order, are the elements of an image.
    shape
        (height, width), or (channels, height, width), whose channels are added up.
    ax
        Axes to draw into; None makes a new figure of 4.6 x 4 inches.
    weight
        Edge column whose absolute values are added up; None counts connections.

    Raises
    ------
    ShapeError
        If `shape` is not 2-D or 3-D, or holds another number of elements than the graph has inputs.
    MissingColumnError
        If there is no edge column `weight`.
    DtypeError
        If `graph` or `ax` is of another type.

    Examples
    --------
    >>> from deepgraph.graph import CachedLayeredGraph
    >>> ax = input_heatmap(CachedLayeredGraph.from_arrays([0, 0, 1], [2, 3, 3]), shape=(1, 2))
    >>> ax.images[0].get_array().tolist()
    [[2.0, 1.0]]
    """
    graph = checked_graph(graph)
    shape = tuple(int(side) for side in shape)
    values = input_connections(graph, weight)
    if len(shape) not in (2, 3) or min(shape) < 1 or int(np.prod(shape)) != values.size:
        raise ShapeError(
            f"shape must be (height, width) or (channels, height, width) of the graph's {values.size} inputs, "
            f"got {shape}; count the inputs with len(graph.input_positions())"
        )
    image = values.reshape((-1, *shape[-2:])).sum(axis=0)
    ax = axes_or_new(ax, (4.6, 4.0))
    # Inputs that nothing reads stay white: they must be told from those with few connections.
    read = np.ma.masked_equal(image, 0.0)
    shown = ax.imshow(read, cmap=SEQUENTIAL, vmin=0.0, vmax=float(image.max()) or 1.0, interpolation="nearest")
    unit = "connections per pixel" if weight is None else f"sum of |{weight}| per pixel"
    color_bar(ax, shown, unit, square=True)
    unused = int((image == 0).sum())
    note = " (white: unused)" if unused else ""
    titled(ax, f"{image.size - unused:,} of {image.size:,} inputs used{note}", "column", "row")
    ax.spines[:].set_color(PALE)
    return ax
