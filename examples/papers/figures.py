"""Draws the results of R1 and R4 into `results/r1.png` and `results/r4.png`: `python examples/papers/figures.py`."""

from __future__ import annotations

import json
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import r4_lenet_snfs_set
from experiment import RESULTS
from matplotlib.axes import Axes

from deepgraph.plotting.style import FONT, INK, PALE, SERIES

METHODS = (("rigl later", "RigL"), ("set", "SET"), ("static", "static"), ("rigl", "RigL from step 0"))
PRINTED: dict[str, Any] = {"dpi": 120, "metadata": {"Software": None}}


def runs(name: str) -> dict[str, list[dict[str, Any]]]:
    """Return the runs of each case of an experiment."""
    cases = json.loads((RESULTS / f"{name}.json").read_text())["cases"]
    return {case: list(entry["runs"].values()) for case, entry in cases.items() if entry["runs"]}


def plain(axes: Axes, title: str) -> None:
    """Give axes the house style: a title on the left, no box, small ticks."""
    axes.set_title(title, loc="left", fontsize=FONT["title"], color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=FONT["tick"], which="both")
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set_fontsize(FONT["label"])


def rigl_curves() -> None:
    """Draw the error of RigL, SET and static over the epochs, one thin line per seed, thick their mean."""
    figure, axes = plt.subplots(figsize=(6.4, 3.4), layout="constrained")
    ends = {}
    for color, (method, label) in zip(SERIES, METHODS, strict=False):
        errors = np.array([[100 - accuracy for accuracy in run["curve"]] for run in runs("r1")[method]])
        epochs = 5 * np.arange(1, errors.shape[1] + 1)
        axes.plot(epochs, errors.T, color=color, lw=0.5, alpha=0.4)
        axes.plot(epochs, errors.mean(0), color=color, lw=1.6)
        ends[label] = (errors[:, -1].mean(), color)
    place = 0.0
    for label, (end, color) in sorted(ends.items(), key=lambda item: item[1][0]):
        place = max(end, place + 0.16)
        axes.text(202, place, f"{label} {end:.2f} %", va="center", color=color, fontsize=FONT["label"])
    axes.axhline(1.48, color=PALE, lw=0.8, ls="--")
    axes.text(3, 1.44, "RigL in the paper, 1.48 %", fontsize=FONT["small"], color=PALE, va="top")
    for epoch in (75, 95):
        axes.axvline(epoch, color=PALE, lw=0.6, ls=":")
    axes.text(97, 4.4, "learning rate / 3", fontsize=FONT["small"], color=PALE, va="top")
    axes.set(xlim=(0, 200), ylim=(1.2, 4.5), xlabel="epoch", ylabel="test error (%)")
    plain(axes, "LeNet 300-100 on MNIST with 2.5 % of its weights")
    figure.savefig(RESULTS / "r1.png", **PRINTED)


def error_against_density() -> None:
    """Draw the error of SNFS and SET against the density, with the published points."""
    figure, axes = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
    found, densities = runs("r4"), r4_lenet_snfs_set.DENSITIES
    for color, method, label in zip(SERIES, ("snfs", "set"), ("SNFS", "SET"), strict=False):
        cases = {"set 1 %": "set outputs 1 %"}
        names = [cases.get(f"{method} {name}", f"{method} {name}") for name in densities]
        errors = [[100 - run["accuracy"] for run in found.get(name, [])] for name in names]
        x = list(densities.values())
        axes.plot(x, [np.mean(each) for each in errors], "o-", color=color, ms=4, lw=1.4, label=f"{label}, measured")
        for density, each in zip(x, errors, strict=True):
            axes.plot([density] * len(each), each, ".", color=color, ms=3, alpha=0.6)
        accuracy, spread = zip(*r4_lenet_snfs_set.PUBLISHED[method].values(), strict=True)
        shift = 1.06 if method == "set" else 0.94
        axes.errorbar([shift * d for d in x], [100 - a for a in accuracy], spread, fmt="s", mfc="white", ms=4, lw=0.8,
                      color=color, label=f"{label}, published, with tolerance")  # fmt: skip
    uniform = np.mean([100 - run["accuracy"] for run in found.get("set 1 %", [])] or [np.nan])
    axes.plot(0.01, uniform, "x", color=SERIES[1], ms=5)
    axes.text(
        0.0106, uniform, "SET, uniform: 10 edges into the outputs", fontsize=FONT["small"], color=INK, va="center"
    )
    dense = np.mean([100 - run["accuracy"] for run in found.get("dense", [])] or [np.nan])
    axes.axhline(dense, color=INK, lw=0.8, ls="--")
    axes.text(0.0088, dense * 0.97, f"dense {dense:.2f} %", fontsize=FONT["small"], color=INK, va="top")
    axes.set(xscale="log", yscale="log", xlabel="weights kept", ylabel="test error (%)")
    axes.set_xticks(list(densities.values()), list(densities), minor=False)
    ticks = [1, 1.5, 2, 3, 5, 10, 20, 30]
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.legend(frameon=False, fontsize=FONT["tick"])
    plain(axes, "LeNet 300-100 on MNIST: what is lost when few weights are kept")
    figure.savefig(RESULTS / "r4.png", **PRINTED)


if __name__ == "__main__":
    rigl_curves()
    error_against_density()
