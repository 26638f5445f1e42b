"""
RigL finds the pixels that matter
=================================

Connections start spread evenly over the pixels; training moves them to the pixels that differ most between images.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch

import deepgraph as dg

torch.manual_seed(0)
x, y, _, _ = dg.dataset.fashion_mnist_sample().tensors()
spread = x.std(dim=0).flatten().numpy()
model = dg.MaskedDeepFFN((28, 28), 10, [100, 50], density=0.05, seed=0)
optimizer = dg.RigL(model, torch.optim.Adam(model.parameters(), lr=2e-3), drop_fraction=0.3, every=20, until=300)
figure, axes = plt.subplots(2, 2, figsize=(10, 8), layout="constrained")


def show_inputs(ax, when):
    """Draw the connections per pixel and say how they go with the spread of the pixel's values."""
    correlation = np.corrcoef(dg.plotting.input_connections(model.graph), spread)[0, 1]
    dg.plotting.input_heatmap(model.graph, ax=ax).images[0].set_clim(0, 14)
    ax.set_title(f"{when}: correlation with pixel spread {correlation:.2f}", loc="left", fontsize=10)


show_inputs(axes[0, 0], "before")
for _step in range(400):
    batch = torch.randint(len(x), (100,))
    optimizer.zero_grad()
    torch.nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
    optimizer.step()
show_inputs(axes[0, 1], "after 400 steps")
dg.plotting.edit_history(model.graph, axes[1, 0])
dg.plotting.edge_lifetimes(model.graph, axes[1, 1])
plt.show()
