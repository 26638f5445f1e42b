"""What training did to the edges: how many were dropped and grown when, how far they reach, how long they stay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgba
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter

from deepgraph.errors import ArgumentError, DtypeError, ShapeError
from deepgraph.plotting.layout import stage_ranks
from deepgraph.plotting.style import INK, SERIES, axes_or_new, legend_on_top, short_count, titled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike, NDArray

    from deepgraph.graph import EdgeEdit

__all__ = ["edge_lifetimes", "edit_history"]

_SPANS = ("to the next stage", "skipping 1 stage", "skipping 2 or more")
_TINTS = (1.0, 0.62, 0.3)


def edit_history(graph_or_history: Any, ax: Axes | None = None, *, stages: ArrayLike | None = None) -> Axes:
    """Return the axes with the edges grown (up) and dropped (down) at each edit, split by the stages they skip.

    Parameters
    ----------
    graph_or_history
        A graph, whose `history` is drawn, or a sequence of its `EdgeEdit`.
    ax
        Axes to draw into; None makes a new figure of 6.4 x 4.2 inches.
    stages
        (N,) stage of each neuron; taken from the graph where one is given. Without it edges are not split.

    Raises
    ------
    DtypeError
        If neither a graph nor a sequence of edits is given.
    ShapeError
        If `stages` has fewer entries than the edits have neurons.

    Notes
    -----
    Edits without a step are numbered in their order. An edge that an algorithm drops and grows back in one edit has
    not changed, so it counts in neither.

    Examples
    --------
    >>> from deepgraph.graph import CachedLayeredGraph
    >>> graph = CachedLayeredGraph.from_arrays([0, 1], [1, 2])
    >>> _ = graph.edit(grow=([0], [2]), step=100)
    >>> edit_history(graph).get_title(loc="left")
    '1 edit: 1 edge grown, 0 dropped'
    """
    edits = _edits(graph_or_history)
    stage = _stage_of(graph_or_history, stages)
    steps = _steps(edits)
    grown = _span_counts([edit.grown for edit in edits], stage)
    dropped = _span_counts([edit.dropped for edit in edits], stage)
    ax = axes_or_new(ax, (6.4, 4.2))
    entries = [
        *_stack(ax, steps, grown, 1.0, "grown", SERIES[0]),
        *_stack(ax, steps, dropped, -1.0, "dropped", SERIES[1]),
    ]
    ax.axhline(0.0, color=INK, linewidth=0.8)
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: short_count(abs(value))))
    num_grown, num_dropped = int(grown.sum()), int(dropped.sum())
    summary = f"{num_grown:,} edge{'' if num_grown == 1 else 's'} grown, {num_dropped:,} dropped"
    stepped = all(edit.step is not None for edit in edits)
    titled(
        ax,
        f"{len(edits)} edit{'' if len(edits) == 1 else 's'}: {summary}",
        "training step" if stepped else "edit",
        "edges per edit (dropped below 0)",
    )
    most = max(float(grown.sum(axis=1).max(initial=0)), float(dropped.sum(axis=1).max(initial=0)), 1.0)
    margin = 0.5 * _bar_width(steps) + 0.01 * np.ptp(steps) if steps.size else 1.0
    ax.set_xlim(
        steps.min(initial=np.inf if steps.size else 0.0) - margin,
        steps.max(initial=-np.inf if steps.size else 1.0) + margin,
    )
    ax.set_ylim(-1.15 * most, 1.15 * most)
    ax.spines[["top", "right"]].set_visible(False)
    legend_on_top(ax, entries, columns=2)
    return ax


def edge_lifetimes(graph_or_history: Any, ax: Axes | None = None, *, until: int | None = None) -> Axes:
    """Return the axes with the share of grown edges that are still there k steps after they were grown.

    Edges that were not dropped before the record ends are censored, not counted as long-lived: the curve is the
    product-limit estimate of [1]_. It ends with the longest time that any edge was seen.

    Parameters
    ----------
    graph_or_history
        A graph, whose `history` is read, a sequence of its `EdgeEdit`, or a mapping from names to either, for one curve
        each.
    ax
        Axes to draw into; None makes a new figure of 5.6 x 4.2 inches.
    until
        The step at which the record ends; the step of the last edit by default.

    Raises
    ------
    DtypeError
        If neither a graph nor a sequence of edits is given.
    ArgumentError
        If a mapping is empty.

    References
    ----------
    .. [1] Kaplan, E. L. and Meier, P. "Nonparametric estimation from incomplete observations", Journal of the American
       Statistical Association 53(282), 1958.

    Examples
    --------
    >>> from deepgraph.graph import CachedLayeredGraph
    >>> graph = CachedLayeredGraph.from_arrays([0, 1], [1, 2])
    >>> _ = graph.edit(grow=([0], [2]), step=100)
    >>> _ = graph.edit(drop=([0], [2]), step=300)
    >>> edge_lifetimes(graph).get_title(loc="left")
    '1 edge grown, 1 dropped again'
    >>> edge_lifetimes({"mine": graph}).get_legend().get_texts()[0].get_text()
    'mine: 1 edge grown, 1 dropped again'
    """
    named = isinstance(graph_or_history, Mapping)
    listed = graph_or_history if named else {"": graph_or_history}
    if not listed:
        raise ArgumentError("expected at least one named history, got an empty mapping; record a training first")
    found = {name: _lifetimes(_edits(one), until) for name, one in listed.items()}
    ax = axes_or_new(ax, (5.6, 4.2))
    said = {name: _lifetimes_text(*lived) for name, lived in found.items()}
    for index, (name, (lifetimes, died)) in enumerate(found.items()):
        ages, alive = _survival(lifetimes, died)
        label = f"{name}: {said[name]}"
        # Curves of algorithms that edit at the same steps lie on each other at first: dashes let the lower one through.
        color, dash = SERIES[index % len(SERIES)], ("solid", (0, (4, 1.5)), (0, (1.5, 1)))[index % 3]
        ax.step(ages, alive, where="post", color=color, linestyle=dash, linewidth=1.8, label=label)
    ax.set_xlim(0.0, max(1.0, *(float(lifetimes.max(initial=0)) for lifetimes, _ in found.values())))
    ax.set_ylim(0.0, 1.03)
    ax.spines[["top", "right"]].set_visible(False)
    titled(ax, "lifetime of grown edges" if named else said[""], "steps since grown", "share still there")
    if named:
        legend_on_top(ax)
    return ax


def _lifetimes_text(lifetimes: NDArray[np.float64], died: NDArray[np.bool_]) -> str:
    """Return how many edges came and went again."""
    return f"{lifetimes.size:,} edge{'' if lifetimes.size == 1 else 's'} grown, {int(died.sum()):,} dropped again"


def _survival(
    lifetimes: NDArray[np.float64], died: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the ages (A,), from 0 to the longest seen, and the share alive from each on (A,)."""
    ages = np.unique(lifetimes[died])
    ordered, ends = np.sort(lifetimes), np.sort(lifetimes[died])
    at_risk = lifetimes.size - np.searchsorted(ordered, ages)
    deaths = np.searchsorted(ends, ages, side="right") - np.searchsorted(ends, ages)
    alive = np.cumprod(1.0 - deaths / np.maximum(at_risk, 1))
    last = max(float(lifetimes.max(initial=0)), 1.0)
    return np.concatenate([[0.0], ages, [last]]), np.concatenate([[1.0], alive, alive[-1:] if alive.size else [1.0]])


def _edits(graph_or_history: Any) -> list[EdgeEdit]:
    """Return the edits, oldest first, of a graph or a sequence."""
    edits = getattr(graph_or_history, "history", graph_or_history)
    if not isinstance(edits, Sequence) or not all(hasattr(edit, "grown") and hasattr(edit, "step") for edit in edits):
        raise DtypeError(
            f"expected a graph or a sequence of its edits, got {type(graph_or_history).__name__}; "
            "pass model.graph or model.graph.history"
        )
    return list(edits)


def _stage_of(graph_or_history: Any, stages: ArrayLike | None) -> NDArray[np.int64] | None:
    """Return the stage (N,) of each neuron, as ranks, so that a skip counts stages that exist; None where unknown."""
    if stages is not None:
        return np.unique(np.asarray(stages), return_inverse=True)[1].reshape(-1)
    return stage_ranks(graph_or_history)[0] if hasattr(graph_or_history, "stage_array") else None


def _steps(edits: Sequence[EdgeEdit]) -> NDArray[np.float64]:
    """Return the step (K,) of each edit, or its number where a step is missing."""
    if all(edit.step is not None for edit in edits):
        return np.array([edit.step for edit in edits], dtype=np.float64)
    return np.arange(len(edits), dtype=np.float64)


def _span_counts(
    pairs: Sequence[tuple[NDArray[np.integer[Any]], NDArray[np.integer[Any]]]], stage: NDArray[np.int64] | None
) -> NDArray[np.int64]:
    """Return the edges (K, 3) per edit that skip no, one, and more stages; (K, 1) where stages are unknown."""
    if stage is None:
        return np.array([[len(src)] for src, _ in pairs], dtype=np.int64).reshape(-1, 1)
    result = np.zeros((len(pairs), 3), dtype=np.int64)
    for row, (src, dst) in enumerate(pairs):
        highest = max(int(np.max(src, initial=-1)), int(np.max(dst, initial=-1)))
        if highest >= stage.size:
            raise ShapeError(f"stages must cover every neuron of the edits, up to {highest}, got {stage.size} entries")
        span = np.clip(np.abs(stage[dst] - stage[src]), 1, 3)
        result[row] = np.bincount(span, minlength=4)[1:]
    return result


def _bar_width(steps: NDArray[np.float64]) -> float:
    """Return the width of a bar in steps: most of the smallest distance between two edits."""
    distances = np.diff(np.unique(steps))
    return 0.8 * float(distances.min()) if distances.size else 1.0


def _stack(
    ax: Axes, steps: NDArray[np.float64], counts: NDArray[np.int64], sign: float, verb: str, color: str
) -> list[Patch]:
    """Return the legend entries; add one collection of bars per kind of edge, stacked away from 0."""
    entries, base = [], np.zeros(steps.size)
    left, right = steps - 0.5 * _bar_width(steps), steps + 0.5 * _bar_width(steps)
    split = counts.shape[1] > 1 and counts[:, 1:].any()
    for kind in range(counts.shape[1]):
        if not counts[:, kind].any():
            continue
        top = base + sign * counts[:, kind]
        corners = np.stack([left, base, right, base, right, top, left, top], axis=1).reshape(-1, 4, 2)
        tint = np.array(to_rgba(color))
        tint[:3] = 1.0 - _TINTS[kind] * (1.0 - tint[:3])
        label = f"{verb}, {_SPANS[kind]}" if split else verb
        ax.add_collection(PolyCollection(list(corners), facecolors=[tuple(tint)], linewidths=0, label=label))
        entries.append(Patch(facecolor=tuple(tint), label=label))
        base = top
    return entries


def _lifetimes(edits: Sequence[EdgeEdit], until: int | None) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the steps (G,) that each grown edge was seen, and whether it was dropped at their end (G,)."""
    steps = _steps(edits)
    parts = [
        (edit_pairs[0], edit_pairs[1], np.full(len(edit_pairs[0]), step), np.full(len(edit_pairs[0]), born))
        for edit, step in zip(edits, steps.tolist(), strict=True)
        for edit_pairs, born in ((edit.dropped, False), (edit.grown, True))
    ]
    if not parts:
        return np.zeros(0), np.zeros(0, dtype=bool)
    src, dst, when, born = (np.concatenate(column) for column in zip(*parts, strict=True))
    # One pair's events lie side by side, in time; within one edit an edge goes before it comes, as concatenated.
    order = np.lexsort((np.arange(src.size), dst, src))
    src, dst, when, born = src[order], dst[order], when[order], born[order].astype(bool)
    same = np.append((src[1:] == src[:-1]) & (dst[1:] == dst[:-1]), False)
    died = (born & same)[born]
    end = np.where(born & same, np.append(when[1:], 0.0), float(steps[-1]) if until is None else float(until))
    return np.maximum(end - when, 0.0)[born], died
