"""F1: RigL against static training of 784-1000-1000-1000-10 on all of Fashion-MNIST, at 1 % and at 5 % density.

ER densities, batch 100, 15 epochs, SGD with Nesterov momentum 0.9 and weight decay 1e-4, learning rate 0.1 falling
along half a cosine, inputs with mean 0 and deviation 1; RigL edits every 100 steps of the first three quarters, drop
share 0.3. Both methods start from the same network and see the same batches, seed by seed. The short form trains 2
epochs at 1 %.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

from experiment import Experiment, Run, Target, main
from loop import Data, digest, num_edges, read_images, sgd, train

import deepgraph as dg


def run(settings: dict[str, Any], seed: int, data: Data) -> Run:
    """Train one method at one density."""
    total = settings["epochs"] * math.ceil(len(data.y) / 100)
    model = dg.MaskedDeepFFN(
        784, 10, [1000] * 3, density=settings["density"], distribution="er", storage="csr", seed=seed
    )
    optimizer = sgd(model, decay=1e-4)
    if settings["method"] == "rigl":
        every = 100 if total >= 400 else 10
        optimizer = dg.RigL(model, optimizer, every=every, until=3 * total // 4, drop_fraction=0.3, seed=seed)
    curve = train(
        model, dg.train_step(model, "cross_entropy", optimizer), optimizer, data, epochs=settings["epochs"], batch=100,
        seed=seed, rate=lambda step: 0.05 * (1 + math.cos(math.pi * step / total)), tested=3,
        label=f"f1 {settings['method']} {settings['density']:.0%}",
    )  # fmt: skip
    moved = sum(row["dropped"] for row in getattr(optimizer, "log", ()))
    return {
        "accuracy": curve[-1], "curve": curve, "edges": num_edges(model), "edges_replaced": moved,
        "digest": digest(model),
    }  # fmt: skip


def case(method: str, density: float, epochs: int = 15) -> dict[str, Any]:
    """Return the settings of a case."""
    return {"method": method, "density": density, "epochs": epochs}


def checks(runs, real: bool) -> list[tuple[str, bool]]:
    """Return what the short form shows."""
    rigl, static = runs["rigl 1 %"]["0"], runs["static 1 %"]["0"]
    found = [
        (f"both have {rigl['edges']} edges", rigl["edges"] == static["edges"]),
        (f"RigL replaced {rigl['edges_replaced']} edges, static none",
         rigl["edges_replaced"] > 0 == static["edges_replaced"]),
    ]  # fmt: skip
    if real:
        found.append((f"RigL {rigl['accuracy']:.2f} % after 2 epochs (at least 83)", rigl["accuracy"] >= 83))
    return found


EXPERIMENT = Experiment(
    name="f1",
    title="RigL against static on all of Fashion-MNIST, 784-1000-1000-1000-10",
    source="a comparison of this library; no published number",
    cases={f"{m} {name}": case(m, d) for name, d in (("1 %", 0.01), ("5 %", 0.05)) for m in ("rigl", "static")},
    short={f"{m} 1 %": case(m, 0.01, 2) for m in ("rigl", "static")},
    run=run,
    data=partial(read_images, name="fashion-mnist", normalised=True),
    needs="fashion-mnist",
    seeds=5,
    targets=[
        Target("RigL, 1 % density, accuracy (%)", "rigl 1 %"),
        Target("static, 1 % density, accuracy (%)", "static 1 %"),
        Target(
            "RigL - static, 1 % density (points)",
            "rigl 1 %",
            kind="above",
            minus="static 1 %",
            headline="RigL minus static, Fashion-MNIST, 1 % of the weights, points",
        ),
        Target("RigL, 5 % density, accuracy (%)", "rigl 5 %"),
        Target("static, 5 % density, accuracy (%)", "static 5 %"),
        Target("RigL - static, 5 % density (points)", "rigl 5 %", minus="static 5 %"),
    ],
    checks=checks,
)

if __name__ == "__main__":
    main(EXPERIMENT)
