"""Labels of neurons of convolutions, (module, channel, row, column), computed from positions and never stored."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Hashable, Iterable, Iterator, Sequence
from itertools import product
from typing import Any, overload

import numpy as np

from deepgraph.errors import ArgumentError
from deepgraph.graph.arrays import Array

__all__ = ["GridLabels"]


class GridLabels(Sequence[Hashable]):
    """The labels (module, channel, row, column) of grids of neurons, one grid after the other; immutable.

    Parameters
    ----------
    grids : iterable of (module, channels, rows, columns)
        Modules are strings, each once; sizes are integers from 1.

    Raises
    ------
    ArgumentError
        If a grid is none of that.

    Notes
    -----
    0 bytes a node; a label is found by arithmetic, without a dict.

    Examples
    --------
    >>> labels = GridLabels([("conv1", 2, 3, 3), ("fc", 4, 1, 1)])
    >>> len(labels), labels[17], labels.position(("fc", 2, 0, 0))
    (22, ('conv1', 1, 2, 2), 20)
    """

    def __init__(self, grids: Iterable[tuple[str, int, int, int]]) -> None:
        self.grids: list[tuple[str, int, int, int]] = []
        self._starts = [0]
        self._at: dict[str, int] = {}
        for k, grid in enumerate(grids):
            sizes = grid[1:]
            if len(sizes) != 3 or type(grid[0]) is not str or any(type(n) is not int or n < 1 for n in sizes):
                raise ArgumentError(
                    f"expected grids (module, channels, rows, columns) of sizes from 1, got {grid!r:.80}"
                )
            if self._at.setdefault(grid[0], k) != k:
                raise ArgumentError(f"expected each module once, got {grid[0]!r:.40} twice")
            self.grids.append((grid[0], *sizes))
            self._starts.append(self._starts[-1] + sizes[0] * sizes[1] * sizes[2])

    def __len__(self) -> int:
        return self._starts[-1]

    @overload
    def __getitem__(self, at: int) -> Hashable: ...

    @overload
    def __getitem__(self, at: slice) -> list[Hashable]: ...

    def __getitem__(self, at: Any) -> Any:
        if isinstance(at, slice):
            return [self[k] for k in range(*at.indices(len(self)))]
        place = range(len(self))[at]
        k = bisect_right(self._starts, place) - 1
        module, _, rows, columns = self.grids[k]
        rest, column = divmod(place - self._starts[k], columns)
        return (module, *divmod(rest, rows), column)

    def __iter__(self) -> Iterator[Hashable]:
        for module, channels, rows, columns in self.grids:
            for place in product(range(channels), range(rows), range(columns)):
                yield (module, *place)

    def taken(self, positions: Array) -> GridLabels | list[Hashable]:
        """Return the labels of `positions` (K,), ascending; again without storage where those are whole grids.

        Examples
        --------
        >>> import numpy as np
        >>> labels = GridLabels([("conv1", 2, 3, 3), ("fc", 4, 1, 1)])
        >>> labels.taken(np.arange(18, 22))
        GridLabels([('fc', 4, 1, 1)])
        """
        starts = np.array(self._starts)
        held = np.diff(np.searchsorted(positions, starts))
        whole = held == np.diff(starts)
        if (whole | (held == 0)).all():
            return GridLabels(grid for grid, has in zip(self.grids, whole.tolist(), strict=True) if has)
        return [self[place] for place in positions.tolist()]

    def __repr__(self) -> str:
        return f"GridLabels({self.grids})"

    def position(self, label: Hashable) -> int:
        """Return the position of a label; KeyError where there is none, TypeError if it cannot be a key."""
        hash(label)
        if not isinstance(label, tuple) or len(label) != 4 or label[0] not in self._at:
            raise KeyError(label)
        k = self._at[label[0]]
        place = 0
        for item, size in zip(label[1:], self.grids[k][1:], strict=True):
            # Whatever equals an integer has its hash, and finds it as in a dict: 1.0, True, numpy's integers.
            number = hash(item)
            if not (0 <= number < size and item == number):
                raise KeyError(label)
            place = place * size + number
        return self._starts[k] + place
