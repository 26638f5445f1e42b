"""
Hubs of a scale-free network
============================

The fan-out of a Barabasi-Albert graph follows a power law near k^-3, and a lognormal describes it no better; degrees of
a small world of the same size have a typical value.
"""

import matplotlib.pyplot as plt

import deepgraph as dg

figure, axes = plt.subplots(1, 2, figsize=(11, 4.4), layout="constrained")
scale_free = dg.priors.barabasi_albert(3000, 4, seed=0)
fit = dg.analysis.power_law(scale_free, "out", bootstrap=100, seed=0)
test = dg.analysis.power_law_against(scale_free, "lognormal", "out")
dg.plotting.degree_distribution(scale_free, axes[0], fit={"fan_out": fit})
said = f"goodness of fit p = {fit.p:.2f}; against a lognormal p = {test.p:.2f}"
axes[0].set_title(f"Barabasi-Albert: {said}", loc="left", fontsize=10)
dg.plotting.degree_distribution(dg.priors.watts_strogatz(3000, 8, 0.3, seed=0), axes[1])
axes[1].set_title("Watts-Strogatz", loc="left", fontsize=10)
plt.show()
