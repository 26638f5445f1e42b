"""What networkx is told about the backend when it is imported: by everybody who has this package, so it is light."""

from __future__ import annotations

from typing import Any

__all__ = ["FUNCTIONS", "get_info"]

FUNCTIONS = {
    "ancestors": "O(N + E) by frontiers on arrays.",
    "dag_longest_path_length": "From the layer index; graphs without edge weights.",
    "descendants": "O(N + E) by frontiers on arrays.",
    "in_degree_centrality": "From the target-major index.",
    "is_directed_acyclic_graph": "From the layer index.",
    "is_weakly_connected": "By scipy.",
    "number_weakly_connected_components": "By scipy.",
    "out_degree_centrality": "From the source-major index.",
    "pagerank": "Without personalization, nstart and dangling.",
    "relabel_nodes": "Copies whose labels stay distinct.",
    "weakly_connected_components": "By scipy.",
}
"""Names of networkx's functions that have an array version, with a note."""


def get_info() -> dict[str, Any]:
    """Return the description that networkx asks for.

    Examples
    --------
    >>> sorted(get_info())[:3]
    ['backend_name', 'description', 'functions']
    """
    return {
        "backend_name": "deepgraph",
        "project": "deepgraph-nn",
        "package": "deepgraph",
        "short_summary": "Array versions of graph algorithms for deepgraph.CachedLayeredGraph.",
        "description": "Algorithms on the arrays of deepgraph.CachedLayeredGraph; nothing is converted.",
        "functions": {name: {"additional_docs": note} for name, note in FUNCTIONS.items()},
    }
