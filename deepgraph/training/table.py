"""`table`: several runs of several methods as one table, compared in pairs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from deepgraph.errors import ArgumentError, DtypeError, MissingColumnError, MissingDependencyError, ShapeError
from deepgraph.training.history import History

__all__ = ["Table", "table"]

Floats = npt.NDArray[np.float64]

COLUMNS = ("name", "mean", "sd", "n", "difference", "low", "high")


class Table:
    """Rows {"name", "mean", "sd", "n", "difference", "low", "high"}; the last three are None for the baseline.

    Parameters
    ----------
    rows : sequence of dict
    baseline : str
        What the others are compared with.
    measure : str
        What was measured.
    higher_wins : bool
    confidence : float
        Of the interval [low, high] of the mean paired difference, in (0, 1).
    """

    def __init__(
        self, rows: Sequence[dict[str, Any]], baseline: str, measure: str, higher_wins: bool, confidence: float
    ) -> None:
        self.rows, self.baseline, self.measure = list(rows), baseline, measure
        self.higher_wins, self.confidence = higher_wins, confidence

    @property
    def verdicts(self) -> dict[str, str]:
        """For each method but the baseline "better", "worse", or "open" where the interval holds 0 or n < 5."""
        found = {}
        for row in self.rows:
            if row["difference"] is None:
                continue
            sure = row["n"] >= 5 and (row["low"] > 0 or row["high"] < 0)
            found[row["name"]] = ("better" if (row["low"] > 0) == self.higher_wins else "worse") if sure else "open"
        return found

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Return the rows by name."""
        return {row["name"]: {key: row[key] for key in COLUMNS[1:]} for row in self.rows}

    def to_frame(self) -> Any:
        """Return the rows as a pandas.DataFrame; MissingDependencyError if pandas is not installed."""
        try:
            import pandas as pd
        except ImportError as error:
            raise MissingDependencyError(
                "to_frame: expected pandas, which is not installed; run pip install pandas"
            ) from error
        return pd.DataFrame(self.rows, columns=list(COLUMNS)).set_index("name")

    def to_latex(self, digits: int = 2) -> str:
        """Return a LaTeX tabular; a method that is better than the baseline beyond its interval is bold."""
        share = f"{100 * self.confidence:g}"
        lines = [
            r"\begin{tabular}{lrrr}",
            r"\hline",
            rf"method & {_escaped(self.measure)} & $n$ & difference to {_escaped(self.baseline)} ({share}\,\%) \\",
            r"\hline",
        ]
        verdicts = self.verdicts
        for row in self.rows:
            name = _escaped(row["name"])
            name = rf"\textbf{{{name}}}" if verdicts.get(row["name"]) == "better" else name
            spread = "" if math.isnan(row["sd"]) else rf" \pm {row['sd']:.{digits}f}"
            cells = [name, f"${row['mean']:.{digits}f}{spread}$", str(row["n"]), ""]
            if row["difference"] is not None:
                numbers = (f"{row[key]:+.{digits}f}" for key in ("difference", "low", "high"))
                cells[3] = "${} \\; [{}, {}]$".format(*numbers)
            lines.append(" & ".join(cells) + r" \\")
        return "\n".join([*lines, r"\hline", r"\end{tabular}"])

    def __str__(self) -> str:
        width = max(len(row["name"]) for row in self.rows)
        lines = [f"{self.measure}, difference to {self.baseline} with {100 * self.confidence:g} % interval"]
        for row in self.rows:
            text = f"{row['name']:<{width}}  {row['mean']:10.4f} +- {row['sd']:.4f}  n = {row['n']}"
            if row["difference"] is not None:
                text += (
                    f"  {row['difference']:+.4f} [{row['low']:+.4f}, {row['high']:+.4f}]  {self.verdicts[row['name']]}"
                )
            lines.append(text)
        return "\n".join(lines)

    __repr__ = __str__


def table(
    runs: Mapping[str, Sequence[Any]],
    measure: str | Callable[[Any], float] = "val_accuracy",
    *,
    last: int = 1,
    baseline: str | None = None,
    higher_wins: bool | None = None,
    confidence: float = 0.95,
) -> Table:
    """Return mean, standard deviation, number and paired difference of several runs of several methods.

    Parameters
    ----------
    runs : mapping of str to sequence of History or number
        By method; the i-th runs of all methods belong together (the same seed).
    measure : str or callable
        A column of the histories, or a function of a history.
    last : int
        The measure is the mean over this many epochs at the end, >= 1.
    baseline : str, optional
        What the others are compared with; None takes the first.
    higher_wins : bool, optional
        None: False where the measure's name has "loss" or "error" in it.
    confidence : float
        Of the interval, in (0, 1).

    Raises
    ------
    ArgumentError
        If there are no runs, an argument is out of range, a value is not finite, or the baseline is unknown.
    ShapeError
        If methods have different numbers of runs: pairs would be lost.
    DtypeError
        If `runs` is no mapping to sequences of histories or numbers.
    MissingColumnError
        If a history lacks the measure.

    Notes
    -----
    The interval of the mean difference is Student's, mean +- t s / sqrt(n), over the differences of runs with the same
    number. With one run it is infinitely wide. A verdict takes at least five.

    Examples
    --------
    >>> print(table({"static": [80.0, 81.0, 79.5, 80.5, 80.0], "RigL": [81.0, 82.5, 80.5, 81.0, 81.5]}, "accuracy"))
    accuracy, difference to static with 95 % interval
    static     80.2000 +- 0.5701  n = 5
    RigL       81.3000 +- 0.7583  n = 5  +1.1000 [+0.5806, +1.6194]  better
    """
    if not isinstance(runs, Mapping) or not all(isinstance(some, (Sequence, np.ndarray)) for some in runs.values()):
        raise DtypeError("runs: expected a list of runs by method, as {'RigL': [history, ...]}, got " + _kinds(runs))
    if not runs or not all(len(some) for some in runs.values()):
        raise ArgumentError("runs: expected at least one method with at least one run each, got none")
    if last < 1 or not 0 < confidence < 1:
        raise ArgumentError(f"expected last >= 1 and confidence in (0, 1), got {last!r} and {confidence!r}")
    first = next(iter(runs)) if baseline is None else baseline
    if first not in runs:
        raise ArgumentError(f"baseline: expected one of {list(runs)}, got {first!r}")
    name = measure if isinstance(measure, str) else getattr(measure, "__name__", "measure")
    values = {method: _values(some, measure, last, method) for method, some in runs.items()}
    if len({len(some) for some in values.values()}) > 1:
        counts = {method: len(some) for method, some in values.items()}
        raise ShapeError(f"runs: expected as many runs of every method, for pairs, got {counts}")
    rows = [
        _row(method, some, None if method == first else some - values[first], confidence)
        for method, some in values.items()
    ]
    wins = not any(word in name.lower() for word in ("loss", "error")) if higher_wins is None else higher_wins
    return Table(rows, first, name, wins, confidence)


def _kinds(runs: Any) -> str:
    return f"{ {name: type(s).__name__ for name, s in runs.items()} }" if isinstance(runs, Mapping) else repr(runs)


def _values(runs: Sequence[Any], measure: Any, last: int, method: str) -> Floats:
    found = []
    for run in runs:
        if callable(measure):
            found.append(float(measure(run)))
        elif isinstance(run, History):
            if measure not in run.columns:
                raise MissingColumnError(
                    f"measure: expected one of {run.columns}, got {measure!r}, which {method!r} did not record; "
                    "fit(validation=) records val_ columns"
                )
            found.append(float(run[measure][-last:].mean()))
        elif isinstance(run, (int, float, np.number)):
            found.append(float(run))
        else:
            raise DtypeError(f"runs: expected histories or numbers of {method!r}, got {type(run).__name__}")
    if not np.isfinite(found).all():
        raise ArgumentError(f"runs: expected finite values of {method!r}, got {found}; look for runs that diverged")
    return np.array(found)


def _row(method: str, values: Floats, differences: Floats | None, confidence: float) -> dict[str, Any]:
    n = len(values)
    row: dict[str, Any] = {
        "name": method, "mean": float(values.mean()), "sd": float(values.std(ddof=1)) if n > 1 else math.nan, "n": n,
        "difference": None, "low": None, "high": None,
    }  # fmt: skip
    if differences is not None:
        mean, half = float(differences.mean()), math.inf
        if n > 1:
            half = float(stats.t.ppf((1 + confidence) / 2, n - 1)) * float(differences.std(ddof=1)) / math.sqrt(n)
        row |= {"difference": mean, "low": mean - half, "high": mean + half}
    return row


def _escaped(text: str) -> str:
    for sign in "&%$#_{}":
        text = text.replace(sign, "\\" + sign)
    return text
