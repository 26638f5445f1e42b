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
    the usual way. networkx's own settings do the same for a process: `NETWORKX_BACKEND_PRIORITY=deepgraph`.

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
    chosen = ["deepgraph", *(name for name in getattr(priority, "algos", priority) if name != "deepgraph")]
    # networkx 3.3 has one list for all functions, later versions one for each kind.
    context = nx.config(backend_priority=chosen) if isinstance(priority, list) else priority(algos=chosen)
    with context:
        yield
