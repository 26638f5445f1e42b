"""`History`: what a training recorded, a row per epoch."""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from deepgraph.errors import ArgumentError, FileFormatError, MissingColumnError, MissingDependencyError

__all__ = ["History"]

FORMAT = "deepgraph training history"


class History:
    """Rows of numbers, one per epoch, and how the training ended.

    Parameters
    ----------
    rows : iterable of dict of str to number
        For example {"epoch": 1, "loss": 0.3}.
    ended : str
        "running", "finished", "stopped" (by a callback), "interrupted" (Ctrl-C) or "diverged" (a loss not finite).

    Examples
    --------
    >>> history = History([{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25}])
    >>> history["loss"].tolist(), len(history), history.last["epoch"]
    ([0.5, 0.25], 2, 2)
    """

    def __init__(self, rows: Iterable[dict[str, Any]] = (), ended: str = "running") -> None:
        self.rows = [dict(row) for row in rows]
        self.ended = ended

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, name: str) -> npt.NDArray[np.float64]:
        """Return a column (epochs,), NaN where a row lacks it; MissingColumnError if all do."""
        if not any(name in row for row in self.rows):
            raise MissingColumnError(f"history: expected one of {self.columns}, got {name!r}")
        return np.array([float(row.get(name, math.nan)) for row in self.rows])

    @property
    def columns(self) -> list[str]:
        """Names of what was recorded, in the order of appearance."""
        return list(dict.fromkeys(name for row in self.rows for name in row))

    @property
    def last(self) -> dict[str, Any]:
        """The newest row; ArgumentError if there is none."""
        if not self.rows:
            raise ArgumentError("history: expected at least one finished epoch, got none")
        return self.rows[-1]

    def append(self, row: dict[str, Any]) -> None:
        """Add the newest row."""
        self.rows.append(dict(row))

    def state_dict(self) -> dict[str, Any]:
        """Return rows and ending, for `deepgraph.save`."""
        rows = [{name: v.item() if hasattr(v, "item") else v for name, v in row.items()} for row in self.rows]
        return {"rows": rows, "ended": self.ended}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict` returned.

        Examples
        --------
        >>> history = History()
        >>> history.load_state_dict(History([{"epoch": 1, "loss": 0.5}], "finished").state_dict())
        >>> history
        History(finished, 1 epochs, last: epoch 1, loss 0.5)
        """
        self.rows, self.ended = [dict(row) for row in state_dict["rows"]], str(state_dict["ended"])

    def to_frame(self) -> Any:
        """Return the rows as a pandas.DataFrame.

        Raises
        ------
        MissingDependencyError
            If pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise MissingDependencyError(
                "to_frame: expected pandas, which is not installed; run pip install pandas"
            ) from error
        return pd.DataFrame(self.rows, columns=self.columns)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the history as JSON, at once or not at all.

        Examples
        --------
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     History([{"epoch": 1, "loss": 0.5}], "finished").save(f"{folder}/run.json")
        ...     History.load(f"{folder}/run.json").rows
        [{'epoch': 1, 'loss': 0.5}]
        """
        rows = [{name: _plain(value) for name, value in row.items()} for row in self.rows]
        text = json.dumps(
            {"format": FORMAT, "version": 1, "ended": self.ended, "rows": rows}, allow_nan=False, indent=1
        )
        target = os.path.abspath(os.fspath(path))
        handle, draft = tempfile.mkstemp(dir=os.path.dirname(target), prefix=".history-")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text + "\n")
                file.flush()
                os.fsync(file.fileno())
            os.replace(draft, target)
        except BaseException:
            os.unlink(draft)
            raise

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> History:
        """Return the history that `save` wrote; FileFormatError for any other file."""
        try:
            with open(path, encoding="utf-8") as file:
                content = json.load(file)
            found = content["format"], content["version"]
            rows = [{name: math.nan if v is None else v for name, v in row.items()} for row in content["rows"]]
            ended = str(content["ended"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise FileFormatError(f"{os.fspath(path)}: expected a {FORMAT}, got another file: {error}") from error
        if found != (FORMAT, 1):
            raise FileFormatError(f"{os.fspath(path)}: expected a {FORMAT}, version 1, got {found!r:.80}")
        return cls(rows, ended)

    def __repr__(self) -> str:
        if not self.rows:
            return f"History({self.ended}, no epochs)"
        shown = ", ".join(f"{name} {_short(value)}" for name, value in self.rows[-1].items() if name != "seconds")
        return f"History({self.ended}, {len(self)} epochs, last: {shown})"


def _plain(value: Any) -> Any:
    """Return a number that JSON knows; None for NaN and infinity."""
    number = value.item() if hasattr(value, "item") else value
    return None if isinstance(number, float) and not math.isfinite(number) else number


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
