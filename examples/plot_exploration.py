"""
How much of the network training explores
=========================================

With as many edits SET tries far more pairs than RigL and keeps fewer of its first edges; RigL makes neurons unequal.
"""

import matplotlib.pyplot as plt
import torch

import deepgraph as dg

x, y, _, _ = dg.dataset.fashion_mnist_sample().tensors()
figure, axes = plt.subplots(1, 3, figsize=(13, 4), layout="constrained")
titles = {
    "itop": "pairs that were ever an edge (ITOP rate)",
    "jaccard": "likeness to the first edges (Jaccard)",
    "gini_fan_in": "inequality of fan-in (Gini)",
}
for color, cls in (("#0072B2", dg.RigL), ("#D55E00", dg.SET)):
    torch.manual_seed(0)
    model = dg.MaskedDeepFFN((28, 28), 10, [100, 50], density=0.05, seed=0)
    optimizer = cls(model, torch.optim.Adam(model.parameters(), 2e-3), every=20, seed=0)
    recorder = dg.analysis.Recorder(model, optimizer, every=20, seed=0)
    for _step in range(800):
        rows = torch.randint(len(x), (100,))
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
        optimizer.step()
    for ax, (name, title) in zip(axes, titles.items(), strict=True):
        curve = recorder.curve(name)
        ax.plot(curve["step"], curve[name], color=color, linewidth=1.8)
        ax.annotate(
            f"{cls.__name__} {curve[name][-1]:.2f}", (curve["step"][-1], curve[name][-1]), (4, 0),
            textcoords="offset points", color=color, va="center", fontsize=9,
        )  # fmt: skip
        dg.plotting.dress(ax, title, "training step")
for ax in axes:
    ax.set_xlim(0, 1000)
    ax.set_ylim(bottom=0)
    ax.set_xticks(range(0, 801, 200))
plt.show()
