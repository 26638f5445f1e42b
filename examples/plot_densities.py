"""
Where the edges go
==================

One twentieth of the weights of a small convolutional network, shared out among its layers in four ways: only "uniform"
treats all alike, the others keep small layers dense.
"""

import matplotlib.pyplot as plt
import numpy as np

import deepgraph as dg

layers = {
    "conv 3x3\n3 to 32": (32, 3, 3, 3),
    "conv 3x3\n32 to 64": (64, 32, 3, 3),
    "conv 3x3\n64 to 128": (128, 64, 3, 3),
    "conv 3x3\n128 to 256": (256, 128, 3, 3),
    "linear\n1024 to 256": (256, 1024),
    "linear\n256 to 100": (100, 256),
    "linear\n100 to 10": (10, 100),
}
shapes = list(layers.values())
pairs = np.array([np.prod(shape) for shape in shapes])
styles = {"uniform": ("o", "#4d4d4d"), "er": ("s", "#009e73"), "erk": ("D", "#cc79a7"), "igq": ("^", "#0072b2")}
figure, (top, bottom) = plt.subplots(2, 1, figsize=(8.5, 5.6), sharex=True, layout="constrained")
places = np.arange(len(shapes))
for name, (marker, color) in styles.items():
    kept = dg.priors.edge_counts(shapes, 0.05, name)
    for ax, values in ((top, kept / pairs), (bottom, kept)):
        ax.plot(places, values, color=color, alpha=0.35)
        ax.plot(places, values, marker, color=color, ms=7, label=f"{name}: {kept.sum():,} weights")
bottom.plot(places, pairs, "_", color="black", ms=22, label=f"dense: {pairs.sum():,}")
top.set(yscale="log", ylabel="density", title="A global density of .05, four ways")
bottom.set(yscale="log", ylabel="weights kept", xticks=places, xticklabels=list(layers))
top.set_yticks([0.01, 0.05, 0.2, 1.0], labels=[".01", ".05", ".2", "1"])
bottom.legend(frameon=False, fontsize=8.5, loc="upper left", bbox_to_anchor=(1, 1))
for ax in (top, bottom):
    ax.spines[["top", "right"]].set_visible(False)
plt.show()
