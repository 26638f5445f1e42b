"""
Clustering, path length and error of relational networks
========================================================

Networks whose nodes exchange messages along a graph, all of the same cost: over these seven graphs the error falls with
path length and, less surely, grows with clustering, but singly all but one cannot be told from the dense network.
After You, Leskovec, He & Xie, "Graph structure of neural networks", ICML 2020.
"""

import matplotlib.pyplot as plt
import networkx as nx
import numpy as np
import torch
from scipy.stats import kendalltau, t

import deepgraph as dg

NODES, ROUNDS, SEEDS = 32, 8, 5
x, y, x_test, y_test = dg.dataset.fashion_mnist_sample().tensors()
dense = nx.complete_graph(NODES)
graphs = {"dense": dense} | {
    f"k={k}, p={p:g}": nx.connected_watts_strogatz_graph(NODES, k, p, tries=1000, seed=1)
    for k, p in [(2, 1.0), (4, 0.0), (4, 1.0), (8, 0.0), (8, 1.0), (16, 0.0)]
}
rows = dg.features([dg.from_networkx(graph, seed=0) for graph in graphs.values()], seed=0, workers=0, progress=False)
cost = dg.priors.relational_flops(dense, 64, rounds=ROUNDS, size_input=784, size_output=10)
errors = np.zeros((len(graphs), SEEDS))
for row, graph in enumerate(graphs.values()):
    width = dg.priors.matching_width(graph, cost, ROUNDS, 784, 10)
    structure = dg.priors.relational(graph, width, rounds=ROUNDS)
    for seed in range(SEEDS):
        torch.manual_seed(seed)
        model = dg.MaskedDeepDAN((28, 28), 10, structure, seed=seed)
        optimizer = torch.optim.Adam(model.parameters(), 2e-3)
        for _step in range(150):
            batch = torch.randint(len(x), (100,))
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
            optimizer.step()
        errors[row, seed] = 100 * (model(x_test).argmax(dim=1) != y_test).float().mean().item()

level = 1 - 0.05 / (len(graphs) - 1)  # as many comparisons with the dense network are made
beats = [dg.analysis.paired_difference(errors[0], row, level).sign > 0 for row in errors]  # paired by seed
half = t.ppf(0.975, SEEDS - 1) * errors.std(axis=1, ddof=1) / SEEDS**0.5
figure, axes = plt.subplots(1, 2, figsize=(11, 4.4), layout="constrained", sharey=True)
for ax, name in zip(axes, ("clustering", "path_length_mean"), strict=True):
    place = [row[name] for row in rows]
    ax.margins(x=0.12)
    ax.errorbar(place, errors.mean(axis=1), half, fmt="none", ecolor="#BBBBBB", capsize=3)
    for color, wins, said in (("#0072B2", False, "no difference to dense"), ("#D55E00", True, "better than dense")):
        kept = [at for at, better in enumerate(beats) if better == wins]
        ax.plot(np.take(place, kept), errors.mean(axis=1)[kept], "o", color=color, label=said)
    for at, label in enumerate(graphs):
        below = label in ("k=16, p=0", "k=4, p=0", "k=4, p=1")
        ax.annotate(
            label, (place[at], errors[at].mean()), (6, -12 if below else 5), textcoords="offset points", fontsize=8,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
        )  # fmt: skip
    rank = kendalltau(place, errors.mean(axis=1))
    what = "mean " + name.replace("_", " ").removesuffix(" mean")
    dg.plotting.dress(
        ax, f"{what}: Kendall's tau {rank.statistic:.2f}, p = {rank.pvalue:.2f}, {len(graphs)} graphs", what
    )
axes[0].set_ylabel(f"test error in %, mean and 95 % interval of {SEEDS} seeds", fontsize=9)
axes[1].legend(frameon=False, fontsize=8, loc="upper right", title="paired, 95 % over all", title_fontsize=8)
plt.show()
