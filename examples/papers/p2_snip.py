"""P2: SNIP of LeNet 300-100 on MNIST, 5 % and 2 % of the weights kept (Lee et al. 2019, table 1), and 10 % (figure 3).

Weights start by variance scaling, truncated N(0, 1 / n_in), and one batch of 100 gives the sensitivities; then batch
100, 100 epochs on the first 54,000 training images, normalised, SGD with momentum 0.9, weight decay 5e-4 on biases too,
learning rate 0.1 times 0.1 every 25,000 steps. What is kept starts from the weights that it was scored by (algorithm 1
of the paper). The error is the least of the last five tests, each two epochs apart: the authors' program keeps its last
five checkpoints, 1,000 steps apart, and reports the best of them. The paper does not say how long it trains.

Cases of their own change one thing each: weights by Glorot (section 4.2 of the paper) or by He, scores of 1,000 images,
and the released program to the letter: weights drawn anew after the pruning, another 54,000 images for each seed, and
no biases, since it ranks them with the weights while they are 0, so that none is kept. The short form trains 3 epochs.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from experiment import Experiment, Run, Target, main
from loop import Data, digest, evaluate, num_edges, read_images, seeded, sgd, steps_down, train

import deepgraph as dg
from deepgraph.sparse.values import edge_values


def draw_weights(model: torch.nn.Module, seed: int, init: str) -> None:
    """Draw all weights from N(0, g / n), cut off at two deviations and widened to keep the variance.

    `init` names g / n: "fan in" 1 / n_in, "he" 2 / n_in, "glorot" 2 / (n_in + n_out).
    """
    draw = seeded(seed)
    for values in edge_values(model):
        edges = values.edge_set
        variance = 2 / (edges.num_sources + edges.num_targets) if init == "glorot" else GAIN[init] / edges.num_sources
        deviation = math.sqrt(variance) / 0.87962566
        drawn = torch.empty(edges.num_edges)
        values.set_values(
            torch.nn.init.trunc_normal_(drawn, std=deviation, a=-2 * deviation, b=2 * deviation, generator=draw)
        )


GAIN = {"fan in": 1.0, "he": 2.0}


def run(settings: dict[str, Any], seed: int, data: Data) -> Run:
    """Prune at the start and train what is left."""
    epochs, init, released = settings["epochs"], settings["init"], settings["released"]
    data = (data.shuffled(seed + 2000) if released else data).first(54_000)
    dense = dg.MaskedDeepFFN(784, 10, [300, 100], bias=not released, storage="csr", seed=seed)
    draw_weights(dense, seed, init)
    rows = torch.randperm(len(data.y), generator=seeded(seed))[: settings["scored"]]
    density = settings["density"] * (266_610 / 266_200 if released else 1)
    model: Any = dg.prune(dense, density=density, criterion="snip", data=(data.x[rows], data.y[rows]))
    model.compact()
    if released:
        draw_weights(model, seed + 1000, init)
    optimizer = sgd(model, decay=5e-4, nesterov=False)
    curve = train(
        model, dg.train_step(model, "cross_entropy", optimizer), optimizer, data, epochs=epochs, batch=100, seed=seed,
        rate=steps_down(0.1, 0.1, *(k * 25_000 * epochs / 100 for k in (1, 2))), tested=2,
        label=f"p2 {settings['density']:.0%}",
    )  # fmt: skip
    return {
        "accuracy": curve[-1], "error": 100 - curve[-1], "least": 100 - max(curve[-5:]), "curve": curve,
        "train_error": 100 - evaluate(model, data.x, data.y), "edges": num_edges(model), "digest": digest(model),
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


DENSITIES = {"10 %": 0.1, "5 %": 0.05, "2 %": 0.02}
BASE = {"init": "fan in", "scored": 100, "released": False}
VARIANTS: dict[str, dict[str, Any]] = {
    "Glorot": {"init": "glorot"}, "He": {"init": "he"}, "scores of 1,000": {"scored": 1000},
    "as released": {"released": True},
}  # fmt: skip


def cases(epochs: int) -> dict[str, dict[str, Any]]:
    """Return the settings of each density."""
    return {name: {"density": density, "epochs": epochs, **BASE} for name, density in DENSITIES.items()}


WHY = (
    "for a reason that was not found: at 10 % kept the error is that of the paper's figure 3, and the gap opens where "
    "few weights are left. The paper gives neither the number of steps nor whether table 1 is a mean of seeds. The "
    "released program to the letter is further off, here and written once more with dense masks, apart from this "
    "library (seed 0: 3.1); Glorot's and He's variances are further off too, and scores of 1,000 images hardly nearer. "
    "One seed each at 2 %: weight decay 2e-4 3.0, 1e-3 3.2, none 3.9; no momentum 3.7, learning rate 0.03 3.2; Adam "
    "3.5; tanh 3.3; images in [0, 1] for the scores 3.0"
)

EXPERIMENT = Experiment(
    name="p2",
    title="SNIP of LeNet 300-100 on MNIST",
    source="Lee et al. 2019, arXiv 1810.02340, table 1 and figure 3",
    cases=cases(100) | {f"2 %, {name}": cases(100)["2 %"] | change for name, change in VARIANTS.items()},
    short={name: settings for name, settings in cases(3).items() if name != "10 %"},
    run=run,
    data=partial(read_images, name="mnist", normalised=True),
    needs="mnist",
    seeds=5,
    targets=[
        *(
            Target(
                f"{name} kept, least error of the last five tests (%)", name, "least", published, 0.4, why=WHY,
                headline="" if name == "10 %" else f"SNIP, LeNet 300-100 on MNIST, {name} of the weights, error (%)",
            )
            for name, published in (("10 %", 1.64), ("5 %", 1.6), ("2 %", 2.4))
        ),
        *(Target(f"{name} kept, error at the end (%)", name, "error") for name in DENSITIES),
        *(Target(f"{name} kept, error on the training images (%)", name, "train_error") for name in DENSITIES),
        *(
            Target(f"2 % kept, {name}, least error of the last five tests (%)", f"2 %, {name}", "least")
            for name in VARIANTS
        ),
    ],
    checks=checks,
)  # fmt: skip

if __name__ == "__main__":
    main(EXPERIMENT)
