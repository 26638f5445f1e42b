"""Numbers and tables as text."""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = ["format_number", "lay_out", "shorten_rows"]


def format_number(value: float | None, digits: int = 4) -> str:
    """Return a number with `digits` significant digits: whole numbers in full, extremes as powers of ten.

    Examples
    --------
    >>> import math
    >>> [format_number(x) for x in (1294.0, 0.123456, 2.5e-7, 243914992, math.nan, None, math.inf)]
    ['1,294', '0.1235', '2.500e-07', '2.439e+08', '-', '-', 'inf']
    """
    if value is None or math.isnan(value):
        return "-"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    size = abs(value)
    if size >= 1e8 or (0 < size < 1e-4):
        return f"{value:.{digits - 1}e}"
    if float(value).is_integer():
        return f"{int(value):,}"
    places = max(0, digits - 1 - math.floor(math.log10(size)))
    return f"{value:,.{min(places, 6)}f}"


def lay_out(
    header: Sequence[str], rows: Sequence[Sequence[str]], indent: int = 2, gap: int = 2, width: int = 100
) -> list[str]:
    """Return lines of aligned columns, the first flush left, the others flush right.

    Columns that do not fit into `width` go on in a second table below, under the same first column.

    Examples
    --------
    >>> print("\\n".join(lay_out(["name", "value"], [["edges", "12"], ["nodes", "7"]], indent=0)))
    name   value
    edges     12
    nodes      7
    """
    widths = [max(len(cell) for cell in column) for column in zip(header, *rows, strict=True)]
    lines: list[str] = []
    first = 1
    while first < len(widths) or not lines:
        last, used = first, indent + widths[0]
        while last < len(widths) and (last == first or used + gap + widths[last] <= width):
            used += gap + widths[last]
            last += 1
        for row in [header, *rows]:
            cells = [row[0].ljust(widths[0]), *(row[at].rjust(widths[at]) for at in range(first, last))]
            lines.append((" " * indent + (" " * gap).join(cells)).rstrip())
        first = max(last, first + 1)
    return lines


def shorten_rows(rows: Sequence[Sequence[str]], most: int = 14) -> list[Sequence[str]]:
    """Return at most `most` rows: the first ones, one of dots for those left out, the last three.

    Examples
    --------
    >>> shorten_rows([[str(i), ""] for i in range(9)], most=6)
    [['0', ''], ['1', ''], ['...', ''], ['6', ''], ['7', ''], ['8', '']]
    """
    if len(rows) <= most:
        return list(rows)
    return [*rows[: most - 4], ["...", *[""] * (len(rows[0]) - 1)], *rows[-3:]]
