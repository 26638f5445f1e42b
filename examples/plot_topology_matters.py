"""
Does the found topology matter?
===============================

Retrained from new weights, a graph that RigL found cannot be told from random edges, from random edges with its
degrees, or from itself moved to other pixels: inside the interval nobody wins.
"""

import matplotlib.pyplot as plt
import torch

import deepgraph as dg

x, y, x_test, y_test = dg.dataset.fashion_mnist_sample().tensors()


def train(model, optimizer, steps):
    """Train, and return the accuracy on the test images."""
    for _step in range(steps):
        rows = torch.randint(len(x), (100,))
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x[rows].flatten(1)), y[rows]).backward()
        optimizer.step()
    return (model(x_test.flatten(1)).argmax(dim=1) == y_test).float().mean().item()


def retrain(graph, seed):
    """Train a fixed graph from new weights."""
    torch.manual_seed(seed)
    model = dg.MaskedDeepDAN.from_graph(graph, seed=seed)
    return train(model, torch.optim.Adam(model.parameters(), 3e-3), 300)


torch.manual_seed(0)
model = dg.MaskedDeepFFN(784, 10, [60, 30], density=[0.003, 0.2, 1.0], seed=0)
train(model, dg.RigL(model, torch.optim.Adam(model.parameters(), 3e-3), every=20, until=450, seed=0), 600)
result = dg.analysis.does_topology_matter(model.graph, retrain, seeds=8, level=1 - 0.05 / 3, workers=0)
print(result)

figure, ax = plt.subplots(figsize=(6.8, 3.4), layout="constrained")
said = {"er": "random edges", "degree": "random edges,\nsame degrees", "relabel": "same graph,\nother pixels"}
for row, (null, one) in enumerate(result.differences.items()):
    ax.plot([100 * one.low, 100 * one.high], [row, row], color="#0072B2", linewidth=2)
    ax.plot(100 * one.mean, row, "o", color="#0072B2")
    verdict = {"found": "the found graph wins", "nobody": "nobody wins"}.get(result.winner(null), "the null wins")
    ax.text(100 * one.high, row - 0.14, verdict, fontsize=8, ha="right")
ax.axvline(0, color="#222222", linewidth=0.8, linestyle="--")
ax.set_yticks(range(len(said)), said.values())
ax.tick_params(axis="y", length=0)
ax.set_ylim(len(said) - 0.5, -0.6)
x_label = "test accuracy, found graph minus null, in percentage points"
dg.plotting.dress(ax, "8 pairs, intervals that hold 95 % over all three comparisons", x_label)
ax.spines["left"].set_visible(False)
plt.show()
