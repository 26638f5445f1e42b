"""A report: every measure of a graph with its meaning, and its value in random graphs."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from deepgraph.analysis.catalogue import MEASURES
from deepgraph.analysis.measure import Measure, UnknownMeasureError, pick
from deepgraph.analysis.nulltests import FEWEST_FOR_Z, NullTest
from deepgraph.analysis.stages import PAIR_MEASURES, STAGE_MEASURES
from deepgraph.errors import MissingDependencyError

if TYPE_CHECKING:
    import pandas

__all__ = ["Report", "Value"]

TABLES = ("measures", "stages", "stage_pairs")


@dataclass(frozen=True)
class Value:
    """One measure of one graph.

    Attributes
    ----------
    measure : Measure
        Its name, unit, definition and reference.
    value : float
        NaN where it is undefined.
    error : float or None
        Standard error, where it was sampled.
    note : str
        What must be said beside it.
    nulls : mapping
        `NullTest` by null model, "er" and "degree"; empty without nulls.
    left_out : tuple of str
        Dense stage pairs that it was computed without.

    Examples
    --------
    >>> float(Value(MEASURES["edges"], 3.0))
    3.0
    """

    measure: Measure
    value: float
    error: float | None = None
    note: str = ""
    nulls: Mapping[str, NullTest] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()

    def __float__(self) -> float:
        return self.value

    def to_dict(self) -> dict[str, Any]:
        """Return the value with its name, unit, definition, reference and nulls, as plain data; None for undefined.

        Examples
        --------
        >>> Value(MEASURES["edges"], 3.0).to_dict()["value"]
        3
        """
        return {
            "name": self.measure.name,
            "value": plain(self.value),
            "error": plain(self.error),
            "unit": self.measure.unit,
            "directed": self.measure.directed,
            "definition": self.measure.definition,
            "reference": self.measure.reference,
            "note": self.note,
            "left_out": list(self.left_out),
            "nulls": {
                name: {
                    "n": test.n,
                    "mean": plain(test.mean),
                    "sd": plain(test.sd),
                    "p": plain(test.p),
                    "z": plain(test.z),
                    "fixed_by_null": test.fixed,
                }
                for name, test in self.nulls.items()
            },
        }


@dataclass(frozen=True)
class Report:
    """The measures of one graph; print it for a table.

    Attributes
    ----------
    title : str
        What was measured.
    values : mapping
        `Value` by name, for the whole graph.
    stages, stage_pairs : list of dict
        One row per stage and per stage pair that holds edges.
    skipped : mapping
        Reason by name of every measure that was asked for and not computed.
    notes : tuple of str
        What holds for the whole report.
    num_nulls : int
        Random graphs of each null model.
    comparisons : int
        Rank tests in the report.
    seed : int
        The seed that gives the same numbers again.
    versions : mapping
        Version by package.
    """

    title: str
    values: Mapping[str, Value]
    stages: list[dict[str, Any]]
    stage_pairs: list[dict[str, Any]]
    skipped: Mapping[str, str]
    notes: tuple[str, ...]
    num_nulls: int
    comparisons: int
    seed: int
    versions: Mapping[str, str]

    def __getitem__(self, name: str) -> Value:
        """Return the value with this name.

        Raises
        ------
        UnknownMeasureError
            If the report has none; the message says why it was skipped, or lists near names.
        """
        if name in self.skipped and name not in self.values:
            raise UnknownMeasureError(f"{name!r} was not computed: {self.skipped[name]}")
        return pick(self.values, name)

    def __contains__(self, name: object) -> bool:
        return name in self.values

    def __iter__(self) -> Iterator[str]:
        return iter(self.values)

    def __len__(self) -> int:
        return len(self.values)

    def __str__(self) -> str:
        from deepgraph.analysis.report_text import report_text

        return report_text(self)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain data (dict, list, str, int, float, bool, None), ready for JSON.

        Examples
        --------
        >>> from deepgraph.analysis import analyse
        >>> from deepgraph.graph import CachedLayeredGraph
        >>> report = analyse(CachedLayeredGraph.from_arrays([0, 1], [1, 2]), seed=0, progress=False)
        >>> report.to_dict()["measures"]["depth"]["value"]
        2
        """
        return {
            "title": self.title,
            "measures": {name: value.to_dict() for name, value in self.values.items()},
            "stages": [{key: plain(entry) for key, entry in row.items()} for row in self.stages],
            "stage_pairs": [{key: plain(entry) for key, entry in row.items()} for row in self.stage_pairs],
            "skipped": dict(self.skipped),
            "notes": list(self.notes),
            "nulls": self.num_nulls,
            "comparisons": self.comparisons,
            "seed": self.seed,
            "versions": dict(self.versions),
        }

    def to_json(self, indent: int | None = 2) -> str:
        """Return `to_dict()` as JSON; an undefined value is null, an infinite one the text "inf" or "-inf".

        Examples
        --------
        >>> import json
        >>> from deepgraph.analysis import analyse
        >>> from deepgraph.graph import CachedLayeredGraph
        >>> report = analyse(CachedLayeredGraph.from_arrays([0, 1], [1, 2]), seed=0, progress=False)
        >>> json.loads(report.to_json())["measures"]["edges"]["value"]
        2
        """
        return json.dumps(self.to_dict(), indent=indent, allow_nan=False)

    def to_frame(self, table: str = "measures") -> pandas.DataFrame:
        """Return one table of the report as a pandas DataFrame.

        Parameters
        ----------
        table : {"measures", "stages", "stage_pairs"}
            Which; of the measures the index is the name, and the columns of nulls are "er_mean", "degree_p", ...

        Raises
        ------
        UnknownMeasureError
            If there is no such table.
        MissingDependencyError
            If pandas is not installed.
        """
        rows = pick({name: name for name in TABLES}, table, "table")
        try:
            import pandas
        except ImportError as error:
            raise MissingDependencyError(
                "to_frame() needs pandas, which is not installed; pip install pandas, or take to_dict()"
            ) from error
        if rows != "measures":
            return pandas.DataFrame(self.stages if rows == "stages" else self.stage_pairs)
        flat = []
        for value in self.values.values():
            entry = value.to_dict()
            tests = entry.pop("nulls")
            entry["value"] = value.value
            flat.append(entry | {f"{null}_{key}": x for null, test in tests.items() for key, x in test.items()})
        return pandas.DataFrame(flat).set_index("name") if flat else pandas.DataFrame()

    def to_latex(self) -> str:
        """Return the measures as a LaTeX tabular (packages: booktabs).

        Examples
        --------
        >>> from deepgraph.analysis import analyse
        >>> from deepgraph.graph import CachedLayeredGraph
        >>> graph = CachedLayeredGraph.from_arrays([0, 1], [1, 2])
        >>> print(analyse(graph, measures=["edges"], seed=0, progress=False).to_latex())
        \\begin{tabular}{lr}
        \\toprule
        measure & value \\\\
        \\midrule
        edges & 2 \\\\
        \\bottomrule
        \\end{tabular}
        """
        from deepgraph.analysis.report_text import report_latex

        return report_latex(self)

    @property
    def has_z(self) -> bool:
        """Whether there are nulls enough for z."""
        return self.num_nulls >= FEWEST_FOR_Z

    def describe(self, name: str) -> str:
        """Return unit, direction, definition, source and cost of a measure, of the graph or of a stage or stage pair.

        Raises
        ------
        UnknownMeasureError
            If there is none; the message lists near names.

        Examples
        --------
        >>> from deepgraph.analysis import analyse
        >>> from deepgraph.graph import CachedLayeredGraph
        >>> report = analyse(CachedLayeredGraph.from_arrays([0, 1], [1, 2]), seed=0, progress=False)
        >>> report.describe("depth")
        'depth [edges], directed: Edges on the longest directed path. Time O(E).'
        """
        own = {name: value.measure for name, value in self.values.items()}
        measure = pick(STAGE_MEASURES | PAIR_MEASURES | MEASURES | own, name)
        unit = f" [{measure.unit}]" if measure.unit else ""
        way = f", {measure.directed}" if measure.directed else ""
        source = f" ({measure.reference})" if measure.reference else ""
        return f"{measure.name}{unit}{way}: {measure.definition}{source} Time {measure.cost}."


def plain(value: Any) -> Any:
    """Return a number as plain data: int where it is whole, None for NaN, text for an infinite one.

    Examples
    --------
    >>> import math
    >>> plain(2.0), plain(0.5), plain(math.nan), plain(-math.inf)
    (2, 0.5, None, '-inf')
    """
    if value is None or isinstance(value, str):
        return value
    number = float(value)
    if math.isnan(number):
        return None
    if math.isinf(number):
        return "inf" if number > 0 else "-inf"
    return int(number) if number.is_integer() and abs(number) < 2**53 else number
