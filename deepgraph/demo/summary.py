"""The text of a demo: header, table, what the table does not say, checks, pictures."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

from deepgraph.demo.accuracy import apart
from deepgraph.demo.result import Result
from deepgraph.demo.training import Data

__all__ = ["files", "header", "notes", "results_table", "text_table"]

WIDTH = 100

PICTURES = {
    "training": "accuracy of every method over training",
    "layers": "the DAN that RigL left, stage by stage, stem and head included",
    "degrees": "connections of its neurons, without stem and head",
    "spy": "its adjacency matrix",
    "edits": "what RigL grew and dropped in it, edit by edit",
    "inputs": "pixels that the FFN reads after RigL",
}


def text_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table of texts, first column left, the others right.

    Examples
    --------
    >>> print(text_table(["name", "n"], [["a", "10"], ["bcd", "2"]]))
    name   n
    ----  --
    a     10
    bcd    2
    """
    widths = [max(len(row[at]) for row in (columns, *rows)) for at in range(len(columns))]
    lines = [columns, ["-" * width for width in widths], *rows]
    padded = [[line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])] if widths else [] for line in lines]
    return "\n".join("  ".join(line) for line in padded)


def header(result: Result, data: Data) -> str:
    """Return the lines above everything: data, budget, prior."""
    settings, prior = result.settings, result.prior
    optimizer = (
        f"Adam, learning rate {settings.learning_rate:g} (DEEPR: its own, {settings.deepr_rate:g}), falling to 0"
    )
    few = [] if settings.images is None else ["few images: everything runs, and no number below means anything"]
    return "\n".join([
        *few,
        f"data: {result.split.name}, {len(data.x):,} training and {len(data.x_test):,} test images, seed {result.seed}",
        f"each method: {settings.epochs} epochs of batches of {settings.batch}; {optimizer}",
        f"prior: Watts-Strogatz small world in random order, {prior['neurons']:,} neurons, {prior['edges']:,} edges, "
        f"{prior['stages']} stages, {prior['inputs']:,} sources, {prior['outputs']:,} sinks",
    ])  # fmt: skip


def results_table(result: Result) -> str:
    """Return the table: a row per method with accuracy and interval, edges, density, time per step, times faster."""
    rows = []
    for key, run in result.runs.items():
        low, high = run.accuracy.interval
        times = ["-", "-"]
        if result.timings is not None:
            ratio = result.timings.ratio(result.baseline, key)
            times = [f"{result.timings.milliseconds(key):.2f}", f"{ratio.value:.1f}x"]
        rows.append([
            run.method.label,
            f"{100 * run.accuracy.share:.1f} %",
            f"{100 * low:.1f} to {100 * high:.1f}",
            f"{run.num_edges:,}",
            f"{100 * run.density:.1f} %",
            *times,
        ])  # fmt: skip
    columns = ["method", "accuracy", "95 % interval", "edges", "density", "ms/step", "faster than dense"]
    return text_table(columns, rows)


def notes(result: Result) -> str:
    """Return what must be said under the table."""
    paragraphs = [_accuracy_note(result), *_pair_notes(result), *_time_notes(result)]
    return "\n".join(textwrap.fill(text, WIDTH, initial_indent="- ", subsequent_indent="  ") for text in paragraphs)


def _accuracy_note(result: Result) -> str:
    """Return what the intervals allow one to say."""
    runs = list(result.runs.values())
    pairs = apart([run.accuracy for run in runs])
    total = runs[0].accuracy.total
    interval = (
        f"The intervals are Wilson's for {total:,} test images and one seed; a difference inside the interval is none."
    )
    if not pairs:
        return f"{interval} All intervals overlap here: nothing shows one method to be more accurate than another."
    beaten: dict[str, list[str]] = {}
    for better, worse in pairs:
        beaten.setdefault(runs[better].method.label, []).append(runs[worse].method.label)
    said = "; ".join(f"{better} is above {' and '.join(worse)}" for better, worse in beaten.items())
    return f"{interval} Intervals that do not overlap: {said}. Another seed may say otherwise."


def _pair_notes(result: Result) -> list[str]:
    """Return how far each DAN is from the FFN that was trained in the same way with as many edges."""
    found = []
    for way in ("static", "rigl"):
        dan, ffn = result.runs.get(f"dan_{way}"), result.runs.get(f"ffn_{way}")
        if dan is not None and ffn is not None:
            points = 100 * (dan.accuracy.share - ffn.accuracy.share)
            found.append(f"{'RigL' if way == 'rigl' else way} {points:+.1f}")
    said = f"DAN against FFN with as many edges, in points of accuracy: {', '.join(found)}."
    density = "The density of a DAN counts every pair of its neurons that goes up in stage."
    return [f"{said} {density}"] if found else []


def _time_notes(result: Result) -> list[str]:
    """Return how times were measured, and how well."""
    if result.timings is None:
        return []
    same = result.timings.ratio(result.baseline, f"{result.baseline} again")
    rounds = result.timings.to_dict()["rounds"]
    replaced = [
        f"{run.method.label} {run.edges_replaced:,} edges in {run.edits} of {run.steps[-1]} steps"
        for run in result.runs.values()
        if run.edits
    ]
    spent = ", ".join(f"{run.method.label} {run.seconds:.1f} s" for run in result.runs.values())
    return [
        f"ms/step: a full training step on {result.settings.batch} images with {result.threads} "
        f"thread{'s' * (result.threads > 1)}, "
        f"the median of {rounds} interleaved rounds; the dense model against itself: {same}.",
        f"Edits replaced: {'; '.join(replaced)}." if replaced else "No edges were replaced.",
        f"Whole training, edits included: {spent}.",
    ]


def files(result: Result, out: Path) -> str:
    """Return a line for each file that the demo wrote, its path and what it shows, and the time that all took."""
    lines = [(str(path), PICTURES[name]) for name, path in result.pictures.items()]
    lines += [(str(out / "report.txt"), "the report"), (str(out / "demo.json"), "all numbers")]
    longest = max(len(path) for path, _ in lines)
    listed = "\n".join(f"{path:{longest}}  {text}" for path, text in lines)
    return f"{listed}\n\nThe demo took {result.seconds or 0.0:.0f} s."
