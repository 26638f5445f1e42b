"""P1: class-blinded against class-uniform magnitude pruning of LeNet 300-100 on MNIST, 80 % pruned and retrained.

See, Luong and Manning 2016 name them: class-blinded ranks all weights together, class-uniform takes the same share from
each layer. 10 epochs dense, then the same network pruned either way in one shot and retrained for 5 epochs; batch 100,
SGD with Nesterov momentum 0.9, learning rate 0.1 falling along half a cosine (0.02 in retraining), inputs in [0, 1].
The short form trains 2 epochs and retrains 1.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any, Literal

from experiment import Experiment, Run, Target, main
from loop import Data, digest, evaluate, num_edges, read_images, sgd, train

import deepgraph as dg

SCOPES: dict[str, Literal["global", "layer"]] = {"class-blinded": "global", "class-uniform": "layer"}


def trained(model: dg.MaskedDeepFFN, data: Data, epochs: int, lr: float, seed: int, label: str) -> float:
    """Train along half a cosine and return the accuracy at the end."""
    optimizer, total = sgd(model), epochs * math.ceil(len(data.y) / 100)
    step = dg.train_step(model, "cross_entropy", optimizer)
    rate = lambda step: lr / 2 * (1 + math.cos(math.pi * step / total))  # noqa: E731
    return train(
        model, step, optimizer, data, epochs=epochs, batch=100, seed=seed, rate=rate, tested=epochs, label=label
    )[-1]


def run(settings: dict[str, Any], seed: int, data: Data) -> Run:
    """Train once, prune both ways, retrain both."""
    dense = dg.MaskedDeepFFN(784, 10, [300, 100], seed=seed)
    found: Run = {"dense": trained(dense, data, settings["epochs"], 0.1, seed, "p1 dense")}
    for name, scope in SCOPES.items():
        # The same weights in a network that computes with its edges only.
        model = dg.MaskedDeepFFN(784, 10, [300, 100], storage="csr", seed=seed)
        model.load_state_dict(dense.state_dict())
        dg.prune(model, density=1 - settings["pruned"], scope=scope)
        model.compact()
        found[f"{name}, pruned"] = evaluate(model, data.x_test, data.y_test)
        found[name] = trained(model, data, settings["retrained"], 0.02, seed + 1000, f"p1 {name}")
        found[f"{name}, edges"] = num_edges(model)
        found[f"{name}, digest"] = digest(model)
    return found | {
        "accuracy": found["class-blinded"],
        "difference": found["class-blinded"] - found["class-uniform"],
        "difference, pruned": found["class-blinded, pruned"] - found["class-uniform, pruned"],
        "digest": found["class-blinded, digest"],
    }


def checks(runs, real: bool) -> list[tuple[str, bool]]:
    """Return what the short form shows."""
    found = runs["80 %"]["0"]
    blind, uniform = (found[f"{name}, edges"] for name in SCOPES)
    shown = [
        (f"class-blinded keeps {blind}, class-uniform {uniform}: 20 % both", sum(blind) == sum(uniform) == 53240),
        ("class-blinded keeps a larger share of the last layer", blind[2] > uniform[2]),
    ]
    if real:
        shown.append((f"class-blinded {found['accuracy']:.2f} % (at least 97)", found["accuracy"] >= 97))
    return shown


SETTINGS = {"epochs": 10, "retrained": 5, "pruned": 0.8}

EXPERIMENT = Experiment(
    name="p1",
    title="class-blinded against class-uniform magnitude pruning of LeNet 300-100 on MNIST",
    source="See et al. 2016, arXiv 1606.09274",
    cases={"80 %": SETTINGS},
    short={"80 %": {"epochs": 2, "retrained": 1, "pruned": 0.8}},
    run=run,
    data=partial(read_images, name="mnist"),
    needs="mnist",
    seeds=5,
    targets=[
        Target(
            "80 % pruned class-blinded and retrained (%)",
            "80 %",
            "class-blinded",
            97.5,
            kind="at least",
            headline="magnitude pruning of LeNet 300-100, 80 % pruned, accuracy (%)",
        ),
        Target("80 % pruned class-uniform and retrained (%)", "80 %", "class-uniform"),
        Target("blinded - uniform, 80 % pruned, retrained (points)", "80 %", "difference", kind="above"),
        Target("blinded - uniform, 80 % pruned, not retrained (points)", "80 %", "difference, pruned", kind="above"),
    ],
    checks=checks,
)

if __name__ == "__main__":
    main(EXPERIMENT)
