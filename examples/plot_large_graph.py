"""
A million edges in one picture
==============================

Above a few thousand edges the drawing counts edges between stages: widths and colours still show where they are.
"""

import matplotlib.pyplot as plt

import deepgraph as dg

graph = dg.priors.random_layered([784, 1000, 1000, 1000, 10], 0.3, seed=0)
figure, axes = plt.subplots(1, 2, figsize=(13, 5), layout="constrained", width_ratios=[1.6, 1])
dg.draw(graph, axes[0])
dg.plotting.spy(graph, axes[1])
plt.show()
