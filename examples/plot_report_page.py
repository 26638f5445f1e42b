"""
A trained network on one page
=============================

At 5 % of the weights in every layer RigL leaves half of the hidden neurons dead and gathers edges on few others: the
largest fan-in is twelve times the mean.
"""

import matplotlib.pyplot as plt
import torch

import deepgraph as dg

torch.manual_seed(0)
x, y, x_test, y_test = dg.dataset.fashion_mnist_sample().tensors()
model = dg.MaskedDeepFFN((28, 28), 10, [100, 50], density=0.05, seed=0)
optimizer = dg.RigL(model, torch.optim.Adam(model.parameters(), 2e-3), every=20, until=500, seed=0)
for _step in range(600):
    rows = torch.randint(len(x), (100,))
    optimizer.zero_grad()
    torch.nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
    optimizer.step()
accuracy = (model(x_test).argmax(dim=1) == y_test).float().mean().item()

names = ["edges", "density", "effective_density", "live_share", "mean_fan_in", "sd_fan_in", "gini_fan_in", "max_core"]
report = dg.analyse(model, seed=0, measures=names, progress=False)
found = {name.replace("_", " "): report[name].value for name in names}
values = {name: int(value) if value.is_integer() else value for name, value in found.items()}
values["test accuracy"] = f"{100 * accuracy:.1f} %"
dg.plotting.report_figure(model.graph, values, title="784-100-50-10 at density .05 after 600 steps of RigL")
plt.show()
