"""Thresholds: where edge values stop being faster than dense matrices; a fixed table, or one measured on a machine."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from deepgraph.errors import FileFormatError

__all__ = ["Thresholds", "read_thresholds", "thresholds", "use_thresholds"]


@dataclass(frozen=True)
class Thresholds:
    """Densities up to which edge values are used.

    Parameters
    ----------
    numba, torch, cuda : float
        Linear layers and graphs at batch 128: compiled, without numba, and on CUDA. That of CUDA was never measured.
    windows : float
        Convolutions, compiled.
    rows_1, rows_8, rows_16 : float
        Linear layers and graphs, compiled, for inference with 1 row, with 2 to 8 and with 9 to 16.
    file : str
        Name of the file that they come from; "" for the fixed table.

    Examples
    --------
    >>> Thresholds().numba, Thresholds(numba=0.3, file="mine.json").file
    (0.5, 'mine.json')
    """

    numba: float = 0.5
    torch: float = 0.15
    cuda: float = 0.1
    windows: float = 0.15
    rows_1: float = 0.3
    rows_8: float = 1.0
    rows_16: float = 0.55
    file: str = ""

    def linear(self, batch: int, device: str, compiled: bool) -> float:
        """Return the density up to which a linear layer or a graph uses edge values.

        Parameters
        ----------
        batch : int
            Rows of a pass.
        device : str
        compiled : bool
            Whether there is numba.

        Examples
        --------
        >>> [Thresholds().linear(batch, "cpu", True) for batch in (1, 4, 16, 17, 128)]
        [0.3, 1.0, 0.55, 0.5, 0.5]
        """
        if device.startswith("cuda"):
            return self.cuda
        if not compiled:
            return self.torch
        few = ((1, self.rows_1), (8, self.rows_8), (16, self.rows_16))
        return next((density for rows, density in few if batch <= rows), self.numba)

    def to_dict(self) -> dict[str, float]:
        """Return the densities as plain data."""
        return {name: value for name, value in asdict(self).items() if name != "file"}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], file: str) -> Thresholds:
        """Return the thresholds that `to_dict` described.

        Raises
        ------
        FileFormatError
            If one is missing, unknown, or no density in [0, 1].
        """
        names = {field.name for field in fields(cls)} - {"file"}
        # Those of few rows may be missing: then the fixed ones count.
        needed = {name for name in names if not name.startswith("rows_")}
        wrong = (
            needed - set(content)
            or set(content) - names
            or {
                name
                for name, value in content.items()
                if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1
            }
        )
        if wrong:
            raise FileFormatError(
                f"{file}: expected densities in [0, 1] named {', '.join(sorted(names))}, got others for "
                f"{', '.join(sorted(wrong))}; measure again with deepgraph benchmark --calibrate"
            )
        return cls(**{name: float(value) for name, value in content.items()}, file=file)


_in_use = Thresholds()


def thresholds() -> Thresholds:
    """Return the thresholds that plans are made with from now on.

    Examples
    --------
    >>> thresholds().file
    ''
    """
    return _in_use


def use_thresholds(table: Thresholds | None) -> Thresholds:
    """Make plans with these thresholds from now on, by default with the fixed table; return those used before.

    Modules that exist keep their plans.

    Examples
    --------
    >>> before = use_thresholds(Thresholds(numba=0.3, file="mine.json"))
    >>> use_thresholds(before).numba
    0.3
    """
    global _in_use
    before, _in_use = _in_use, table or Thresholds()
    return before


def read_thresholds(path: str | Path) -> Thresholds:
    """Return the thresholds in a file of `deepgraph.calibrate`.

    Raises
    ------
    FileFormatError
        If it is no such file.
    OSError
        If it cannot be read.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise FileFormatError(f"{path.name}: expected a file of deepgraph.calibrate, got no JSON: {error}") from error
    if not isinstance(content, dict) or not isinstance(content.get("csr_up_to"), dict):
        raise FileFormatError(f"{path.name}: expected a file of deepgraph.calibrate, got other content")
    return Thresholds.from_dict(content["csr_up_to"], path.name)
