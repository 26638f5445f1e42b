"""
The order of the nodes decides the depth
========================================

A ring directed in stored order is one long chain with a single output, in random order it is a shallow network with
many inputs and outputs: always orient a small world at random.
"""

import matplotlib.pyplot as plt
import networkx as nx

import deepgraph as dg

ring = nx.watts_strogatz_graph(60, 4, 0.1, seed=0)
figure, axes = plt.subplots(2, 1, figsize=(9, 8), layout="constrained")
for ax, orientation in zip(axes, ("stored", "random"), strict=True):
    graph = dg.from_networkx(ring, orientation=orientation, seed=0)
    dg.draw(graph, ax, labels=False)
    inputs, outputs = len(graph.input_positions()), len(graph.output_positions())
    dg.plotting.dress(ax, f"{orientation} order: {graph.num_layers} layers, {inputs} inputs, {outputs} outputs")
plt.show()
