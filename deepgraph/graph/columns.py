"""Attributes of rows (nodes or edges) as columns: one array a name, plus a sparse dict for what fits no array.

An attribute of a row is in exactly one place: in the column of its name, or in the row's own dict, or nowhere.
A value goes to the column if there is one whose dtype can hold it, otherwise to the dict. Reading a whole column
gathers what lies in dicts first, so a graph that was built attribute by attribute still has columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from deepgraph.errors import ArgumentError, DtypeError, MissingColumnError, ShapeError
from deepgraph.graph.arrays import Array, read_only
from deepgraph.graph.bound_column import BoundColumn
from deepgraph.graph.scalars import common_array, fits

if TYPE_CHECKING:
    from deepgraph.graph.row_moves import RowMoves

__all__ = ["BoundColumn", "Columns"]


class Columns:
    """The attributes of `rows` rows.

    Parameters
    ----------
    rows : int
        Number of rows.
    arrays : mapping of str to array (rows,), optional
        Columns to begin with, of numbers, booleans or strings.

    Attributes
    ----------
    arrays, present : dict of str to array (rows,)
        The columns, and a mask for those that some rows lack.
    bound : dict of str to BoundColumn
        Columns that a module keeps.

    Raises
    ------
    ShapeError
        If an array is not of shape (rows,).
    DtypeError
        If an array holds objects.
    """

    def __init__(self, rows: int, arrays: Mapping[str, Any] | None = None) -> None:
        self.rows = rows
        self.arrays: dict[str, Array] = {}
        self.present: dict[str, Array] = {}
        self._exotic: dict[int, dict[str, Any]] = {}
        self.bound: dict[str, BoundColumn] = {}
        self._settled = True
        for name, array in (arrays or {}).items():
            self.put(name, array)

    @property
    def exotic(self) -> dict[int, dict[str, Any]]:
        """What fits no column, by row; what fits one goes there when columns are asked for."""
        return self._exotic

    @exotic.setter
    def exotic(self, rows: dict[int, dict[str, Any]]) -> None:
        self._exotic, self._settled = rows, False

    # -- whole columns ------------------------------------------------------------------------------------------

    def live(self, name: str) -> bool:
        """Return whether `name` is a column that some row has; without rows it may have been one."""
        mask = self.present.get(name)
        return name in self.arrays and (mask is None or self.rows == 0 or bool(mask.any()))

    @property
    def names(self) -> list[str]:
        """Names of the attributes that any row has."""
        self.gather()
        rest = {name for row in self.exotic.values() for name in row}
        plain = [name for name in self.arrays if self.live(name)]
        return [*self.bound, *plain, *sorted(rest.difference(plain), key=str)]

    def has(self, name: str) -> bool:
        """Return whether some row has the attribute `name`."""
        return name in self.bound or self.live(name) or any(name in row for row in self.exotic.values())

    def checked(self, name: str, array: Any) -> Array:
        """Return `array` as a column of this table, refused if shape or dtype do not fit."""
        values = np.asarray(array)
        if values.shape != (self.rows,):
            raise ShapeError(f"column {name!r}: expected shape ({self.rows},), got {values.shape}")
        if values.dtype.kind not in "biufU":
            raise DtypeError(
                f"column {name!r}: expected numbers, booleans or strings, got dtype {values.dtype}; "
                "set objects one at a time through networkx"
            )
        return values

    def check_put(self, name: str, array: Any) -> Array:
        """Return `array` as what `put` would store, or raise as it would."""
        values = self.checked(name, array)
        if name in self.bound:
            self._check_bound(name, values)
        return values

    def put(self, name: str, array: Any) -> None:
        """Store a whole column; a bound one is written through, others keep a copy of `array`."""
        values = self.check_put(name, array)
        if name in self.bound:
            self.bound[name].write(slice(None), values)
            return
        self.arrays[name] = np.array(values)
        self.present.pop(name, None)
        for row in [row for row, own in self.exotic.items() if name in own]:
            self._forget(row, name)

    def array(self, name: str, default: Any = None) -> Array:
        """Return the column (rows,), read-only; rows without the attribute take `default`.

        Raises
        ------
        MissingColumnError
            If there is no such column, or if rows lack it and no default is given.
        """
        if name in self.bound:
            return read_only(self.bound[name].read())
        self.gather()
        odd = next((own[name] for own in self.exotic.values() if name in own), None)
        if odd is not None:
            raise MissingColumnError(
                f"column {name!r}: expected values that fit one array, got {odd!r:.60} ({type(odd).__name__}) "
                "among them; read them one by one through networkx"
            )
        if not self.live(name):
            if default is not None:
                return read_only(np.full(self.rows, default))
            known = ", ".join(map(repr, self.names)) or "none"
            raise MissingColumnError(f"expected a column {name!r}, got columns: {known}")
        mask = self.present.get(name)
        if mask is None or mask.all():
            return read_only(self.arrays[name])
        if default is None:
            raise MissingColumnError(
                f"column {name!r}: {int((~mask).sum())} of {self.rows} rows lack it; pass default= to fill them"
            )
        kind = np.result_type(self.arrays[name].dtype, np.asarray(default).dtype)
        return read_only(np.where(mask, self.arrays[name], np.asarray(default)).astype(kind))

    def gather(self) -> None:
        """Move attributes from rows' dicts into columns, where one dtype holds all values of a name."""
        if self._settled or not self.exotic:
            return
        rows: dict[str, list[int]] = {}
        for row, own in self.exotic.items():
            for name in own:
                rows.setdefault(name, []).append(row)
        for name, at in rows.items():
            onto = self.arrays[name] if self.live(name) else None
            if not isinstance(name, str) or name in self.bound:
                continue
            values = common_array([self.exotic[row][name] for row in at], self.rows, onto)
            if values is None:
                continue
            if onto is None:
                self.arrays[name], self.present[name] = np.zeros(self.rows, values.dtype), np.zeros(self.rows, bool)
            for row in at:
                self._forget(row, name)
            self.fill(np.array(at), name, values)
        self._settled = True

    # -- one row ------------------------------------------------------------------------------------------------

    def _forget(self, row: int, name: str) -> None:
        own = self.exotic[row]
        del own[name]
        if not own:
            del self.exotic[row]

    def _in_column(self, row: int, name: object) -> bool:
        if name in self.bound:
            return True
        if name not in self.arrays:
            return False
        mask = self.present.get(name)
        return mask is None or bool(mask[row])

    def keys(self, row: int) -> Iterator[str]:
        """Yield the names of the attributes of one row."""
        for name in [*self.bound, *self.arrays]:
            if self._in_column(row, name):
                yield name
        yield from list(self.exotic.get(row, ()))

    def holds(self, row: int, name: object) -> bool:
        """Return whether one row has an attribute."""
        return self._in_column(row, name) or name in self._exotic.get(row, ())

    def row(self, row: int) -> dict[str, Any]:
        """Return the attributes of one row as Python values."""
        found = {name: binding.read()[row].item() for name, binding in self.bound.items()}
        for name, array in self.arrays.items():
            mask = self.present.get(name)
            if mask is None or mask[row]:
                found[name] = array.item(row)
        found.update(self._exotic.get(row, ()))
        return found

    def get(self, row: int, name: str) -> Any:
        """Return one attribute as a Python value; KeyError where the row has none."""
        if name in self.bound:
            return self.bound[name].read()[row].item()
        if self._in_column(row, name):
            return self.arrays[name][row].item()
        return self.exotic[row][name]

    def _check_bound(self, name: str, values: Any) -> None:
        array = np.asarray(values)
        if array.dtype.kind not in "biuf":
            raise DtypeError(f"attribute {name!r} of a compiled graph: expected numbers, got {values!r:.60}")
        if not np.isfinite(array).all():
            raise ArgumentError(f"attribute {name!r} of a compiled graph: expected finite numbers, got NaN or infinity")

    def set(self, row: int, name: str, value: Any) -> None:
        """Store one attribute of one row."""
        if name in self.bound:
            self._check_bound(name, value)
            self.bound[name].write(np.array([row]), np.array([value]))
            return
        array = self.arrays.get(name)
        if array is not None and fits(array, value):
            if array.dtype.kind == "U" and len(value) * 4 > array.dtype.itemsize:
                array = self.arrays[name] = array.astype(f"U{len(value)}")
            array[row] = value
            if name in self.present:
                self.present[name][row] = True
            if name in self.exotic.get(row, ()):
                self._forget(row, name)
            return
        if array is not None:
            self.present.setdefault(name, np.ones(self.rows, bool))[row] = False
        self.exotic.setdefault(row, {})[name] = value
        self._settled = False

    def delete(self, row: int, name: str) -> None:
        """Remove one attribute of one row; KeyError where the row has none."""
        if name in self.bound:
            raise DtypeError(f"attribute {name!r} of a compiled graph cannot be removed: it is the module's parameter")
        if self._in_column(row, name):
            self.present.setdefault(name, np.ones(self.rows, bool))[row] = False
        elif name in self.exotic.get(row, ()):
            self._forget(row, name)
            self._settled = False
        else:
            raise KeyError(name)

    # -- many rows ----------------------------------------------------------------------------------------------

    def check_fill(self, name: str, values: Array) -> None:
        """Raise `DtypeError` if `values` and the column `name` have no dtype in common."""
        if name in self.bound:
            self._check_bound(name, values)
        elif values.dtype.kind not in "biufU":
            raise DtypeError(f"column {name!r}: expected numbers, booleans or strings, got dtype {values.dtype}")
        elif self.live(name) and (values.dtype.kind == "U") != (self.arrays[name].dtype.kind == "U"):
            raise DtypeError(f"column {name!r}: expected values like its {self.arrays[name].dtype}, got {values.dtype}")

    def accepts(self, name: str, values: Array) -> bool:
        """Return whether column `name` takes `values` and gives equal values back, up to its precision."""
        if name in self.bound or not self.live(name):
            return True
        have = self.arrays[name].dtype
        if have.kind != values.dtype.kind or have.kind != "f":
            return have.kind == values.dtype.kind
        top = np.abs(values[np.isfinite(values)]).max(initial=0)
        return bool(top <= np.finfo(have).max)

    def apart(
        self, full: Mapping[str, Array], rest: Columns | None, rows: int
    ) -> tuple[dict[str, Array], Columns | None]:
        """Return columns (rows,) that are taken as they are, and `rest` with the others, which are stored one by one.

        A column of numbers would make numbers of booleans, and the other way round.
        """
        self.gather()
        odd = [name for name, values in full.items() if not self.accepts(name, values)]
        if not odd:
            return dict(full), rest
        rest = Columns(rows) if rest is None else rest.copy()
        rest.arrays.update({name: full[name] for name in odd})
        return {name: values for name, values in full.items() if name not in odd}, rest

    def fill(self, rows: Array, name: str, values: Any) -> None:
        """Store `values` (K,) at `rows` of column `name`, made here if it is new."""
        values = np.asarray(values)
        if name in self.bound:
            self.bound[name].write(rows, values)
            return
        if not len(rows):
            return
        if not self.live(name):
            # What lay apart for want of a column may fit the new one.
            self._settled = False
            self.arrays[name], self.present[name] = np.zeros(self.rows, values.dtype), np.zeros(self.rows, bool)
        array = self.arrays[name]
        if array.dtype.kind != "f" or values.dtype.kind == "U":
            array = self.arrays[name] = array.astype(np.result_type(array.dtype, values.dtype), copy=False)
        array[rows] = values
        if name in self.present:
            self.present[name][rows] = True
            if self.present[name].all():
                del self.present[name]

    def cut(self, rows: Array) -> tuple[dict[str, Array], Columns | None]:
        """Return the attributes of `rows` (K,): columns that all of them have, and a table of the rest or None."""
        self.gather()
        full: dict[str, Array] = {name: np.array(binding.read()[rows]) for name, binding in self.bound.items()}
        rest = Columns(len(rows))
        for name, array in self.arrays.items():
            mask = self.present.get(name)
            if mask is None or mask[rows].all():
                full[name] = array[rows]
            elif mask[rows].any():
                rest.arrays[name], rest.present[name] = array[rows], mask[rows]
        if self.exotic:
            own = {k: dict(self.exotic[row]) for k, row in enumerate(rows.tolist()) if row in self.exotic}
            rest.exotic = own
        return full, rest if rest.arrays or rest.exotic else None

    def merge(self, rows: Array, rest: Columns) -> None:
        """Store at `rows` (K,) the attributes of the table `rest` of as many rows."""
        for name, array in rest.arrays.items():
            if name not in self.arrays and self.rows == 0:
                self.arrays[name] = np.empty(0, array.dtype)
            mask = rest.present.get(name, np.ones(rest.rows, bool))
            if self.accepts(name, array[mask]):
                self.fill(rows[mask], name, array[mask])
                continue
            for row, value in zip(rows[mask].tolist(), array[mask].tolist(), strict=True):
                self.set(row, name, value)
        for k, own in rest.exotic.items():
            for name, value in own.items():
                self.set(int(rows[k]), name, value)

    def take(self, gather: Array) -> Columns:
        """Return the table of the rows `gather` (K,), where -1 stands for a new row without attributes."""
        result = Columns(len(gather))
        old = gather >= 0
        index = gather if old.all() else np.where(old, gather, 0)
        for name, source in [*((n, binding.read()) for n, binding in self.bound.items()), *self.arrays.items()]:
            mask = self.present.get(name)
            if self.rows == 0:
                result.arrays[name] = np.zeros(len(gather), source.dtype)
                result.present[name] = np.zeros(len(gather), bool)
                continue
            result.arrays[name] = source[index]
            kept = old.copy() if mask is None else old & mask[index]
            if not kept.all():
                result.arrays[name][~kept] = np.zeros((), source.dtype)
                result.present[name] = kept
        if self.exotic:
            at = dict(zip(gather[old].tolist(), np.flatnonzero(old).tolist(), strict=True))
            result.exotic = {at[row]: dict(own) for row, own in self.exotic.items() if row in at}
        return result

    def moved(self, moves: RowMoves, given: Iterable[str] = ()) -> Columns:
        """Return the table after an edit, without the columns that a module keeps.

        Grown rows have no attributes yet; all of them will get those named in `given`.
        """
        result = Columns(moves.num_after)
        will_have = set(given)
        for name, source in self.arrays.items():
            mask = self.present.get(name)
            result.arrays[name] = moves.apply(source, np.zeros((), source.dtype))
            if mask is not None or self.rows == 0 or (len(moves.grown) and name not in will_have):
                have = moves.apply(np.ones(self.rows, bool) if mask is None else mask, False)
                if not have.all() or self.rows == 0:
                    result.present[name] = have
        if self.exotic:
            rows = np.array(sorted(self.exotic), np.int64)
            rows = rows[~np.isin(rows, moves.dropped)]
            places = moves.new_rows(rows).tolist()
            result.exotic = {place: dict(self.exotic[row]) for row, place in zip(rows.tolist(), places, strict=True)}
        return result

    def copy(self) -> Columns:
        """Return an independent copy; bound columns become plain ones."""
        result = Columns(self.rows)
        for name, binding in self.bound.items():
            result.arrays[name] = np.array(binding.read())
        result.arrays.update({name: array.copy() for name, array in self.arrays.items()})
        result.present = {name: mask.copy() for name, mask in self.present.items()}
        result.exotic = {row: dict(own) for row, own in self.exotic.items()}
        return result

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        return sum(a.nbytes for a in self.arrays.values()) + sum(m.nbytes for m in self.present.values())
