"""R3: SET, static and dense training of 784-1000-1000-1000-10 on 2,000 images of Fashion-MNIST (Mocanu et al. 2018).

As in the authors' script: 2,000 training and 1,000 test images (here the first of the set), in [0, 1]; ReLU, sigmoid
outputs and squared error; 13 (n_in + n_out) pairs drawn per layer, repeats counted once; weights start at N(0, 0.1^2),
grown ones too; 400 epochs, batch 40, learning rate 0.05 (dense 0.04), momentum 0.9, dropout 0.2; after every epoch but
the last the share 0.3 of the positive and of the negative weights nearest to 0 is replaced at random. Three of their
ways are kept: the derivative of the sigmoid is taken at its output, so that the error of a saturated output does not
vanish; a unit that is dropped out still takes its gradient; and the weight decay of 2e-4 is subtracted at each step
whatever the learning rate, which with momentum 0.9 is 2e-5 / lr in PyTorch's form. The data come with the package. The
short form trains 10 epochs.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import torch
from experiment import Experiment, Run, Target, main
from loop import digest, read_images, seeded, sgd, train
from torch import nn

import deepgraph as dg
from deepgraph.sparse.values import edge_values

SIZES = [784, 1000, 1000, 1000, 10]
DECAY = 2e-4 * (1 - 0.9)
"""Weight decay times learning rate."""


class Dropout(nn.Module):
    """The authors' dropout, with random numbers of its own: a dropped unit still takes its gradient."""

    def __init__(self, share: float, seed: int) -> None:
        super().__init__()
        self.share, self.draw = share, torch.Generator().manual_seed(seed)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return x (B, N), in training with a share of it set to 0, otherwise as it is."""
        if not self.training:
            return x
        dropped = torch.empty_like(x).bernoulli_(self.share, generator=self.draw)
        return x - (x * dropped).detach()


class Scaled(nn.Module):
    """Makes up for dropout in the layer before: sums, biases included, are scaled down outside training."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return x (B, N) as it is in training, and times what dropout leaves otherwise."""
        return x if self.training else x * (1 - self.share)


def densities(method: str) -> list[float]:
    """Return the share of pairs that are drawn at least once in 13 (n_in + n_out) draws, for each layer."""
    pairs = [(n_in + n_out, n_in * n_out) for n_in, n_out in pairwise(SIZES)]
    return [1.0 if method == "dense" else 1 - (1 - 1 / product) ** (13 * total) for total, product in pairs]


def network(method: str, seed: int) -> nn.Sequential:
    """Return the network without the sigmoid of its outputs."""
    parts: list[nn.Module] = []
    for k, ((n_in, n_out), density) in enumerate(zip(pairwise(SIZES), densities(method), strict=True)):
        layer = dg.SparseLinear(n_in, n_out, density, seed=10 * seed + k)
        (values,) = edge_values(layer)
        values.set_values(torch.randn(values.edge_set.num_edges, generator=seeded(10 * seed + k)) / 10)
        parts += [layer, *([Scaled(0.2)] if k else []), nn.ReLU(), Dropout(0.2, 10 * seed + k)]
    return nn.Sequential(*parts[:-2])


def run(settings: dict[str, Any], seed: int, data: Any) -> Run:
    """Train one method."""
    method, epochs, per_epoch = settings["method"], settings["epochs"], len(data.y) // 40
    model = network(method, seed)
    optimizer = sgd(model, decay=DECAY / settings["lr"], nesterov=False)
    if method == "set":
        until = epochs * per_epoch
        optimizer = dg.SET(model, optimizer, every=per_epoch, until=until, drop_fraction=0.3, grown_std=0.1, seed=seed)
    one_hot = torch.eye(10)

    def step(x: torch.Tensor, y: torch.Tensor) -> None:
        optimizer.zero_grad()
        z = model(x)
        out = z.detach().sigmoid()
        z.backward((out - one_hot[y]) * out.sigmoid() * (1 - out.sigmoid()) / len(y))
        optimizer.step()

    curve = train(
        model, step, optimizer, data, epochs=epochs, batch=40, seed=seed, rate=lambda step: settings["lr"],
        label=f"r3 {method}",
    )  # fmt: skip
    edges = [layer.edge_sets[0].num_edges for layer in model if isinstance(layer, dg.SparseLinear)]
    return {
        "accuracy": curve[-1], "last_10": float(np.mean(curve[-10:])), "best": max(curve), "curve": curve,
        "edges": edges, "edits": len(getattr(optimizer, "log", ())), "digest": digest(model),
    }  # fmt: skip


def checks(runs, real: bool) -> list[tuple[str, bool]]:
    """Return what the short form shows."""
    set_, static = runs["set"]["0"], runs["static"]["0"]
    return [
        (f"{set_['edges']} edges, those of epsilon 13", set_["edges"] == [22852, 25665, 25665, 7310]),
        (f"{set_['edits']} edits in 10 epochs: every epoch but the last", set_["edits"] == 9),
        (f"SET {set_['accuracy']:.1f} %, static {static['accuracy']:.1f} % after 10 epochs (at least 60)",
         min(set_["accuracy"], static["accuracy"]) >= 60),
    ]  # fmt: skip


METHODS = ("set", "static", "dense")

EXPERIMENT = Experiment(
    name="r3",
    title="SET, static and dense 784-1000-1000-1000-10 on the first 2,000 images of Fashion-MNIST",
    source="Mocanu et al. 2018, arXiv 1707.04780, authors' script",
    cases={
        method: {"method": method, "epochs": 400, "lr": 0.04 if method == "dense" else 0.05, "dropout": "authors"}
        for method in METHODS
    },
    short={method: {"method": method, "epochs": 10, "lr": 0.05} for method in METHODS[:2]},
    run=run,
    data=lambda folder: read_images(folder, ""),
    needs="",
    seeds=3,
    targets=[
        Target(
            "SET, mean accuracy of the last 10 epochs (%)",
            "set",
            "last_10",
            82.5,
            1.5,
            headline="SET, 2,000 images of Fashion-MNIST, accuracy (%)",
        ),
        Target(
            "static, mean accuracy of the last 10 epochs (%)",
            "static",
            "last_10",
            80.4,
            1.5,
            headline="the same without SET",
        ),
        Target("dense, mean accuracy of the last 10 epochs (%)", "dense", "last_10", 81.9, 1.5),
        Target(
            "SET - static (points)",
            "set",
            "last_10",
            1.0,
            kind="at least",
            minus="static",
            why="not explained: both are within their own tolerances; the authors' 2,000 and 1,000 images are drawn at "
            "random from the set, here they are its first ones",
        ),
    ],
    checks=checks,
)

if __name__ == "__main__":
    main(EXPERIMENT)
