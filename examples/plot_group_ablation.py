"""
Which edges share a budget?
===========================

On an acyclic graph an edge may be grown between any two stages. Whether gradients compete over the whole graph, within
the pairs of stages that carry edges already, or for each neuron by itself changes how many edges skip a stage.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch

import deepgraph as dg
from deepgraph.rewire import ScoredGrowth


class WithinLayerPairs(dg.RigL):
    """RigL whose candidates are the pairs of stages that carry edges."""

    growth = ScoredGrowth()

    def grow_scores(self, values, u, v):
        stage, (src, dst) = values.edge_set.stage, values.edge_set.pairs()
        carries = np.zeros((stage.max() + 1, stage.max() + 1), bool)
        carries[stage[src], stage[dst]] = True
        size = super().grow_scores(values, u, v).double().numpy()
        return np.where(carries[stage[u], stage[v]], size, -1.0)


POLICIES = {
    'group="graph"': (dg.RigL, {"group": "graph"}),
    'group="set"': (dg.RigL, {"group": "set"}),
    "layer pairs": (WithinLayerPairs, {"group": "set"}),
    'group="target"': (dg.RigL, {"group": "target"}),
    "fixed edges": (dg.Static, {}),
}
x, y, x_test, y_test = dg.dataset.fashion_mnist_sample().tensors()
structure = dg.priors.random_layered([30, 30, 30, 20], 0.15, seed=0)
results, skips = {}, {}
for name, (kind, options) in POLICIES.items():
    accuracies, logs = [], []
    for seed in range(5):
        torch.manual_seed(seed)
        model = dg.MaskedDeepDAN((28, 28), 10, structure, seed=seed)
        adam = torch.optim.Adam(model.parameters(), 3e-3)
        optimizer = kind(model, adam, every=20, until=187, seed=seed, **options)
        for _step in range(250):
            rows = torch.randint(len(x), (100,))
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
        with torch.no_grad():
            accuracies.append(100 * float((model(x_test).argmax(1) == y_test).double().mean()))
        logs.append(optimizer.log[-1]["skip"] if optimizer.log else {1: structure.number_of_edges()})
    results[name] = accuracies
    skips[name] = [np.mean([log.get(length, 0) for log in logs]) for length in (1, 2, 3)]
table = dg.table(results, "test accuracy, %", baseline="fixed edges")
print(table)
print(f"{'edges that span':24s}" + "".join(f"{length} stage{'s' * (length > 1):2s}" for length in (1, 2, 3)))
for name, counts in skips.items():
    print(f"{name:24s}" + "".join(f"{count:9.0f}" for count in counts))

figure, axis = plt.subplots(figsize=(8, 4), layout="constrained")
left = np.zeros(len(POLICIES))
for length, color in zip((1, 2, 3), ("#D0D0D0", "#56B4E9", "#0072B2"), strict=True):
    counts = np.array([skips[name][length - 1] for name in POLICIES])
    axis.barh(list(POLICIES), counts, left=left, color=color, label=f"span {length} stage{'s' * (length > 1)}")
    left += counts
for place, row in enumerate(table.rows):
    axis.text(left[place] + 8, place, f"{row['mean']:.1f} $\\pm$ {row['sd']:.1f} %", va="center", fontsize=9)
axis.set(xlabel="edges after training, mean of 5 seeds", xlim=(0, 1.25 * left.max()))
axis.set_title("test accuracy beside each bar", loc="left", fontsize=10)
axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=3, fontsize=8, frameon=False)
axis.invert_yaxis()
plt.show()
