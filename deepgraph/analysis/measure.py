"""What a measure is: a function with a name, a unit, a definition and a reference."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from deepgraph.errors import ArgumentError

__all__ = ["Estimate", "Measure", "UnknownMeasureError", "near_names", "pick"]

Item = TypeVar("Item")


class UnknownMeasureError(ArgumentError, KeyError):
    """A measure that is not known; the message lists near names."""


@dataclass(frozen=True)
class Estimate:
    """A value with what must be said beside it.

    Attributes
    ----------
    value : float
        The value; NaN where it is undefined.
    error : float or None
        Standard error, where the value was sampled.
    note : str
        One clause: how it was sampled, what was left out.
    """

    value: float
    error: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Measure:
    """A measure and all that a report says of it.

    Attributes
    ----------
    name : str
        Key in a report.
    family : str
        Heading under which a report lists it.
    function : callable
        `function(arrays)` with `EdgeArrays` -> float or `Estimate`; for level "stage" and "stage pair" -> array (S,)
        or (P,). With `random`, `function(arrays, generator)`. With `versus`, `function(own, nulls)`, both mappings
        from the names in `needs` to a value (of nulls: the mean).
    definition : str
        One sentence.
    reference : str
        Where it comes from; "" for plain counts.
    unit : str
        "edges", "share", ...
    directed : {"directed", "undirected", ""}
        Whether it reads the direction of edges; "" where it makes no difference.
    cost : str
        Growth of its time, in N nodes and E edges.
    level : {"graph", "stage", "stage pair"}
        What one value belongs to.
    thin : bool
        Whether dense stage pairs are left out in reports.
    random : bool
        Whether it draws random numbers.
    weighted : bool
        Whether it needs the edge column "weight".
    versus : {"", "er", "degree"}
        The null model that it is defined against.
    needs : tuple of str
        Other measures that it is made of.
    stream : str
        Measures of one stream share their random numbers; default the name.

    Examples
    --------
    >>> twice = Measure("twice", "size", lambda view: 2.0 * view.num_edges, "Twice the edges.", unit="edges")
    >>> twice.level, twice.random
    ('graph', False)
    """

    name: str
    family: str
    function: Callable[..., Any]
    definition: str
    reference: str = ""
    unit: str = ""
    directed: Literal["directed", "undirected", ""] = ""
    cost: str = "O(E)"
    level: Literal["graph", "stage", "stage pair"] = "graph"
    thin: bool = False
    random: bool = False
    weighted: bool = False
    versus: Literal["", "er", "degree"] = ""
    needs: tuple[str, ...] = ()
    stream: str = ""


def near_names(name: object, known: Iterable[str]) -> str:
    """Return a clause that lists the known names nearest to `name`.

    Examples
    --------
    >>> near_names("gini_fanin", ["gini_fan_in", "edges"])
    'did you mean gini_fan_in?'
    """
    names = sorted(known)
    wanted = str(name).lower().replace("-", "_").replace(" ", "_")
    near = difflib.get_close_matches(wanted, names, n=3, cutoff=0.5)
    near += [other for other in names if wanted and wanted in other and other not in near][: 3 - len(near)]
    return f"did you mean {' or '.join(near)}?" if near else f"known are {', '.join(names)}"


def pick(known: Mapping[str, Item], name: object, what: str = "measure") -> Item:
    """Return `known[name]`.

    Raises
    ------
    UnknownMeasureError
        If there is none; the message lists near names.

    Examples
    --------
    >>> pick({"edges": 3}, "edges")
    3
    """
    if isinstance(name, str) and name in known:
        return known[name]
    raise UnknownMeasureError(f"unknown {what} {name!r}: {near_names(name, known)}")
