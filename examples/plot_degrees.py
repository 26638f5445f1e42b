"""
Hubs of a scale-free network
============================

The degrees of a Barabasi-Albert graph follow a power law near k^-3; those of a small world of the same size do not.
"""

import matplotlib.pyplot as plt

import deepgraph as dg

figure, axes = plt.subplots(1, 2, figsize=(11, 4.4), layout="constrained")
scale_free = dg.priors.barabasi_albert(3000, 4, seed=0)
fit = dg.analysis.power_law(scale_free, "out")
dg.plotting.degree_distribution(scale_free, axes[0], fit={"fan_out": fit})
axes[0].set_title("Barabasi-Albert", loc="left", fontsize=10)
dg.plotting.degree_distribution(dg.priors.watts_strogatz(3000, 8, 0.3, seed=0), axes[1])
axes[1].set_title("Watts-Strogatz", loc="left", fontsize=10)
plt.show()
