"""
Leaving the random graphs behind
================================

RigL's first edit lifts the inequality of fan-in far above that of random graphs, and it stays there.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch

import deepgraph as dg

torch.manual_seed(0)
x, y, _, _ = dg.dataset.fashion_mnist_sample().tensors()
model = dg.MaskedDeepFFN((28, 28), 10, [100, 50], density=0.05, seed=0)
optimizer = dg.RigL(model, torch.optim.Adam(model.parameters(), 2e-3), every=20, until=500, seed=0)
steps, values, nulls = [], [], []
for step in range(601):
    if step % 20 == 0:
        random_graphs = [dg.graph.nulls.null_er(model.graph, seed=seed) for seed in range(10)]
        steps.append(step)
        values.append(dg.analysis.fan(model.graph).gini)
        nulls.append([dg.analysis.fan(graph).gini for graph in random_graphs])
    rows = torch.randint(len(x), (100,))
    optimizer.zero_grad()
    torch.nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
    optimizer.step()
ax = dg.plotting.statistic_over_steps(steps, values, nulls=np.transpose(nulls), name="Gini coefficient of fan-in")
ax.set_title("Gini coefficient of fan-in; nulls: random edges, as many per layer", loc="left", fontsize=10)
plt.show()
