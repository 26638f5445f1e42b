"""
What training changed, edge by edge
===================================

RigL on a whole graph may put an edge between any two stages: two of three edges that it grows here skip a stage, and
some neurons are left without a path.
"""

import matplotlib.pyplot as plt
import torch

import deepgraph as dg

torch.manual_seed(0)
x, y, _, _ = dg.dataset.fashion_mnist_sample().tensors()
structure = dg.priors.random_layered([12] * 5, 0.25, seed=0)
model = dg.MaskedDeepDAN((28, 28), 10, structure, seed=0)
before = model.graph.copy()
optimizer = dg.RigL(model, torch.optim.Adam(model.parameters(), 2e-3), every=20, until=450, seed=0)
for _step in range(500):
    rows = torch.randint(len(x), (100,))
    optimizer.zero_grad()
    torch.nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
    optimizer.step()
after = model.graph

figure, axes = plt.subplots(2, 2, figsize=(12, 8.6), layout="constrained")
dg.plotting.side_by_side(before, after, axes[0], color=None)
dg.plotting.draw_difference(before, after, axes[1, 0])
dg.plotting.draw_difference(before, after, axes[1, 1], max_edges=1)
axes[1, 1].set_title("the same by stage pair", loc="left", fontsize=10, pad=18)
plt.show()
