"""
Small-world, or only unequal?
=============================

Against random edges a network trained by RigL is a small world; against random edges with the same degrees little of
that is left: most of what training made is the degree sequence.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch

import deepgraph as dg

x, y, _, _ = dg.dataset.fashion_mnist_sample().tensors()
makers = {
    "static": lambda model, adam: dg.Static(model, adam),
    "SET": lambda model, adam: dg.SET(model, adam, every=20, until=450, decay="cosine", seed=0),
    "RigL": lambda model, adam: dg.RigL(model, adam, every=20, until=450, seed=0),
}
seeds = 3
sigma = {null: np.zeros((len(makers), seeds)) for null in ("er", "degree")}
for row, make in enumerate(makers.values()):
    for seed in range(seeds):
        torch.manual_seed(seed)
        model = dg.MaskedDeepFFN((28, 28), 10, [100, 50], density=0.05, seed=seed)
        optimizer = make(model, torch.optim.Adam(model.parameters(), 3e-3))
        for _step in range(600):
            rows = torch.randint(len(x), (100,))
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
        for null, table in sigma.items():
            table[row, seed] = dg.analysis.small_world(model.graph, null, nulls=3, seed=seed).sigma

figure, ax = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
names = {"er": "against random edges", "degree": "against the same degrees"}
for at, (null, table) in enumerate(sigma.items()):
    place = np.arange(len(makers)) + 0.36 * (at - 0.5)
    color = ("#0072B2", "#D55E00")[at]
    ax.bar(place, table.mean(axis=1), 0.34, color=color, alpha=0.35, label=names[null])
    ax.plot(np.repeat(place, seeds), table.ravel(), "o", color=color, markersize=4)
ax.axhline(1.0, color="#222222", linewidth=0.8, linestyle="--")
ax.text(-0.42, 1.03, "1 = no small world", fontsize=8, va="bottom")
ax.set_xticks(range(len(makers)), makers)
y_label = "small-world coefficient $\\sigma$ (dots: 3 seeds)"
dg.plotting.dress(ax, "Most of the small world is the degree sequence", y=y_label)
ax.legend(frameon=False, fontsize=8, loc="upper left")
plt.show()
