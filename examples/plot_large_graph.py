"""
A million edges in one picture
==============================

Above a few thousand edges the drawing counts edges between stages: widths show how many there are, colours how dense.
"""

import matplotlib.pyplot as plt

import deepgraph as dg

densities = [0.3, 0.02, 0.6, 0.05, 0.2, 0.3, 0.9]  # of the stage pairs 0-1, 0-2, 1-2, 1-3, 2-3, 2-4, 3-4
graph = dg.priors.random_layered([784, 1000, 1000, 1000, 10], densities, skip=1, seed=0)
figure, axes = plt.subplots(1, 2, figsize=(13, 5), layout="constrained", width_ratios=[1.6, 1])
dg.draw(graph, axes[0])
dg.plotting.spy(graph, axes[1])
plt.show()
