"""Curves over training steps: accuracy or loss of several runs, and a statistic of the graph against its nulls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import PercentFormatter

from deepgraph.errors import ArgumentError, DtypeError, MissingColumnError, ShapeError
from deepgraph.plotting.style import PALE, SERIES, axes_or_new, legend_on_top, titled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike, NDArray

__all__ = ["statistic_over_steps", "training_curves"]

_DASHES = ("solid", (0, (5, 1.5)), (0, (1.5, 1)), (0, (5, 1, 1.5, 1)))


def training_curves(
    histories: Mapping[str, Any], ax: Axes | None = None, value: str = "accuracy", *, level: float = 0.95
) -> Axes:
    """Return the axes with one curve per method: the mean over its runs, and the band that holds the true mean.

    The band is the two-sided Student interval of the mean over independent runs (seeds); one run has a line only. The
    legend says the last value, half the width of its interval and the number of runs n.

    Parameters
    ----------
    histories
        Method name -> one run or a sequence of runs; a run is a mapping with "step" (T,) and `value` (T,). The runs of
        a method share their steps.
    ax
        Axes to draw into; None makes a new figure of 6.4 x 4.2 inches.
    value
        Which entry of the runs is drawn; shares in [0, 1] named "...accuracy" are shown in percent.
    level
        Confidence of the band, in (0, 1).

    Raises
    ------
    ArgumentError
        If there are no runs, or `level` is outside (0, 1).
    MissingColumnError
        If a run lacks "step" or `value`.
    ShapeError
        If a run's arrays are not 1-D of one length, or the runs of a method differ in their steps.
    DtypeError
        If `histories` or a run is not a mapping, or `ax` is of another type.

    Examples
    --------
    >>> runs = [{"step": [0, 10], "accuracy": [0.1, 0.80]}, {"step": [0, 10], "accuracy": [0.1, 0.82]}]
    >>> ax = training_curves({"RigL": runs})
    >>> ax.get_legend().get_texts()[0].get_text()
    'RigL: 81 ± 13 % (n=2)'
    """
    if not 0.0 < level < 1.0:
        raise ArgumentError(f"level must be in (0, 1), got {level}; 0.95 is usual")
    if not isinstance(histories, Mapping):
        raise DtypeError(f"histories must map method names to runs, got {type(histories).__name__}; name each method")
    if not histories:
        raise ArgumentError("histories must name at least one method, got none; run one first")
    curves = {name: _runs(name, runs, value) for name, runs in histories.items()}
    ax = axes_or_new(ax, (6.4, 4.2))
    percent = value.endswith("accuracy") and all(np.nanmax(table, initial=0.0) <= 1.0 for _, table in curves.values())
    for index, (name, (steps, table)) in enumerate(curves.items()):
        color, dash = SERIES[index % len(SERIES)], _DASHES[index // len(SERIES) % len(_DASHES)]
        mean, half = table.mean(axis=0), _half_width(table, level)
        ax.plot(
            steps, mean, color=color, linestyle=dash, linewidth=1.6,
            marker="o" if steps.size == 1 else "", label=_last_value(name, mean[-1], half, len(table), percent),
        )  # fmt: skip
        if half is not None:
            ax.fill_between(steps, mean - half, mean + half, color=color, alpha=0.18, linewidth=0)
    if percent:
        ax.yaxis.set_major_formatter(PercentFormatter(1.0))
    banded = any(len(table) > 1 for _, table in curves.values())
    band = f", mean and {100 * level:g} % interval" if banded else ""
    titled(ax, f"{value}{band}", "training step", value)
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(axis="y", color="#E4E4E4", linewidth=0.6)
    ax.set_axisbelow(True)
    legend_on_top(ax, columns=2)
    return ax


def _runs(name: str, runs: Any, value: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the steps (T,) and values (R, T) of the runs of one method, checked."""
    listed = [runs] if isinstance(runs, Mapping) else list(runs) if isinstance(runs, Sequence) else [runs]
    if not listed:
        raise ArgumentError(f"histories[{name!r}] must hold at least one run, got none; leave the method out")
    steps, rows = None, []
    for run in listed:
        if not isinstance(run, Mapping):
            raise DtypeError(
                f"histories[{name!r}] must hold mappings with 'step' and {value!r}, got {type(run).__name__}"
            )
        for key in ("step", value):
            if key not in run:
                raise MissingColumnError(
                    f"a run of {name!r} must have {key!r}, got {', '.join(map(str, run)) or 'an empty run'}; record it"
                )
        step, row = np.asarray(run["step"], dtype=np.float64), np.asarray(run[value], dtype=np.float64)
        if step.ndim != 1 or step.shape != row.shape or not step.size:
            raise ShapeError(
                f"'step' and {value!r} of a run of {name!r} must be (T,) with T >= 1, got {step.shape} and {row.shape}"
            )
        if steps is not None and not np.array_equal(steps, step):
            raise ShapeError(
                f"the runs of {name!r} must share their steps, got {steps.size} and {step.size} values or other steps; "
                "record all at the same steps, or give them different names"
            )
        steps = step
        rows.append(row)
    return np.asarray(steps), np.stack(rows)


def _half_width(table: NDArray[np.float64], level: float) -> NDArray[np.float64] | None:
    """Return half the width (T,) of the Student interval of the mean over R runs; None for a single run."""
    if len(table) < 2:
        return None
    from scipy.special import stdtrit

    quantile = stdtrit(len(table) - 1, 0.5 + 0.5 * level)
    return np.asarray(quantile * table.std(axis=0, ddof=1) / np.sqrt(len(table)), dtype=np.float64)


def _last_value(name: str, mean: float, half: NDArray[np.float64] | None, runs: int, percent: bool) -> str:
    """Return the legend text: name, last value, half its interval, number of runs."""
    scale, unit = (100.0, " %") if percent else (1.0, "")
    if half is None:
        return f"{name}: {scale * mean:.3g}{unit}"
    width = scale * float(half[-1])
    # As many decimals as the interval has at its second digit: more would claim a precision that is not there.
    places = int(np.clip(1 - np.floor(np.log10(width)), 0, 4)) if width > 0 else 2
    return f"{name}: {scale * mean:.{places}f} ± {width:.{places}f}{unit} (n={runs})"


def statistic_over_steps(
    steps: ArrayLike,
    values: ArrayLike,
    ax: Axes | None = None,
    nulls: ArrayLike | None = None,
    *,
    name: str = "statistic",
) -> Axes:
    """Return the axes with one statistic of a graph over training, and its range over null models.

    Parameters
    ----------
    steps
        (T,) training steps.
    values
        (T,) the statistic, in its own unit.
    ax
        Axes to draw into; None makes a new figure of 6.4 x 4.2 inches.
    nulls
        (K, T) the statistic of K null graphs at each step: their mean is a dashed line, the band goes from the
        smallest to the largest.
    name
        What the statistic is called on the axis.

    Raises
    ------
    ShapeError
        If `values` is not (T,) or `nulls` is not (K, T).

    Examples
    --------
    >>> ax = statistic_over_steps([0, 10], [0.2, 0.8], nulls=[[0.2, 0.3], [0.1, 0.4]], name="Gini of fan-in")
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['graph', 'null models: mean', 'null models: range of 2']
    """
    step, value = np.asarray(steps, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if step.ndim != 1 or value.shape != step.shape:
        raise ShapeError(f"values must be (T,) as steps, got {value.shape} and {step.shape}; one value per step")
    null = None if nulls is None else np.asarray(nulls, dtype=np.float64)
    if null is not None and (null.ndim != 2 or null.shape[1] != step.size or not len(null)):
        raise ShapeError(f"nulls must be (K, {step.size}), one row per null graph, got {null.shape}; transpose it?")
    ax = axes_or_new(ax, (6.4, 4.2))
    ax.plot(step, value, color=SERIES[0], linewidth=1.8, marker="o", markersize=3.5, label="graph")
    if null is not None:
        ax.plot(step, null.mean(axis=0), color="#666666", linestyle="--", linewidth=1.2, label="null models: mean")
        ax.fill_between(
            step, null.min(axis=0), null.max(axis=0), color=PALE, alpha=0.35, linewidth=0,
            label=f"null models: range of {len(null)}",
        )  # fmt: skip
    titled(ax, f"{name} over training", "training step", name)
    ax.spines[["top", "right"]].set_visible(False)
    legend_on_top(ax, columns=2)
    return ax
