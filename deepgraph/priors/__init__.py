"""Prior structures: one function each, all returning a `CachedLayeredGraph` with declared stages.

Trees, grids, rings, small worlds, scale-free and random graphs, stochastic blocks; layered graphs with random edges or
fixed patterns from layer to layer; themes blown up to groups, relational graphs and randomly wired cells.
`from_networkx` directs any other graph, and `edge_counts` shares a global density among layers.
"""

from __future__ import annotations

from deepgraph.priors.bipartite import bipartite_regular, bipartite_scale_free, bipartite_small_world
from deepgraph.priors.densities import edge_budget, edge_counts, er, erk, igq, uniform
from deepgraph.priors.fan_in import constant_fan_in
from deepgraph.priors.grids import grid, grid_2d, hypercube, triangular
from deepgraph.priors.layered import random_layered
from deepgraph.priors.orientation import from_networkx
from deepgraph.priors.patterns import banded, block_diagonal, butterfly, n_of_m
from deepgraph.priors.random_graphs import erdos_renyi_dag
from deepgraph.priors.relational import matching_width, relational, relational_flops
from deepgraph.priors.rings import circulant, ring
from deepgraph.priors.scale_free import barabasi_albert
from deepgraph.priors.small_world import newman_watts_strogatz, watts_strogatz, ws_flex
from deepgraph.priors.stochastic_block import stochastic_block
from deepgraph.priors.theme import blow_up, shared_out
from deepgraph.priors.trees import balanced_tree
from deepgraph.priors.wiring import cell, random_wiring

__all__ = [
    "balanced_tree",
    "banded",
    "barabasi_albert",
    "bipartite_regular",
    "bipartite_scale_free",
    "bipartite_small_world",
    "block_diagonal",
    "blow_up",
    "butterfly",
    "cell",
    "circulant",
    "constant_fan_in",
    "edge_budget",
    "edge_counts",
    "er",
    "erdos_renyi_dag",
    "erk",
    "from_networkx",
    "grid",
    "grid_2d",
    "hypercube",
    "igq",
    "matching_width",
    "n_of_m",
    "newman_watts_strogatz",
    "random_layered",
    "random_wiring",
    "relational",
    "relational_flops",
    "ring",
    "shared_out",
    "stochastic_block",
    "triangular",
    "uniform",
    "watts_strogatz",
    "ws_flex",
]
