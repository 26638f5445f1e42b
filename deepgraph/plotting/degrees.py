"""Fan-in and fan-out of the neurons: how many have at least k connections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from deepgraph.errors import ArgumentError, DtypeError
from deepgraph.plotting.layout import checked_graph
from deepgraph.plotting.style import SERIES, axes_or_new, legend_on_top, titled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from deepgraph.graph import CachedLayeredGraph

__all__ = ["degree_distribution"]

_SMALL_RANGE = 15  # up to this largest degree, bars say more than a cumulative curve
_STYLES = {"fan_in": ("fan-in", SERIES[0], "o"), "fan_out": ("fan-out", SERIES[1], "s")}


def degree_distribution(graph: CachedLayeredGraph, ax: Axes | None = None, fit: Any = None) -> Axes:
    """Return the axes with the distributions of fan-in and fan-out, cumulative on log-log axes or as bars.

    Bars are drawn where no degree exceeds 15. On log-log axes the complementary cumulative distribution is shown: the
    share of neurons with at least k connections. Inputs are left out of the fan-in and outputs out of the fan-out,
    which are 0 there by construction; neurons without any connection have no place on a logarithmic axis and are
    counted in the legend.

    Parameters
    ----------
    graph
        The structure to measure.
    ax
        Axes to draw into; None makes a new figure of 5.6 x 4.2 inches.
    fit
        Discrete power laws p(k) ~ k^-exponent, k >= kmin, drawn as dashed lines: {"fan_in": law, "fan_out": law} with
        either one left out; each law is a `deepgraph.analysis.PowerLaw`, or a mapping or an object with `exponent` > 1
        and `kmin` >= 1.

    Raises
    ------
    ArgumentError
        If `fit` names something else, or an `exponent` or `kmin` is out of range.
    DtypeError
        If `fit` is not a mapping or lacks `exponent` or `kmin`, or `graph` or `ax` is of another type.

    Examples
    --------
    >>> from deepgraph.graph import CachedLayeredGraph
    >>> ax = degree_distribution(CachedLayeredGraph.from_arrays([0, 0, 1, 2], [1, 2, 3, 3]))
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['fan-in: mean 1.3, largest 2', 'fan-out: mean 1.3, largest 2']
    """
    graph = checked_graph(graph)
    laws = _laws(fit)
    ax = axes_or_new(ax, (5.6, 4.2))
    degrees = _degrees(graph)
    largest = max(int(values.max(initial=0)) for values in degrees.values())
    if largest <= _SMALL_RANGE:
        _bars(ax, degrees, largest)
        titled(ax, "degrees", "connections of a neuron, k", "share of neurons")
    else:
        _curves(ax, degrees)
        titled(ax, "degrees", "connections of a neuron, k", "share of neurons with at least k")
    for name, (exponent, kmin) in laws.items():
        _draw_law(ax, degrees[name], name, exponent, kmin, cumulative=largest > _SMALL_RANGE)
    ax.spines[["top", "right"]].set_visible(False)
    legend_on_top(ax)
    return ax


def _degrees(graph: CachedLayeredGraph) -> dict[str, NDArray[np.int64]]:
    """Return the fan-in of all neurons but the inputs, the fan-out of all but the outputs."""
    src, dst = graph.edge_arrays()
    result = {}
    for name, ends, excluded in (
        ("fan_in", dst, graph.input_positions()),
        ("fan_out", src, graph.output_positions()),
    ):
        kept = np.ones(len(graph), dtype=bool)
        kept[np.asarray(excluded)] = False
        result[name] = np.bincount(ends, minlength=len(graph))[kept].astype(np.int64)
    return result


def _summary(name: str, values: NDArray[np.int64], with_zeros: bool) -> str:
    """Return the legend text: mean, largest and, where the axis hides them, how many neurons have no connection."""
    if not values.size:
        return f"{_STYLES[name][0]}: no neurons"
    text = (
        f"{_STYLES[name][0]}: mean {values.mean():.3g}"
        if values.mean() >= 100
        else (f"{_STYLES[name][0]}: mean {values.mean():.1f}")
    )
    zeros = int((values == 0).sum())
    return f"{text}, largest {values.max():,}" + (f", {zeros:,} without any" if with_zeros and zeros else "")


def _bars(ax: Axes, degrees: Mapping[str, NDArray[np.int64]], largest: int) -> None:
    """Add one row of bars per direction, side by side."""
    for (name, values), shift in zip(degrees.items(), (-0.2, 0.2), strict=True):
        share = np.bincount(values, minlength=largest + 1) / max(values.size, 1)
        ax.bar(
            np.arange(largest + 1) + shift, share, width=0.38, color=_STYLES[name][1],
            label=_summary(name, values, with_zeros=False),
        )  # fmt: skip
    ax.set_xticks(np.arange(0, largest + 1))
    ax.set_ylim(0.0, None if any(values.size for values in degrees.values()) else 1.0)


def _curves(ax: Axes, degrees: Mapping[str, NDArray[np.int64]]) -> None:
    """Add one complementary cumulative curve per direction on log-log axes."""
    for name, values in degrees.items():
        _, color, marker = _STYLES[name]
        found, count = np.unique(values[values > 0], return_counts=True)
        at_least = np.cumsum(count[::-1])[::-1] / max(values.size, 1)
        ax.plot(
            found, at_least, color=color, marker=marker, markersize=3.5, linewidth=1.2,
            label=_summary(name, values, with_zeros=True),
        )  # fmt: skip
    ax.set_xscale("log")
    ax.set_yscale("log")


def _laws(fit: Any) -> dict[str, tuple[float, int]]:
    """Return (exponent, kmin) of each given fit, checked."""
    if fit is None:
        return {}
    if not isinstance(fit, Mapping):
        raise DtypeError(
            f"fit must be a mapping from 'fan_in' and 'fan_out' to power laws, got {type(fit).__name__}; "
            "write fit={'fan_in': {'exponent': 2.5, 'kmin': 3}}"
        )
    laws = {}
    for name, law in fit.items():
        if name not in _STYLES:
            raise ArgumentError(f"fit may hold 'fan_in' and 'fan_out', got {name!r}; rename this entry")
        if law is None:
            continue
        read = law.get if isinstance(law, Mapping) else lambda key, law=law: getattr(law, key, None)
        exponent, kmin = read("exponent"), read("kmin")
        if exponent is None or kmin is None:
            raise DtypeError(f"fit[{name!r}] must have exponent and kmin, got {law!r}; give both")
        if not (exponent > 1 and kmin >= 1):
            raise ArgumentError(f"fit[{name!r}] must have exponent > 1 and kmin >= 1, got {exponent} and {kmin}")
        laws[name] = (float(exponent), int(kmin))
    return laws


def _draw_law(ax: Axes, values: NDArray[np.int64], name: str, exponent: float, kmin: int, *, cumulative: bool) -> None:
    """Add the fitted power law, scaled to the share of neurons in its tail."""
    from scipy.special import zeta

    largest = int(values.max(initial=0))
    if largest < kmin:
        return
    # 60 values of k draw a smooth line, also where degrees reach into the thousands.
    k = np.unique(np.geomspace(kmin, max(largest, kmin), 60).round().astype(np.int64))
    tail = (values >= kmin).sum() / values.size
    law = zeta(exponent, k) if cumulative else k.astype(float) ** -exponent
    ax.plot(
        k,
        tail * law / zeta(exponent, kmin),
        color=_STYLES[name][1],
        linestyle=(0, (4, 2)),
        linewidth=1.6,
        label=rf"{_STYLES[name][0]}: power law with $\alpha$ = {exponent:.2f} from k = {kmin}",
    )
