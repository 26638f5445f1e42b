"""The errors that deepgraph raises: each is a `DeepGraphError` and also the builtin that a caller would expect.

A message says what was expected, what came, and what to do about it.
"""

from __future__ import annotations

__all__ = [
    "ArgumentError",
    "CapacityError",
    "CycleError",
    "DeepGraphError",
    "DtypeError",
    "EdgeError",
    "EditRefusedError",
    "FileFormatError",
    "MissingColumnError",
    "MissingDependencyError",
    "ShapeError",
    "StructureError",
    "TooLargeError",
    "UnknownNodeError",
    "UnsupportedOperationError",
]


class DeepGraphError(Exception):
    """Base of every error that deepgraph raises on purpose."""

    def __str__(self) -> str:
        # KeyError prints the repr of its argument; messages here are sentences and are shown as they are.
        return str(self.args[0]) if len(self.args) == 1 else super().__str__()


class ArgumentError(DeepGraphError, ValueError):
    """A value outside the range that its parameter allows."""


class ShapeError(DeepGraphError, ValueError):
    """An array or a tensor of another shape than expected."""


class DtypeError(DeepGraphError, TypeError):
    """An array, a tensor or an object of another type than expected."""


class StructureError(DeepGraphError, ValueError):
    """A graph that cannot be used for what was asked of it."""


class CycleError(StructureError):
    """A directed cycle where a directed acyclic graph is needed; the message names the cycle."""


class EdgeError(DeepGraphError, ValueError):
    """A bulk edit with edges that are duplicated, present already, absent, or not admissible."""


class UnknownNodeError(DeepGraphError, KeyError):
    """A node that the graph does not have."""


class MissingColumnError(DeepGraphError, KeyError):
    """A node or edge column that the graph does not have, or that some edges lack."""


class EditRefusedError(DeepGraphError, RuntimeError):
    """An edit of a compiled graph that cannot be made now, or not at all; nothing was changed."""


class CapacityError(DeepGraphError, ValueError):
    """More edges than the edge set admits, or a budget that cannot be met."""


class TooLargeError(DeepGraphError, ValueError):
    """A result that would not fit in the stated limit; the message says how large it would be."""


class FileFormatError(DeepGraphError, ValueError):
    """A file that is truncated, foreign, hostile, or written by a newer version."""


class UnsupportedOperationError(DeepGraphError, NotImplementedError):
    """An operation, a dtype or a device without a rule; the message says how to add or avoid it."""


class MissingDependencyError(DeepGraphError, ImportError):
    """An optional package that is needed for what was asked; the message says how to install it."""
