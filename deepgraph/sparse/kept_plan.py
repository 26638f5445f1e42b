"""A plan that is kept: modules built from a configuration take the storages that were chosen when they were made."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

from deepgraph.kernels.thresholds import thresholds

__all__ = ["calibration_in_use", "kept_plan", "storage_of"]

_kept: ContextVar[tuple[list[str], str] | None] = ContextVar("kept_plan", default=None)


@contextmanager
def kept_plan(storages: Sequence[str], calibration: str) -> Iterator[None]:
    """Let the edge layers made in this block take these storages, one after the other, whatever was asked for.

    Parameters
    ----------
    storages : sequence of str
        In the order in which layers are made; layers beyond them choose for themselves.
    calibration : str
        Name of the file of thresholds that chose them, "" for the fixed table.

    Examples
    --------
    >>> with kept_plan(["masked"], ""):
    ...     storage_of("auto", lambda: "csr"), storage_of("auto", lambda: "csr")
    ('masked', 'csr')
    """
    before = _kept.set((list(storages), calibration))
    try:
        yield
    finally:
        _kept.reset(before)


def storage_of(asked: str, choose: Callable[[], str]) -> str:
    """Return the storage of the next edge layer: the kept one, the one asked for, or for "auto" the chosen one."""
    kept = _kept.get()
    if kept is not None and kept[0]:
        return kept[0].pop(0)
    return choose() if asked == "auto" else asked


def calibration_in_use() -> str:
    """Return the name of the file of thresholds that chose, or chooses now, "" for the fixed table.

    Examples
    --------
    >>> calibration_in_use()
    ''
    """
    kept = _kept.get()
    return thresholds().file if kept is None else kept[1]
