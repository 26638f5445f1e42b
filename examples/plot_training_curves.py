"""
Rewiring against a fixed graph
==============================

At 1 % of the weights RigL and SET beat the fixed graph that they start from, and neither beats the other: the bands are
95 % intervals over 5 seeds.
"""

import matplotlib.pyplot as plt
import torch

import deepgraph as dg

x, y, x_test, y_test = dg.dataset.fashion_mnist_sample().tensors()
makers = {
    "RigL": lambda model, adam, seed: dg.RigL(model, adam, every=20, until=450, decay="cosine", seed=seed),
    "SET": lambda model, adam, seed: dg.SET(model, adam, every=20, until=450, decay="cosine", seed=seed),
    "fixed graph": lambda model, adam, seed: dg.Static(model, adam),
}
histories = {name: [] for name in makers}
for name, make in makers.items():
    for seed in range(5):
        torch.manual_seed(seed)
        model = dg.MaskedDeepFFN((28, 28), 10, [100, 50], density=0.01, distribution="erk", seed=seed)
        optimizer = make(model, torch.optim.Adam(model.parameters(), 3e-3), seed)
        recorder = dg.analysis.Recorder(model, optimizer, every=1000, measures=[])
        for step in range(601):
            if step % 50 == 0:
                with torch.no_grad():
                    recorder.note(accuracy=(model(x_test).argmax(dim=1) == y_test).float().mean())
            rows = torch.randint(len(x), (100,))
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
        histories[name].append(recorder.curve("accuracy"))
ax = dg.plotting.training_curves(histories)
ax.set_ylabel("test accuracy")
plt.show()
