"""
A small world as a matrix
=========================

Ordered by stage, the matrix of a small world fills the upper triangle, because its edges skip stages; those of a
layered network of the same size keep to the blocks beside the diagonal.
"""

import matplotlib.pyplot as plt

import deepgraph as dg

world = dg.priors.watts_strogatz(300, 8, 0.3, seed=0)
layered = dg.priors.random_layered([60] * 5, 1200 / (4 * 60 * 60), seed=0)
figure, axes = plt.subplots(1, 2, figsize=(11, 5.8), layout="constrained")
for ax, name, graph in zip(axes, ("small world", "layered network"), (world, layered), strict=True):
    dg.plotting.spy(graph, ax)
    skips = dg.analysis.skip_share(graph)
    ax.set_title(
        f"{name}: {graph.number_of_edges():,} edges, {100 * skips:.0f} % skip a stage", loc="left", fontsize=10
    )
plt.show()
