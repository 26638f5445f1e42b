"""A report as a text table and as LaTeX."""

from __future__ import annotations

import math
import textwrap
from typing import Any

from deepgraph.analysis.nulltests import FEWEST_FOR_Z, NULL_NAMES, NullTest
from deepgraph.analysis.report import Report
from deepgraph.analysis.table import format_number, lay_out, shorten_rows

__all__ = ["report_latex", "report_text"]

WIDTH = 100
_LETTER = {"directed": "d", "undirected": "u", "": ""}
_STAGE_HEADS = {
    "units": "units",
    "live": "live",
    "live_share": "share",
    "dead": "dead",
    "mean_strength": "sum|w|",
    "positive_share": "w > 0",
}
_PAIR_HEADS = {
    "edges": "edges",
    "density": "density",
    "effective_edges": "effective",
    "effective_density": "density",
    "butterflies": "squares",
    "bipartite_clustering": "clustering",
    "spectral_gap": "gap",
    "ramanujan_gap": "Ramanujan",
}


def report_text(report: Report) -> str:
    """Return the report as text of at most 100 columns.

    Examples
    --------
    >>> from deepgraph.analysis import analyse
    >>> from deepgraph.graph import CachedLayeredGraph
    >>> graph = CachedLayeredGraph.from_arrays([0, 1], [1, 2])
    >>> print(str(analyse(graph, measures=["edges", "depth"], seed=0, progress=False)).splitlines()[0])
    3 nodes and 2 edges in 3 stages (1-1-1)
    """
    lines = [report.title, "=" * min(len(report.title), WIDTH), ""]
    lines += _measure_lines(report)
    if report.stages:
        lines += ["", "per stage; fan-in of units that are no inputs, fan-out of those that are no outputs"]
        lines += _row_lines(report.stages, ("stage",), _STAGE_HEADS)
    if report.stage_pairs:
        lines += ["", "per stage pair that holds edges"]
        lines += _row_lines(report.stage_pairs, ("source", "target"), _PAIR_HEADS)
    lines += ["", *_foot_lines(report)]
    return "\n".join(lines)


def _measure_lines(report: Report) -> list[str]:
    """Return the lines of the whole-graph measures, under the headings of their families."""
    rows = []
    for value in report.values.values():
        row = [value.measure.name, format_number(value.value), _LETTER[value.measure.directed]]
        if report.num_nulls:
            row += [" " + _test_cell(report, value.nulls.get(name)) for name in NULL_NAMES]
        else:
            row += ["" if value.error is None else f"± {format_number(value.error, 2)}", value.measure.unit]
        rows.append(row)
    if not report.num_nulls:
        head, *body = lay_out(["", "value", "", "error", "unit"], rows)
        lines = [head]
    else:
        heads = [" " + _in_columns(["mean", "sd", "p", "z"][: 4 if report.has_z else 3]) for _ in NULL_NAMES]
        head, *body = lay_out(["", "value", "", *heads], rows, gap=1, width=WIDTH * 2)
        names = [f"{name} (n = {report.num_nulls})".rjust(len(heads[0])) for name in NULL_NAMES.values()]
        lines = [" ".join(["", *names]).rjust(len(head)), head]
    family = ""
    for value, line in zip(report.values.values(), body, strict=True):
        if value.measure.family != family:
            family = value.measure.family
            lines.append(family)
        lines.append(line)
    return lines


def _in_columns(cells: list[str]) -> str:
    """Return mean, sd, p and perhaps z in columns of fixed width."""
    return " ".join(cell.rjust(width) for cell, width in zip(cells, (9, 7, 4, 6), strict=False))


def _test_cell(report: Report, test: NullTest | None) -> str:
    """Return the columns of one test: mean, sd, p and, from 20 nulls on, z."""
    if test is None:
        return ""
    return "fixed by null" if test.fixed else _in_columns(_test_numbers(report, test))


def _test_numbers(report: Report, test: NullTest) -> list[str]:
    cells = [format_number(test.mean), format_number(test.sd, 2), format_number(test.p, 2).removeprefix("0")]
    return cells + ([_z_number(test.z)] if report.has_z else [])


def _z_number(z: float | None) -> str:
    """Return a z-score in at most six characters: two decimals below 100, none above, powers of ten from 1e5."""
    if z is None or not math.isfinite(z):
        return format_number(z)
    return f"{z:.2f}" if abs(z) < 99.995 else (f"{z:.0f}" if abs(z) < 1e5 else f"{z:.0e}")


def _row_lines(rows: list[dict[str, Any]], keys: tuple[str, ...], heads: dict[str, str]) -> list[str]:
    """Return the lines of a table of stages or of stage pairs."""
    columns = [name for name in rows[0] if name not in keys]
    header = ["-".join(keys) if len(keys) == 1 else "stages", *(heads.get(name, _fan_head(name)) for name in columns)]
    # Numbers are formatted only for the rows that are shown: a deep graph has as many stages as nodes.
    shown = shorten_rows([[str(at)] for at in range(len(rows))])
    cells = [
        ["-".join(str(rows[int(at[0])][key]) for key in keys)]
        + [format_number(rows[int(at[0])][name], 3) for name in columns]
        if at[0].isdigit()
        else [at[0], *[""] * len(columns)]
        for at in shown
    ]
    hidden = len(rows) - (len(cells) - 1)
    left = (
        [f"  ... {hidden:,} of {len(rows):,} rows are not shown; the report holds all"]
        if len(cells) < len(rows)
        else []
    )
    return lay_out(header, cells, gap=1 if len(header) > 10 else 2) + left


def _fan_head(name: str) -> str:
    """Return a short head for a column of fan-in or fan-out."""
    part, _, way = name.partition("_fan_")
    return f"{way}:{part}" if way else name


def _foot_lines(report: Report) -> list[str]:
    """Return what was skipped, what must be known to read the numbers, and where they come from."""
    notes = []
    said: dict[str, list[str]] = {}
    for name, value in report.values.items():
        if value.note:
            said.setdefault(value.note, []).append(name)
    notes += [f"{', '.join(names)}: {note}." for note, names in said.items()]
    skipped: dict[str, list[str]] = {}
    for name, reason in report.skipped.items():
        skipped.setdefault(reason, []).append(name)
    notes += [f"not computed: {', '.join(names)} ({reason})." for reason, names in skipped.items()]
    notes += report.notes
    notes.append("d: reads the direction of edges, u: undirected. report.describe(name) gives definition and source.")
    if report.num_nulls:
        notes.append(_test_note(report))
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    notes.append(f"seed {report.seed}; {versions}.")
    return [line for note in notes for line in textwrap.wrap(note, WIDTH, subsequent_indent="  ")]


def _test_note(report: Report) -> str:
    """Return what must be known of the tests against nulls."""
    smallest = 1 / (report.num_nulls + 1)
    z = "" if report.has_z else f" z is given from {FEWEST_FOR_Z} nulls on."
    return (
        f"p: two-sided rank against {report.num_nulls} random graphs, (r + 1) / (n + 1), at least {smallest:.3f}.{z} "
        f"{report.comparisons} comparisons were made: {0.05 * report.comparisons:.1f} would fall below .05 by chance."
    )


def report_latex(report: Report) -> str:
    """Return the measures as a LaTeX tabular; see `Report.to_latex`.

    Examples
    --------
    >>> from deepgraph.analysis import analyse
    >>> from deepgraph.graph import CachedLayeredGraph
    >>> graph = CachedLayeredGraph.from_arrays([0, 1], [1, 2])
    >>> report_latex(analyse(graph, measures=["edges"], seed=0, progress=False)).count("edges & 2")
    1
    """
    nulls = list(NULL_NAMES) if report.num_nulls else []
    heads = ["mean", "sd", "p", *(["z"] if report.has_z else [])]
    lines = [rf"\begin{{tabular}}{{lr{'r' * (len(heads) * len(nulls))}}}", r"\toprule"]
    if nulls:
        lines.append(" & & " + " & ".join(rf"\multicolumn{{{len(heads)}}}{{c}}{{{NULL_NAMES[n]}}}" for n in nulls))
        lines[-1] += r" \\"
    lines += [" & ".join(["measure", "value", *(rf"${h}$" if len(h) == 1 else h for h in heads * len(nulls))]) + r" \\"]
    lines.append(r"\midrule")
    for value in report.values.values():
        error = "" if value.error is None else f" ± {format_number(value.error, 2)}"
        cells = [value.measure.name.replace("_", r"\_"), _latex_number(format_number(value.value) + error)]
        for name in nulls:
            test = value.nulls.get(name)
            if test is None:
                cells += [""] * len(heads)
            elif test.fixed:
                cells.append(rf"\multicolumn{{{len(heads)}}}{{c}}{{fixed by null}}")
            else:
                cells += [_latex_number(cell) for cell in _test_numbers(report, test)]
        lines.append(" & ".join(cells) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])


def _latex_number(text: str) -> str:
    """Return a formatted number for LaTeX."""
    if text in ("", "-"):
        return text.replace("-", "--")
    mantissa, found, exponent = text.partition("e")
    if found and exponent[:1] in "+-":
        return rf"${mantissa} \cdot 10^{{{int(exponent)}}}$"
    text = text.replace("±", r"\pm").replace("inf", r"\infty")
    return f"${text}$" if text[0] == "-" or "\\" in text else text
