"""
How the edges are shared out decides who lives
==============================================

With the same number of edges, an equal density in every layer starves the narrow ones and half of the hidden units die;
densities by ERK, higher where layers are small, keep nine of ten alive and learn twice as much.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch

import deepgraph as dg

x, y, x_test, y_test = dg.dataset.fashion_mnist_sample().tensors()
figure, axes = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
for at, distribution in enumerate(("uniform", "erk")):
    torch.manual_seed(0)
    model = dg.MaskedDeepFFN((28, 28), 10, [100, 80, 60, 40], density=0.03, distribution=distribution, seed=0)
    optimizer = dg.RigL(model, torch.optim.Adam(model.parameters(), 3e-3), every=20, until=450, seed=0)
    for _step in range(600):
        rows = torch.randint(len(x), (100,))
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
        optimizer.step()
    accuracy = (model(x_test).argmax(dim=1) == y_test).float().mean().item()
    profile = dg.plotting.stage_rows(model.graph)
    densities = dg.analysis.stage_pair_density(model.graph).values()
    edges = model.graph.number_of_edges()
    label = f"{distribution.replace('erk', 'ERK')}: {edges:,} edges, test accuracy {100 * accuracy:.0f} %"
    for ax, values in ((axes[0], densities), (axes[1], profile["live"][1:])):
        bars = ax.bar(np.arange(5) + 0.4 * (at - 0.5), values, 0.38, color=("#E69F00", "#0072B2")[at], label=label)
        ax.bar_label(bars, fmt=lambda value: f"{value:.2g}", fontsize=8)
for ax, what in zip(axes, ("density of the layer", "share of its units that are alive"), strict=True):
    ax.set_xticks(range(5), ["layer 1\n100 units", "layer 2\n80", "layer 3\n60", "layer 4\n40", "output\n10"])
    dg.plotting.dress(ax, what)
figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=2, frameon=False, fontsize=9)
plt.show()
