"""
Prior structures
================

Trees, grids, small worlds and scale-free graphs differ in depth and in how many of their edges skip a stage.
"""

import matplotlib.pyplot as plt

import deepgraph as dg

structures = {
    "balanced tree": dg.priors.balanced_tree(2, 4),
    "2-D grid": dg.priors.grid_2d(6, 6),
    "Watts-Strogatz": dg.priors.watts_strogatz(40, 4, 0.3, seed=0),
    "Barabasi-Albert": dg.priors.barabasi_albert(40, 2, seed=0),
}
figure, axes = plt.subplots(2, 2, figsize=(11, 8), layout="constrained")
for ax, (name, graph) in zip(axes.flat, structures.items(), strict=True):
    dg.draw(graph, ax, labels=False)
    ax.set_title(f"{name}: {ax.get_title(loc='left')}", loc="left", fontsize=10)
plt.show()
