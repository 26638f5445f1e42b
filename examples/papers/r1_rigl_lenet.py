"""R1: RigL, SET and static training of LeNet 300-100 on MNIST, 99 % / 89 % / 0 % sparse (Evci et al. 2020, table 2).

784-300-100-10, batch 100, 200 epochs, SGD with Nesterov momentum 0.9, learning rate 0.2 divided by 3 at epochs 75 and
95, L2 1e-4 on weights, inputs in [0, 1], weights drawn as for the dense network; edits every 100 steps up to step
50,000, drop share 0.3 falling along a cosine: at steps 100, 200, ..., and in a case of its own ("from step 0") also
before the first step, as the authors' code does. The short form trains 20 epochs with everything scaled.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import networkx as nx
import numpy as np
from experiment import Experiment, Run, Target, main
from loop import Data, digest, num_edges, read_images, sgd, start_as_dense, steps_down, train

import deepgraph as dg
from deepgraph.analysis.cost import network_cost

# The code takes 0.9 times the sparsity of the first layer for the second; the published training cost agrees.
DENSITIES = [0.01, 1 - 0.9 * 0.99, 1.0]


class CountedRigL(dg.RigL):
    """RigL that writes down how many edges each update took from each layer, with those that it gave back at once."""

    churn: list[tuple[int, list[int], list[int]]]

    def choose_drop(self, values, share):
        """Return the rows to drop, and note the steps before them, edges and rows of each set."""
        rows = super().choose_drop(values, share)
        self.churn.append((self.clock(self.steps), [one.edge_set.num_edges for one in values], [len(r) for r in rows]))
        return rows

    def clock(self, call: int) -> int:
        """Return the step, in the schedule's count, of a call of `step`."""
        return call

    def grouped(self):
        """Return the groups; here the notes begin."""
        self.churn = []
        return super().grouped()


class RigLFromStart(CountedRigL):
    """RigL on the clock of the authors' code: it edits when the optimizer has made 0, 100, 200, ... steps."""

    def clock(self, call: int) -> int:
        """Return how many steps the optimizer made before a call of `step`; edits are no steps."""
        return call - 1 - min(math.ceil((call - 1) / (self.every + 1)), (self.until or 0) // self.every)

    def edits_at(self, step: int) -> bool:
        """Return whether a call of `step` edits."""
        return (step - 1) % (self.every + 1) == 0 and self.clock(step) < (self.until or 0)

    def drop_share(self, step: int) -> float:
        """Return the share that is dropped."""
        return super().drop_share(self.clock(step))


class SETFromStart(dg.SET):
    """SET on the clock of the authors' code: it edits after the steps 1, 101, 201, ..."""

    def edits_at(self, step: int) -> bool:
        """Return whether a step edits."""
        return step % self.every == 1 and step < (self.until or 0)


def optimizer_of(method: str, model, wrapped, until: int, seed: int):
    """Return the rewirer of a method."""
    schedule: dict[str, Any] = {"every": 100, "until": until, "drop_fraction": 0.3, "decay": "cosine", "seed": seed}
    if method.startswith("rigl"):
        return (RigLFromStart if method == "rigl" else CountedRigL)(model, wrapped, **schedule)
    return SETFromStart(model, wrapped, by="magnitude", **schedule) if method == "set" else dg.Static(model, wrapped)


def churn_matches(optimizer: CountedRigL, until: int) -> bool:
    """Return whether every update took int(0.15 (1 + cos(pi t / T)) E) edges from each layer, no more and no less."""
    wanted = [
        (step, edges, [int(0.15 * (1 + math.cos(math.pi * (step / until))) * e) for e in edges])
        for step, edges, _ in optimizer.churn
    ]
    times = sorted({step for step, _, _ in optimizer.churn})
    first = 0 if isinstance(optimizer, RigLFromStart) else 100
    return optimizer.churn == wanted and times == list(range(first, until, 100))


def live_network(graph: dg.CachedLayeredGraph) -> dict[str, Any]:
    """Return live units by layer, and the cost of the network without its dead ones: FLOPs and bytes.

    A unit is live that lies on a path from an input to an output. Weights and biases take 4 bytes, and a layer that is
    not dense one bit for each pair besides, as in the paper.
    """
    plain: nx.DiGraph[Any] = nx.DiGraph(graph)
    stage = dict(zip(plain, graph.stage_array().tolist(), strict=True))
    ends = [[v for v in plain if stage[v] == s] for s in (0, max(stage.values()))]
    down = set().union(*(nx.descendants(plain, v) | {v} for v in ends[0]))
    up = set().union(*(nx.ancestors(plain, v) | {v} for v in ends[1]))
    alive = down & up
    units = [sum(stage[v] == s for v in alive) for s in range(4)]
    kept = graph.subgraph(alive).copy()
    edges = np.bincount([stage[u] for u, _ in kept.edges], minlength=3)
    bits = sum(a * b for a, b, count in zip(units, units[1:], edges, strict=False) if count < a * b)
    return {"units": units, "edges_live": kept.number_of_edges(), "kflops": network_cost(kept).flops / 1e3,
            "kbytes": (4 * (kept.number_of_edges() + sum(units[1:])) + bits / 8) / 1e3}  # fmt: skip


def run(settings: dict[str, Any], seed: int, data: Data) -> Run:
    """Train one method."""
    epochs, method = settings["epochs"], settings["method"]
    per_epoch = len(data.y) // 100
    until = round(50_000 * epochs * per_epoch / 120_000) // 100 * 100 if per_epoch >= 100 else epochs * per_epoch
    model = dg.MaskedDeepFFN(784, 10, [300, 100], density=DENSITIES, storage="csr", seed=seed)
    start_as_dense(model, seed)
    optimizer = optimizer_of(method, model, sgd(model, decay=1e-4, biases=False), until, seed)
    step = dg.train_step(model, "cross_entropy", optimizer)
    rate = steps_down(0.2, 1 / 3, *(share * epochs * per_epoch for share in (75 / 200, 95 / 200)))
    curve = train(model, step, optimizer, data, epochs=epochs, batch=100, seed=seed, rate=rate,
                  tested=5, label=f"r1 {method}")  # fmt: skip
    found = {"accuracy": curve[-1], "error": 100 - curve[-1], "best": 100 - max(curve), "curve": curve,
             "edges": num_edges(model)}  # fmt: skip
    if method.startswith("rigl"):
        found |= {"updates": len({row[0] for row in optimizer.churn}), "churn_matches": churn_matches(optimizer, until)}
    return found | live_network(model.graph) | {"digest": digest(model)}


METHODS = ("rigl", "set", "static")
UNITS = {0: "input", 1: "first hidden", 2: "second hidden"}


def unit(layer: int):
    """Return the measure of live units of a layer."""
    return lambda found: found["units"][layer]


def training_gflops(found) -> float:
    """Return the cost of 200 epochs by the paper's count, without the gradients of the inputs.

    A step computes layers, gradients of units and gradients of weights; in an edit the latter are dense.
    """
    first, *others = found["edges"]
    step = 2 * (2 * first + 3 * sum(others))
    edit = 2 * (first + 2 * sum(others)) + 2 * (784 * 300 + 300 * 100 + 100 * 10)
    return 200 * 60_000 * (100 * step + edit) / 101 / 1e9


def checks(runs, real: bool) -> list[tuple[str, bool]]:
    """Return what the short form shows."""
    rigl = runs["rigl"]["0"]
    found = [
        (f"RigL took as many edges as its schedule says at each of {rigl['updates']} updates", rigl["churn_matches"]),
        (f"{rigl['edges']} edges at the end", rigl["edges"] == [2352, 3270, 1000]),
    ]
    if real:
        set_, static = runs["set"]["0"], runs["static"]["0"]
        found += [
            (f"20 epochs of RigL: {rigl['accuracy']:.2f} % (wanted 97.6 - 0.4)", rigl["accuracy"] >= 97.2),
            (f"RigL above static, {static['accuracy']:.2f} %", rigl["accuracy"] > static["accuracy"]),
            (f"SET {set_['accuracy']:.2f} % above static", set_["accuracy"] > static["accuracy"]),
        ]
    return found


WHY = (
    "the edit before the first step leaves fewer units of the first hidden layer alive; without it the error is within "
    "the tolerance. Settings but the sparsity are the defaults of the authors' code, and the cost of training below "
    "says that sparsities, images, epochs and steps between edits are those of the paper. It reports one tuned run"
)
WHY_UNITS = (
    "gradients before the first step point at few units of the first hidden layer, and what they grow then decides how "
    "many live: fewer where the first edit comes before any step, as in the authors' code, than where it comes after "
    "100 of them. The paper's one run lies between the two"
)
WHY_SET = (
    "no claim of the paper, which does not train SET on MNIST. Gradients of 100 images gather edges on few units of "
    "the first hidden layer, where random growth leaves more of them alive"
)


EXPERIMENT = Experiment(
    name="r1",
    title="RigL, SET and static LeNet 300-100 on MNIST, 99 % / 89 % / 0 % sparse",
    source="Evci et al. 2020, arXiv 1911.11134, table 2",
    cases={method: {"method": method, "epochs": 200} for method in (*METHODS, "rigl later")}
    | {"rigl 20 epochs": {"method": "rigl", "epochs": 20}},
    short={method: {"method": method, "epochs": 20} for method in METHODS},
    run=run,
    data=partial(read_images, name="mnist"),
    needs="mnist",
    seeds=5,
    targets=[
        Target("RigL, error at the end (%)", "rigl later", "error", 1.48, 0.3,
               headline="RigL, LeNet 300-100 on MNIST, 2.5 % of the weights, error (%)"),
        Target("RigL from step 0, error at the end (%)", "rigl", "error", 1.48, 0.3, why=WHY,
               headline="the same with one more edit before the first step, as in the authors' code"),
        Target("RigL, lowest error while training (%)", "rigl later", "best", 1.44, 0.3),
        Target("RigL from step 0, lowest error while training (%)", "rigl", "best", 1.44, 0.3, why=WHY),
        Target("SET, error at the end (%)", "set", "error"),
        Target("static, error at the end (%)", "static", "error"),
        Target("RigL - SET, accuracy (points)", "rigl later", kind="above", minus="set"),
        Target("RigL from step 0 - SET, accuracy (points)", "rigl", kind="above", minus="set", why=WHY_SET),
        Target("RigL from step 0 - static, accuracy (points)", "rigl", kind="above", minus="static"),
        Target("SET - static, accuracy (points)", "set", kind="above", minus="static"),
        Target("RigL from step 0, 20 epochs with everything scaled, accuracy (%)", "rigl 20 epochs", "accuracy", 97.6,
               0.3),
        # The paper gives no spread for the units.
        *(Target(f"{name}, live {UNITS[k]} units", case, unit(k), count, spread, why=WHY_UNITS if k == 1 else "")
          for name, case in (("RigL", "rigl later"), ("RigL from step 0", "rigl"))
          for k, count, spread in ((0, 408, 41), (1, 100, 15), (2, 69, 10))),
        Target("SET, live first hidden units", "set", unit(1)),
        *(Target(f"{name}, {text}", case, measure, published, tolerance, why=WHY_UNITS)
          for name, case in (("RigL", "rigl later"), ("RigL from step 0", "rigl"))
          for text, measure, published, tolerance in (
              ("kFLOPs of the live network", "kflops", 12.6, 0.7), ("kB with a bit mask", "kbytes", 31.9, 2.0),
              ("GFLOPs of the training by the paper's count", training_gflops, 482.0, 0.5),
              ("share of runs whose churn equals the schedule at every update", "churn_matches", 1.0, 0.0))),
    ],
    checks=checks,
)  # fmt: skip

if __name__ == "__main__":
    main(EXPERIMENT)
