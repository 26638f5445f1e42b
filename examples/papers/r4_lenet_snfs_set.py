"""R4: sparse momentum (SNFS), SET and dense training of LeNet 300-100 on MNIST (Dettmers, Zettlemoyer 2019, figure 3).

1, 2, 5 and 10 % of the weights, uniform over the three layers; batch 100, 100 epochs on the first 54,000 training
images, normalised; SGD with learning rate 0.1 times 0.1 every 25,000 steps, Nesterov momentum 0.9, weight decay 5e-4;
PyTorch's start of the weights, which does not know the mask, biases from 0; one edit an epoch, drop share 0.5 falling
along a cosine, smallest |w| first for both. SET moves no edges between layers, and uniform 1 % leaves it 10 edges into
ten outputs, some of which then hear nothing: 60 to 93 %, also with drop counts rounded up, with binomial counts of
edges and with batch normalisation. Every published result at 1 % has a denser last layer. The points of SET in the
figure look read off a plot of Mostafa and Wang 2019 (arXiv 1902.05967), whose program, when it prunes, leaves at least
100 edges into the outputs: so does the case at 1 % that is held against the published number, with biases that start as
PyTorch's do (96.8 % over two seeds with biases from 0). The short form trains 3 epochs.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from experiment import Experiment, Run, Target, main
from loop import Data, digest, num_edges, read_images, seeded, sgd, steps_down, train

import deepgraph as dg

DENSITIES = {"1 %": 0.01, "2 %": 0.02, "5 %": 0.05, "10 %": 0.1}


def with_outputs(density: float, edges: int) -> list[float]:
    """Return the density of each layer where so many edges of all are those into the outputs."""
    hidden = (round(density * 266_200) - edges) / 265_200
    return [hidden, hidden, edges / 1000]


def draw_biases(model: dg.MaskedDeepFFN, seed: int) -> None:
    """Draw biases as PyTorch does, from U(-a, a) with a^2 = 1 / n_in."""
    draw = seeded(seed)
    for layer, edges in zip(model.layers, model.edge_sets, strict=True):
        with torch.no_grad():
            bias: Any = layer.bias
            bias.uniform_(-1, 1, generator=draw).div_(math.sqrt(edges.num_sources))


def run(settings: dict[str, Any], seed: int, data: Data) -> Run:
    """Train one method at one density."""
    data, epochs, method = data.first(54_000), settings["epochs"], settings["method"]
    per_epoch = len(data.y) // 100
    density = settings["density"]
    if "outputs" in settings:
        density = with_outputs(density, settings["outputs"])
    model = dg.MaskedDeepFFN(
        784, 10, [300, 100], density=density, distribution=settings.get("distribution", "uniform"),
        init="torch", storage="auto", seed=seed,
    )  # fmt: skip
    if settings.get("biases") == "torch":
        draw_biases(model, seed)
    optimizer = sgd(model, decay=5e-4)
    schedule = {"every": per_epoch, "until": epochs * per_epoch, "drop_fraction": 0.5, "decay": "cosine", "seed": seed}
    if method == "snfs":
        optimizer = dg.SNFS(model, optimizer, window=settings["window"], **schedule)
    elif method == "set":
        optimizer = dg.SET(model, optimizer, by="magnitude", **schedule)
    begin = num_edges(model)
    curve = train(
        model, dg.train_step(model, "cross_entropy", optimizer), optimizer, data, epochs=epochs, batch=100, seed=seed,
        rate=steps_down(0.1, 0.1, *(k * 25_000 * epochs / 100 for k in (1, 2))),
        tested=5, label=f"r4 {method} {settings['density']:.0%}",
    )  # fmt: skip
    return {
        "accuracy": curve[-1], "curve": curve, "edges": num_edges(model), "edges_at_first": begin,
        "digest": digest(model),
    }  # fmt: skip


def case(method: str, density: float, epochs: int) -> dict[str, Any]:
    """Return the settings of a case."""
    window = {"window": 20} if method == "snfs" else {}
    return {"method": method, "density": density, "epochs": epochs} | window


def checks(runs, real: bool) -> list[tuple[str, bool]]:
    """Return what the short form shows."""
    snfs, set_ = runs["snfs 2 %"]["0"], runs["set 2 %"]["0"]
    found = [
        (f"SNFS moves edges between layers, {snfs['edges_at_first']} to {snfs['edges']}, and keeps their sum",
         snfs["edges"] != snfs["edges_at_first"] and sum(snfs["edges"]) == sum(snfs["edges_at_first"])),
        (f"SET keeps {set_['edges']} edges in each layer", set_["edges"] == set_["edges_at_first"]),
    ]  # fmt: skip
    if real:
        found.append((f"SNFS {snfs['accuracy']:.2f} % at 2 % (at least 88)", snfs["accuracy"] >= 88))
    return found


PUBLISHED = {
    "snfs": {"1 %": (97.5, 0.35), "2 %": (98.2, 0.35), "5 %": (98.5, 0.35), "10 %": (98.7, 0.35)},
    "set": {"1 %": (95.8, 1.0), "2 %": (97.7, 0.4), "5 %": (98.1, 0.4), "10 %": (98.4, 0.4)},
}

SHOWN = (("snfs", "1 %"), ("snfs", "5 %"), ("set", "5 %"))
"""What the README shows."""


def target(method: str, name: str) -> Target:
    """Return the row of a method at a density."""
    label = f"{method.upper()}, LeNet 300-100 on MNIST, {name} of the weights, accuracy (%)"
    return Target(
        f"{method.upper()}, {name} kept, accuracy (%)", f"{method} {name}", "accuracy", *PUBLISHED[method][name],
        headline=label if (method, name) in SHOWN else "",
    )  # fmt: skip


EXPERIMENT = Experiment(
    name="r4",
    title="SNFS, SET and dense LeNet 300-100 on MNIST",
    source="Dettmers and Zettlemoyer 2019, arXiv 1907.04840, figure 3",
    cases={
        **{f"{method} {name}": case(method, d, 100) for name, d in DENSITIES.items() for method in ("snfs", "set")},
        "set outputs 1 %": case("set", 0.01, 100) | {"biases": "torch", "outputs": 100},
        **{f"set er {name}": case("set", DENSITIES[name], 100) | {"distribution": "er"} for name in ("1 %", "2 %")},
        "dense": case("dense", 1.0, 100),
    },
    short={f"{method} 2 %": case(method, 0.02, 3) for method in ("snfs", "set")},
    run=run,
    data=partial(read_images, name="mnist", normalised=True),
    needs="mnist",
    seeds=5,
    targets=[
        Target("dense, accuracy (%)", "dense", "accuracy", 98.69, 0.35),
        *(target(method, name) for method in ("snfs", "set") for name in DENSITIES if (method, name) != ("set", "1 %")),
        Target("SET, 1 % kept, 100 edges into the outputs, accuracy (%)", "set outputs 1 %", "accuracy",
               *PUBLISHED["set"]["1 %"]),
        Target("SET, 1 % kept, 10 edges into the outputs, accuracy (%)", "set 1 %"),
        *(Target(f"SET with ER densities, {name} kept, accuracy (%)", f"set er {name}") for name in ("1 %", "2 %")),
    ],
    checks=checks,
)  # fmt: skip

if __name__ == "__main__":
    main(EXPERIMENT)
