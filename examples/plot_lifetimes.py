"""
How long grown edges live
=========================

SET drops 19 of 20 grown edges at its next edit, 20 steps later, RigL three of four; DEEPR, which edits at every step,
loses more than half of them at once.
"""

import matplotlib.pyplot as plt
import torch

import deepgraph as dg

x, y, _, _ = dg.dataset.fashion_mnist_sample().tensors()
makers = {
    "RigL": lambda model: dg.RigL(model, torch.optim.Adam(model.parameters(), 2e-3), every=20, seed=0),
    "SET": lambda model: dg.SET(model, torch.optim.Adam(model.parameters(), 2e-3), every=20, seed=0),
    "DEEPR": lambda model: dg.DEEPR(model, lr=0.2, l1=2e-4, temperature=1e-7, seed=0),
}
histories = {}
for name, make in makers.items():
    torch.manual_seed(0)
    model = dg.MaskedDeepFFN((28, 28), 10, [100, 50], density=0.05, seed=0)
    optimizer = make(model)
    for _step in range(600):
        rows = torch.randint(len(x), (100,))
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
        optimizer.step()
    histories[name] = model.graph.history
ax = dg.plotting.edge_lifetimes(histories)
ax.set_xscale("log")
ax.set_xlim(1, 600)
ax.set_xticks([1, 2, 5, 10, 20, 50, 100, 200, 500], [1, 2, 5, 10, 20, 50, 100, 200, 500])
plt.show()
