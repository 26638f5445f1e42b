"""The networkx backend `deepgraph`: array versions of some algorithms, used only where the user asks for them.

networkx reads `deepgraph.backend.info` at its own import, so neither this module nor that one imports anything large.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from deepgraph.errors import ArgumentError

__all__ = ["fast_networkx"]


@contextmanager
def fast_networkx() -> Iterator[None]:
    """Return a context in which networkx's functions use array versions on our graphs where there are some.

    Results are networkx's, floats to 1e-9. Graphs of other classes, views and functions without an array version go
    the usual way. networkx's own settings do the same for a process: `NETWORKX_BACKEND_PRIORITY=deepgraph`, and
    `NETWORKX_BACKEND_PRIORITY_GENERATORS=deepgraph` for `relabel_nodes`; `backend="deepgraph"` does for a call.

    Raises
    ------
    ArgumentError
        If networkx does not know the backend, because the package was not installed or networkx came before it.

    Examples
    --------
    >>> import networkx as nx, deepgraph as dg
    >>> g = dg.CachedLayeredGraph.from_arrays([0, 0, 1], [1, 2, 2])
    >>> with dg.fast_networkx():  # doctest: +SKIP
    ...     nx.dag_longest_path_length(g), nx.descendants(g, 1)
    (2, {2})
    """
    import networkx as nx
    from networkx.utils.backends import backends  # type: ignore[attr-defined]

    if "deepgraph" not in backends:
        raise ArgumentError(
            "expected the networkx backend 'deepgraph', got none; install the package, so that its entry points are "
            "found (pip install deepgraph-nn, or pip install -e . once more), and start Python anew"
        )
    priority = nx.config.backend_priority
    if isinstance(priority, list):
        # networkx 3.3 has one list for all functions.
        context = nx.config(backend_priority=_first(priority))
    else:
        # To networkx whatever returns a graph is a generator, also what takes one: `relabel_nodes`.
        context = priority(algos=_first(priority.algos), generators=_first(priority.generators))
    with context:
        yield


def _first(names: list[str]) -> list[str]:
    """Return names of backends with this one in front."""
    return ["deepgraph", *(name for name in names if name != "deepgraph")]
