"""Prior structures: one function each, all returning a `CachedLayeredGraph` with declared stages.

Trees, grids, small worlds, scale-free and random graphs, layered graphs; `from_networkx` directs any other graph, and
`edge_counts` shares a global density among layers.
"""

from __future__ import annotations

from deepgraph.priors.densities import edge_budget, edge_counts, er, erk, uniform
from deepgraph.priors.grids import grid_2d
from deepgraph.priors.layered import random_layered
from deepgraph.priors.orientation import from_networkx
from deepgraph.priors.random_graphs import erdos_renyi_dag
from deepgraph.priors.scale_free import barabasi_albert
from deepgraph.priors.small_world import newman_watts_strogatz, watts_strogatz
from deepgraph.priors.trees import balanced_tree

__all__ = [
    "balanced_tree",
    "barabasi_albert",
    "edge_budget",
    "edge_counts",
    "er",
    "erdos_renyi_dag",
    "erk",
    "from_networkx",
    "grid_2d",
    "newman_watts_strogatz",
    "random_layered",
    "uniform",
    "watts_strogatz",
]
