"""
The catalogue of priors
=======================

About forty neurons, joined in 25 ways: models of pairs of layers keep to neighbouring stages, graphs that are only
directed afterwards are deep and skip stages.
"""

import matplotlib.pyplot as plt
import networkx as nx
import numpy as np

import deepgraph as dg

p = dg.priors
theme = nx.DiGraph([("in", "a"), ("in", "b"), ("b", "c"), ("a", "out"), ("c", "out"), ("in", "out")])
layers = [12, 12, 12, 6]
families = {
    "trees and grids": {
        "balanced_tree": p.balanced_tree(2, 4),
        "grid_2d": p.grid_2d(6, 6),
        "grid, 3-D": p.grid([3, 3, 4]),
        "hypercube": p.hypercube(5),
        "triangular": p.triangular(5, 11),
    },
    "rings and small worlds": {
        "ring, bfs order": p.ring(30, orientation="bfs"),
        "circulant, bfs order": p.circulant(40, [1, 9], orientation="bfs"),
        "watts_strogatz": p.watts_strogatz(40, 4, 0.3, seed=0),
        "newman_watts_strogatz": p.newman_watts_strogatz(40, 4, 0.3, seed=0),
        "ws_flex": p.ws_flex(40, 3.3, 0.3, seed=0),
    },
    "random graphs": {
        "barabasi_albert": p.barabasi_albert(40, 2, seed=0),
        "erdos_renyi_dag": p.erdos_renyi_dag(40, 0.1, seed=0),
        "stochastic_block": p.stochastic_block([20, 20], np.eye(2) * 0.18 + 0.01, seed=1),
        "random_wiring": p.random_wiring(32, seed=0),
        "blow_up of a theme": p.blow_up(theme, [3, 2, 2, 3, 2], 0.4, num_nodes=30, seed=0),
    },
    "random pairs of layers": {
        "random_layered": p.random_layered(layers, 0.25, seed=0),
        "constant_fan_in": p.constant_fan_in(layers, 3, seed=0),
        "bipartite_small_world": p.bipartite_small_world(layers, 3, 0.15, seed=0),
        "bipartite_scale_free": p.bipartite_scale_free(layers, 0.25, 2.2, seed=0),
        "bipartite_regular": p.bipartite_regular(layers, [3, 3, 4], seed=0),
    },
    "patterns of pairs of layers": {
        "butterfly": p.butterfly(3),
        "block_diagonal": p.block_diagonal(layers, 3),
        "banded": p.banded(layers, 3),
        "n_of_m, 1 of 4": p.n_of_m(layers, 1, 4, seed=0),
        "relational, on a path": p.relational(nx.path_graph(6), 12, rounds=3),
    },
}
figure = plt.figure(figsize=(13, 12.5), layout="constrained")
rows, kinds = figure.subfigures(len(families), 1), {}
for row, (family, graphs) in zip(rows, families.items(), strict=True):
    row.suptitle(family, x=0.005, ha="left", fontsize=11, fontweight="bold")
    for ax, (name, graph) in zip(row.subplots(1, 5), graphs.items(), strict=True):
        dg.draw(graph, ax, labels=False, layout="stored" if "pairs" in family else "layered")
        kinds |= {handle.get_label(): handle for handle in ax.get_legend().legend_handles}
        ax.get_legend().remove()
        ax.set(
            xlabel="", xticks=[], ylim=(-1.65, 1.65) if "skip edges" in ax.get_legend_handles_labels()[1] else (-1, 1)
        )
        ax.set_title(f"{name}\n{graph.number_of_edges()} edges, {graph.num_layers} layers", loc="left", fontsize=8.5)
rows[0].legend(handles=kinds.values(), loc="upper right", ncols=len(kinds), frameon=False, fontsize=8.5)
plt.show()
