"""
Two runs, two graphs
====================

Two runs of RigL from the same edges, with other batches, end with graphs that are more alike than either is to the
start, and that agree on the pixels.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch

import deepgraph as dg

x, y, _, _ = dg.dataset.fashion_mnist_sample().tensors()
graphs = []
for batches in (1, 2):
    torch.manual_seed(batches)
    model = dg.MaskedDeepFFN((28, 28), 10, [100, 50], density=0.05, seed=0)
    start = model.graph.copy()
    optimizer = dg.RigL(model, torch.optim.Adam(model.parameters(), 2e-3), every=20, seed=0)
    for _step in range(600):
        rows = torch.randint(len(x), (100,))
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
        optimizer.step()
    graphs.append(model.graph.copy())
pairs = {"first and second": graphs, "first and start": (graphs[0], start), "second and start": (graphs[1], start)}
found = {name: dg.compare(*pair) for name, pair in pairs.items()}
print(found["first and second"])

pixels = [dg.plotting.input_connections(graph).ravel() for graph in graphs]
alike = np.corrcoef(*pixels)[0, 1]
figure, axes = plt.subplots(1, 3, figsize=(13, 4.2), layout="constrained", width_ratios=[1, 1, 0.9])
for ax, graph, name in zip(axes, graphs, ("first", "second"), strict=False):
    dg.plotting.input_heatmap(graph, ax=ax).images[0].set_clim(0, max(map(np.max, pixels)))
    ax.set_title(f"{name} run", loc="left", fontsize=10)
axes[1].set_title(f"second run: correlation {alike:.2f} with the first", loc="left", fontsize=10)
for at, (name, one) in enumerate(found.items()):
    shares = [one.jaccard, *(row["jaccard"] for row in one.stage_pairs)]
    place = np.arange(len(shares)) + 0.27 * (at - 1)
    bars = axes[2].barh(place, shares, 0.25, color=("#0072B2", "#56B4E9", "#E69F00")[at], label=name)
    axes[2].bar_label(bars, fmt="%.2f", fontsize=8, padding=2)
axes[2].set_yticks(range(4), ["all edges", "layer 1", "layer 2", "layer 3"])
axes[2].set_xlim(0, 1)
axes[2].invert_yaxis()
dg.plotting.dress(axes[2], x="common edges / edges of either (Jaccard)")
axes[2].legend(loc="upper center", bbox_to_anchor=(0.45, 1.12), ncols=3, frameon=False, fontsize=8, columnspacing=1)
plt.show()
