"""
Soft deep rewiring of a plain network
=====================================

A network of PyTorch, converted with DeepRewire's names, keeps learning while soft-DEEPR switches off most connections;
converted back it has its own keys again and computes the same. After Bellec, Kappel, Maass & Legenstein, "Deep
rewiring: training very sparse deep networks", ICLR 2018.
"""

import matplotlib.pyplot as plt
import torch
from torch import nn

from deepgraph.compat.deeprewire import (
    SoftDEEPR,
    convert_from_deep_rewireable,
    convert_to_deep_rewireable,
    measure_sparsity,
)
from deepgraph.dataset import fashion_mnist_sample

STEPS, EVERY = 1200, 20
x, y, x_test, y_test = fashion_mnist_sample().tensors()
x, x_test = x.flatten(1), x_test.flatten(1)
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(784, 200), nn.ReLU(), nn.Linear(200, 100), nn.ReLU(), nn.Linear(100, 10))
keys = list(model.state_dict())
rewireable, _ = convert_to_deep_rewireable(model, seed=0)
optimizer = SoftDEEPR(rewireable, lr=0.05, l1=1e-3, temp=2e-9, seed=0)
curves = {"training loss": [], "test accuracy, %": [], "connections off, %": []}
loss_sum = 0.0
for step in range(1, STEPS + 1):
    rows = torch.randint(len(x), (50,))
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(x[rows]), y[rows])
    loss.backward()
    optimizer.step()
    loss_sum += loss.item()
    if step % EVERY == 0:
        with torch.no_grad():
            right = (model(x_test).argmax(1) == y_test).float().mean().item()
        for curve, value in zip(
            curves.values(), (loss_sum / EVERY, 100 * right, 100 * measure_sparsity(model)), strict=True
        ):
            curve.append(value)
        loss_sum = 0.0

with torch.no_grad():
    before = model(x_test)
    convert_from_deep_rewireable(model)
    same = torch.equal(before, model(x_test)) and list(model.state_dict()) == keys
figure, axes = plt.subplots(3, 1, figsize=(7, 6.5), sharex=True, layout="constrained")
steps = range(EVERY, STEPS + 1, EVERY)
for ax, (name, values), color in zip(axes, curves.items(), ("#D55E00", "#0072B2", "#009E73"), strict=True):
    ax.plot(steps, values, color=color)
    ax.set_ylabel(name)
    ax.annotate(f"{values[-1]:.3g}", (STEPS, values[-1]), (4, 0), textcoords="offset points", va="center", color=color)
    ax.spines[["top", "right"]].set_visible(False)
axes[-1].set_xlabel("step")
axes[0].set_title(f"converted back: same outputs to the bit and the original keys: {same}", fontsize=10)
plt.show()
