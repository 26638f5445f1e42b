"""P2: SNIP of LeNet 300-100 on MNIST, 5 % and 2 % of the weights kept (Lee et al. 2019, figure 1 and table 1).

Weights start by variance scaling, truncated N(0, 1 / n_in), and one batch of 100 gives the sensitivities; then batch
100, 100 epochs on the first 54,000 training images, normalised, SGD with momentum 0.9, weight decay 5e-4, learning rate
0.1 times 0.1 every 25,000 steps. What is kept starts from the weights that it was scored by, as in the paper's
algorithm 1; the authors' program draws those anew (cases of their own here). It also ranks biases among the weights,
which changed nothing; here biases are not pruned. The short form trains 3 epochs.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from experiment import Experiment, Run, Target, main
from loop import Data, digest, num_edges, read_images, seeded, sgd, steps_down, train

import deepgraph as dg
from deepgraph.sparse.values import edge_values


def draw_weights(model: torch.nn.Module, seed: int) -> None:
    """Draw all weights from N(0, 1 / n_in), cut off at two deviations and widened to keep the variance."""
    draw = seeded(seed)
    for values in edge_values(model):
        deviation = 1 / (0.87962566 * math.sqrt(values.edge_set.num_sources))
        drawn = torch.empty(values.edge_set.num_edges)
        values.set_values(
            torch.nn.init.trunc_normal_(drawn, std=deviation, a=-2 * deviation, b=2 * deviation, generator=draw)
        )


def run(settings: dict[str, Any], seed: int, data: Data) -> Run:
    """Prune at the start and train what is left."""
    data, epochs = data.first(54_000), settings["epochs"]
    dense = dg.MaskedDeepFFN(784, 10, [300, 100], storage="csr", seed=seed)
    draw_weights(dense, seed)
    rows = torch.randperm(len(data.y), generator=seeded(seed))[:100]
    model: Any = dg.prune(dense, density=settings["density"], criterion="snip", data=(data.x[rows], data.y[rows]))
    model.compact()
    if settings["redrawn"]:
        draw_weights(model, seed + 1000)
    optimizer = sgd(model, decay=5e-4, nesterov=False)
    curve = train(
        model, dg.train_step(model, "cross_entropy", optimizer), optimizer, data, epochs=epochs, batch=100, seed=seed,
        rate=steps_down(0.1, 0.1, *(k * 25_000 * epochs / 100 for k in (1, 2))), tested=5,
        label=f"p2 {settings['density']:.0%}",
    )  # fmt: skip
    return {
        "accuracy": curve[-1], "error": 100 - curve[-1], "curve": curve, "edges": num_edges(model),
        "digest": digest(model),
    }  # fmt: skip


def checks(runs, real: bool) -> list[tuple[str, bool]]:
    """Return what the short form shows."""
    five, two = runs["5 %"]["0"], runs["2 %"]["0"]
    shown = [
        (f"edges {five['edges']} and {two['edges']}: 5 % and 2 % of 266,200",
         (sum(five["edges"]), sum(two["edges"])) == (13310, 5324)),
        ("the last layer keeps the largest share", five["edges"][2] / 1000 > five["edges"][0] / 235200),
    ]  # fmt: skip
    if real:
        shown.append((f"error {five['error']:.2f} % at 5 % kept (at most 3.5)", five["error"] <= 3.5))
    return shown


DENSITIES = {"5 %": 0.05, "2 %": 0.02}


def cases(epochs: int, redrawn: bool) -> dict[str, dict[str, Any]]:
    """Return the settings of the cases."""
    anew = ", drawn anew" if redrawn else ""
    return {
        name + anew: {"density": density, "epochs": epochs, "redrawn": redrawn} for name, density in DENSITIES.items()
    }


WHY = (
    "for a reason not found. One seed each at 2 %: biases ranked among the weights, 3.2, images in [0, 1], 3.0 (both "
    "drawn anew); no weight decay, 3.9; no momentum, 3.7. The authors' program reports the least error over its last "
    "five checkpoints; over the last five tests it is 0.04 less here at 2 %"
)

EXPERIMENT = Experiment(
    name="p2",
    title="SNIP of LeNet 300-100 on MNIST",
    source="Lee et al. 2019, arXiv 1810.02340, figure 1",
    cases=cases(100, False) | cases(100, True),
    short=cases(3, False),
    run=run,
    data=partial(read_images, name="mnist", normalised=True),
    needs="mnist",
    seeds=5,
    targets=[
        Target(
            "5 % kept, error (%)",
            "5 %",
            "error",
            1.6,
            0.4,
            why=WHY,
            headline="SNIP, LeNet 300-100 on MNIST, 5 % of the weights, error (%)",
        ),
        Target(
            "2 % kept, error (%)",
            "2 %",
            "error",
            2.4,
            0.4,
            why=WHY,
            headline="SNIP, LeNet 300-100 on MNIST, 2 % of the weights, error (%)",
        ),
        Target("5 % kept and drawn anew, error (%)", "5 %, drawn anew", "error"),
        Target("2 % kept and drawn anew, error (%)", "2 %, drawn anew", "error"),
    ],
    checks=checks,
)

if __name__ == "__main__":
    main(EXPERIMENT)
