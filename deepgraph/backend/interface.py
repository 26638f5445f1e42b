"""What networkx calls: conversions that do nothing, which calls are taken, and the functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from deepgraph.backend import algorithms
from deepgraph.backend.info import FUNCTIONS
from deepgraph.graph import CachedLayeredGraph

__all__ = ["Backend", "backend"]


class Backend:
    """The backend: the functions of `deepgraph.backend.algorithms` as attributes."""

    def __init__(self) -> None:
        for name in FUNCTIONS:
            setattr(self, name, getattr(algorithms, name))

    @staticmethod
    def convert_from_nx(graph: Any, *args: Any, **kwargs: Any) -> Any:
        """Return the graph itself: `can_run` takes no others than ours."""
        return graph

    @staticmethod
    def convert_to_nx(result: Any, *args: Any, **kwargs: Any) -> Any:
        """Return the result itself."""
        return result

    @staticmethod
    def can_run(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
        """Return whether the call is of a function that is there, on a graph of our class that is no view.

        Examples
        --------
        >>> backend.can_run("pagerank", [CachedLayeredGraph()], {}), backend.can_run("pagerank", [None], {})
        (True, False)
        """
        graph = args[0] if args else kwargs.get("G")
        return name in FUNCTIONS and isinstance(graph, CachedLayeredGraph) and graph._owns()

    @staticmethod
    def should_run(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
        """Return True: there is nothing to convert, so the arrays are never the slower way."""
        return True


backend = Backend()
