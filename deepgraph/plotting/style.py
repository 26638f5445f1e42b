"""The one style of all figures: colours, sizes and small drawing parts; matplotlib's global settings stay untouched.

The categorical colours are those of Okabe and Ito, distinct under the common colour vision deficiencies [1]_.
The diverging map has a grey middle instead of a white one, so that a weight near zero is still seen on paper.

References
----------
.. [1] Okabe, M. and Ito, K. "Color Universal Design (CUD)" (2008), https://jfly.uni-koeln.de/color/.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap, ListedColormap, LogNorm, Normalize
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullLocator

from deepgraph.errors import DtypeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.artist import Artist
    from matplotlib.cm import ScalarMappable
    from matplotlib.colorbar import Colorbar
    from matplotlib.figure import Figure, SubFigure
    from numpy.typing import NDArray

__all__ = [
    "DIVERGING",
    "FONT",
    "INK",
    "PALE",
    "ROLE_COLORS",
    "ROLE_MARKERS",
    "SEQUENTIAL",
    "SERIES",
    "axes_or_new",
    "axes_points",
    "bare_axes",
    "color_bar",
    "density_norm",
    "dress",
    "figure_of",
    "legend_on_top",
    "short_count",
    "titled",
]

INK: Final = "#222222"
PALE: Final = "#9A9A9A"
SERIES: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
ROLE_COLORS: Final = {"input": "#009E73", "hidden": "#4D4D4D", "output": "#CC79A7", "input/output": "#E69F00"}
ROLE_MARKERS: Final = {"input": "s", "hidden": "o", "output": "D", "input/output": "p"}
FONT: Final = {"title": 10.0, "label": 9.0, "tick": 8.0, "small": 7.0}

DIVERGING: Final[Colormap] = LinearSegmentedColormap.from_list(
    "deepgraph_diverging", ["#08519C", "#4A90C8", "#C4C4C4", "#E8873A", "#A63603"]
)
# The palest sixth of viridis is left out: on white it could not be told from the background.
SEQUENTIAL: Final[Colormap] = ListedColormap(
    mpl.colormaps["viridis_r"](np.linspace(0.16, 1.0, 256)), name="deepgraph_sequential"
)


def axes_or_new(ax: Axes | None, size: tuple[float, float]) -> Axes:
    """Return the given axes, or the axes of a new pyplot figure.

    Parameters
    ----------
    ax
        Axes to draw into, or None for a new figure.
    size
        Width and height of a new figure in inches.

    Raises
    ------
    DtypeError
        If `ax` is something else than matplotlib Axes, or was removed from its figure.

    Examples
    --------
    >>> axes_or_new(None, (3, 2)).get_figure().get_size_inches().tolist()
    [3.0, 2.0]
    """
    if ax is None:
        from matplotlib import pyplot

        return pyplot.subplots(figsize=size, layout="constrained")[1]
    if not isinstance(ax, Axes):
        raise DtypeError(
            f"ax must be matplotlib Axes or None, got {type(ax).__name__}; take one that plt.subplots() returns"
        )
    figure_of(ax)
    return ax


def figure_of(ax: Axes) -> Figure | SubFigure:
    """Return the figure, or the part of one, that the axes belong to.

    Raises
    ------
    DtypeError
        If the axes were removed from their figure.

    Examples
    --------
    >>> type(figure_of(axes_or_new(None, (3, 2)))).__name__
    'Figure'
    """
    figure = ax.get_figure()
    if figure is None:
        raise DtypeError("ax must belong to a figure, got Axes that were removed from theirs; make new ones")
    return figure


def axes_points(ax: Axes) -> tuple[float, float]:
    """Return the width and height of the axes in points (1/72 inch), as they stand before a layout engine moves them.

    Examples
    --------
    >>> width, height = axes_points(axes_or_new(None, (4, 2)))
    >>> bool(100 < width < 288), bool(50 < height < 144)
    (True, True)
    """
    extent = ax.get_window_extent()
    points = 72.0 / figure_of(ax).dpi
    return max(float(extent.width * points), 1.0), max(float(extent.height * points), 1.0)


def bare_axes(ax: Axes) -> None:
    """Remove the frame and the vertical axis, which a drawing of a graph has no use for.

    Examples
    --------
    >>> ax = axes_or_new(None, (3, 2))
    >>> bare_axes(ax)
    >>> len(ax.get_yticks())
    0
    """
    ax.set_yticks([])
    ax.spines[:].set_visible(False)
    ax.tick_params(axis="x", length=0, labelsize=FONT["tick"], labelcolor=INK)


def titled(ax: Axes, title: str, x: str = "", y: str = "") -> None:
    """Set title and axis labels in the style's sizes.

    Examples
    --------
    >>> ax = axes_or_new(None, (3, 2))
    >>> titled(ax, "a title", x="step")
    >>> ax.get_title(loc="left"), ax.get_xlabel()
    ('a title', 'step')
    """
    ax.set_title(title, loc="left", fontsize=FONT["title"], color=INK)
    ax.set_xlabel(x, fontsize=FONT["label"], color=INK)
    ax.set_ylabel(y, fontsize=FONT["label"], color=INK)
    ax.tick_params(labelsize=FONT["tick"])


def dress(ax: Axes, title: str = "", x: str = "", y: str = "") -> Axes:
    """Return the axes in the style of all figures: small sizes, no frame above and to the right, title flush left.

    Parameters
    ----------
    ax
        Axes that hold a plot of one's own.
    title, x, y
        Texts; those left out stay as they are.

    Examples
    --------
    >>> ax = dress(axes_or_new(None, (3, 2)), "a title", x="step")
    >>> ax.get_title(loc="left"), ax.spines["top"].get_visible()
    ('a title', False)
    """
    titled(ax, title or ax.get_title(loc="left"), x or ax.get_xlabel(), y or ax.get_ylabel())
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def color_bar(ax: Axes, mappable: ScalarMappable, label: str, *, square: bool = False, **options: Any) -> Colorbar:
    """Return the slim colour bar added beside `ax`; `square` says that the axes have fixed proportions.

    Examples
    --------
    >>> from matplotlib.cm import ScalarMappable
    >>> bar = color_bar(axes_or_new(None, (3, 2)), ScalarMappable(), "density")
    >>> bar.ax.get_ylabel()
    'density'
    """
    figure = figure_of(ax)
    if square:
        # Space taken from axes of fixed proportions would move them out of their place.
        bar = figure.colorbar(mappable, cax=ax.inset_axes((1.03, 0.0, 0.04, 1.0)), **options)
    else:
        bar = figure.colorbar(mappable, ax=ax, fraction=0.035, pad=0.02, aspect=28, **options)
    if isinstance(mappable.norm, LogNorm):
        bar.ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        bar.ax.yaxis.set_major_formatter(FormatStrFormatter("%g"))
        bar.ax.yaxis.set_minor_locator(NullLocator())
    bar.set_label(label, fontsize=FONT["label"], color=INK)
    bar.ax.tick_params(labelsize=FONT["tick"], which="both")
    bar.outline.set_visible(False)
    return bar


def legend_on_top(ax: Axes, handles: Sequence[Artist] | None = None, columns: int = 1) -> None:
    """Place the legend inside `ax` above the data, whose axis is extended for it without ticks in the added part.

    Examples
    --------
    >>> ax = axes_or_new(None, (3, 2))
    >>> _ = ax.plot([0, 1], label="a curve")
    >>> legend_on_top(ax)
    >>> ax.get_legend().get_texts()[0].get_text(), bool(ax.get_ylim()[1] > 1.2), bool(ax.get_yticks().max() < 1.1)
    ('a curve', True, True)
    """
    shown = list(handles) if handles is not None else list(ax.get_legend_handles_labels()[0])
    if not shown:
        return
    rows = -(-len(shown) // columns)
    ax.legend(
        handles=shown,
        loc="upper left",
        ncols=columns,
        fontsize=FONT["tick"],
        frameon=False,
        borderaxespad=0.1,
        labelspacing=0.25,
        columnspacing=1.4,
    )
    transform = ax.yaxis.get_transform()
    bottom, top = ax.get_ylim()
    share = min((11.5 * rows + 6.0) / axes_points(ax)[1], 0.6)
    low, high = transform.transform([bottom, top])
    ticks = {minor: ax.get_yticks(minor=minor) for minor in (False, True)}
    ax.set_ylim(bottom, float(transform.inverted().transform([low + (high - low) / (1.0 - share)])[0]))
    for minor, places in ticks.items():
        ax.set_yticks(places[(places >= bottom) & (places <= top)], minor=minor)
    for side in ("left", "right"):
        ax.spines[side].set_bounds(bottom, top)


def density_norm(values: NDArray[np.floating[Any]]) -> Normalize:
    """Return the colour scale of densities: linear from 0, or logarithmic where they span more than a factor of 30.

    Parameters
    ----------
    values
        Any shape; densities in [0, 1]; zeros are ignored.

    Examples
    --------
    >>> type(density_norm(np.array([0.0, 0.1, 0.2]))).__name__
    'Normalize'
    >>> type(density_norm(np.array([0.001, 0.2]))).__name__
    'LogNorm'
    """
    positive = values[values > 0]
    if positive.size == 0:
        return Normalize(0.0, 1.0)
    low, high = float(positive.min()), float(positive.max())
    return LogNorm(low, high) if high > 30 * low else Normalize(0.0, high)


def short_count(count: float) -> str:
    """Return the count in at most five characters.

    Examples
    --------
    >>> [short_count(value) for value in (7, 950, 1200, 39_400, 1_000_000, 2_300_000_000)]
    ['7', '950', '1.2k', '39k', '1M', '2.3G']
    """
    for unit, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= unit * (1 if suffix == "G" else 0.9995):
            scaled = count / unit
            return f"{scaled:.0f}{suffix}" if scaled >= 9.95 or scaled % 1 < 0.05 else f"{scaled:.1f}{suffix}"
    return f"{count:.0f}"
