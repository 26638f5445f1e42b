"""
The graph inside a residual network
===================================

A forward pass traced through a plain torch model shows its skip connections as edges between the same modules.
"""

import matplotlib.pyplot as plt
import networkx as nx
import torch
from torch import nn

import deepgraph as dg


class Residual(nn.Module):
    """Two layers around which the input is added."""

    def __init__(self, width):
        super().__init__()
        self.one, self.two = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x):
        return torch.relu(x + self.two(torch.relu(self.one(x))))


torch.manual_seed(0)
model = nn.Sequential(nn.Linear(12, 8), Residual(8), Residual(8), nn.Linear(8, 4))
x = torch.randn(1, 12)
figure, axes = plt.subplots(2, 1, figsize=(11, 6.6), layout="constrained", height_ratios=[2, 1])
for ax, order, what in zip(axes, (0, 2), ("neurons", "module calls"), strict=True):
    graph = dg.extract(model, x, order=order)
    names = list(nx.get_node_attributes(graph, "operation").values()) if order else False
    dg.draw(graph, ax, labels=False)
    for place, name in enumerate(names or []):
        ax.annotate(name, (place, 0), (0, -12), textcoords="offset points", ha="center", va="top", fontsize=8)
    ax.set_title(f"order {order}: {len(graph)} {what}, {graph.number_of_edges()} edges", loc="left", fontsize=10)
plt.show()
