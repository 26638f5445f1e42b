"""
Skip connections that training grows
====================================

A layered network whose edges RigL may rewire over the whole graph grows edges that skip stages; they come and go, and
their weights stay a tenth of those of the other edges.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch

import deepgraph as dg

torch.manual_seed(0)
x, y, _, _ = dg.dataset.fashion_mnist_sample().tensors()
structure = dg.priors.random_layered([40, 40, 40, 40, 20], 0.15, seed=0)
model = dg.MaskedDeepDAN((28, 28), 10, structure, seed=0)
optimizer = dg.RigL(model, torch.optim.Adam(model.parameters(), 2e-3), every=20, until=600, seed=0)
for _step in range(600):
    rows = torch.randint(len(x), (100,))
    optimizer.zero_grad()
    torch.nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
    optimizer.step()

figure, axes = plt.subplots(1, 2, figsize=(12, 5), layout="constrained", width_ratios=[1.25, 1])
dg.draw(model.graph, axes[0], labels=False)
axes[0].set_title(f"after 600 steps of RigL: {structure.number_of_edges():,} edges", loc="left", fontsize=10)
log = optimizer.log
steps = [0, *(row["step"] for row in log)]
total = structure.number_of_edges()
shares = [[(length == 1) * 1.0, *(row["skip"].get(length, 0) / total for row in log)] for length in range(1, 5)]
labels = ["to the next stage", "skips 1 stage", "skips 2 stages", "skips 3 stages"]
axes[1].stackplot(steps, 100 * np.array(shares), labels=labels, colors=["#D0D0D0", "#56B4E9", "#0072B2", "#D55E00"])
axes[1].set(xlim=(0, steps[-1]), ylim=(0, 100))
src, dst = model.graph.edge_arrays()
skips = model.graph.stage_array()[dst] - model.graph.stage_array()[src] > 1
size = np.abs(model.graph.column("weight"))
dg.plotting.dress(
    axes[1],
    f"in the end {100 * skips.mean():.0f} % of the edges skip a stage,\n"
    f"their mean |weight| is {size[skips].mean():.2f}, that of the others {size[~skips].mean():.2f}",
    "training step",
    "edges in %",
)
axes[1].legend(loc="lower left", fontsize=8, reverse=True)
plt.show()
