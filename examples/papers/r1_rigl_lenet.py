"""R1: RigL, SET and static training of LeNet 300-100 on MNIST, 99 % / 89 % / 0 % sparse (Evci et al. 2020, table 2).

784-300-100-10, batch 100, 200 epochs, SGD with Nesterov momentum 0.9, learning rate 0.2 divided by 3 at epochs 75 and
95, L2 1e-4 on weights, inputs in [0, 1], weights drawn as for the dense network; edits every 100 steps up to step
50,000, drop share 0.3 falling along a cosine. The short form trains 20 epochs with everything scaled.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import networkx as nx
from experiment import Experiment, Run, Target, main
from loop import Data, digest, num_edges, read_images, sgd, start_as_dense, steps_down, train

import deepgraph as dg
from deepgraph.analysis.cost import network_cost

DENSITIES = [0.01, 0.11, 1.0]


class CountedRigL(dg.RigL):
    """RigL that writes down how many edges each update took from each layer, with those that it gave back at once."""

    churn: list[tuple[int, list[int], list[int]]]

    def choose_drop(self, values, share):
        """Return the rows to drop, and note step, edges and rows of each set."""
        rows = super().choose_drop(values, share)
        self.churn.append((self.steps, [one.edge_set.num_edges for one in values], [len(row) for row in rows]))
        return rows

    def grouped(self):
        """Return the groups; here the notes begin."""
        self.churn = []
        return super().grouped()


def optimizer_of(method: str, model, wrapped, until: int, seed: int):
    """Return the rewirer of a method."""
    schedule = {"every": 100, "until": until, "drop_fraction": 0.3, "decay": "cosine", "seed": seed}
    if method == "rigl":
        return CountedRigL(model, wrapped, **schedule)
    return dg.SET(model, wrapped, by="magnitude", **schedule) if method == "set" else dg.Static(model, wrapped)


def churn_matches(optimizer: CountedRigL, until: int) -> bool:
    """Return whether every update took int(0.15 (1 + cos(pi t / T)) E) edges from each layer, no more and no less."""
    wanted = [
        (step, edges, [int(0.15 * (1 + math.cos(math.pi * (step / until))) * e) for e in edges])
        for step, edges, _ in optimizer.churn
    ]
    times = sorted({step for step, _, _ in optimizer.churn})
    return optimizer.churn == wanted and times == list(range(100, until, 100))


def live_network(graph: dg.CachedLayeredGraph) -> dict[str, Any]:
    """Return live units by layer, and the cost of the network without its dead ones: FLOPs, bytes with a bit mask.

    A unit is live that lies on a path from an input to an output.
    """
    plain = nx.DiGraph(graph)
    stage = dict(zip(plain, graph.stage_array().tolist(), strict=True))
    ends = [[v for v in plain if stage[v] == s] for s in (0, max(stage.values()))]
    down = set().union(*(nx.descendants(plain, v) | {v} for v in ends[0]))
    up = set().union(*(nx.ancestors(plain, v) | {v} for v in ends[1]))
    alive = down & up
    units = [sum(stage[v] == s for v in alive) for s in range(4)]
    kept = graph.subgraph(alive).copy()
    cost = network_cost(kept)
    return {"units": units, "edges_live": kept.number_of_edges(), "kflops": cost.flops / 1e3,
            "kbytes": (cost.bytes_bitmask + 4 * sum(units[1:])) / 1e3}  # fmt: skip


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
    found = {"accuracy": curve[-1], "error": 100 - curve[-1], "curve": curve, "edges": num_edges(model)}
    if method == "rigl":
        found |= {"updates": len({row[0] for row in optimizer.churn}), "churn_matches": churn_matches(optimizer, until)}
    return found | live_network(model.graph) | {"digest": digest(model)}


METHODS = ("rigl", "set", "static")
UNITS = {0: "input", 1: "first hidden", 2: "second hidden"}


def unit(layer: int):
    """Return the measure of live units of a layer."""
    return lambda found: found["units"][layer]


def checks(runs, real: bool) -> list[tuple[str, bool]]:
    """Return what the short form shows."""
    rigl = runs["rigl"]["0"]
    found = [
        (f"RigL took as many edges as its schedule says at each of {rigl['updates']} updates", rigl["churn_matches"]),
        (f"{rigl['edges']} edges at the end", rigl["edges"] == [2352, 3300, 1000]),
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
    "for a reason not found: seeds lie between 1.69 and 2.01, two of four within the tolerance, and more units of the "
    "first hidden layer live than in the paper; with weights drawn for the sparse fan-in the error of a seed was 1.84, "
    "and 179 of these units lived"
)


EXPERIMENT = Experiment(
    name="r1",
    title="RigL, SET and static LeNet 300-100 on MNIST, 99 % / 89 % / 0 % sparse",
    source="Evci et al. 2020, arXiv 1911.11134, table 2",
    cases={method: {"method": method, "epochs": 200} for method in METHODS},
    short={method: {"method": method, "epochs": 20} for method in METHODS},
    run=run,
    data=partial(read_images, name="mnist"),
    needs="mnist",
    seeds=5,
    targets=[
        Target("RigL, error at the end (%)", "rigl", "error", 1.48, 0.3, why=WHY,
               headline="RigL, LeNet 300-100 on MNIST, 2.5 % of the weights, error (%)"),
        Target("SET, error at the end (%)", "set", "error"),
        Target("static, error at the end (%)", "static", "error"),
        Target("RigL - SET, accuracy (points)", "rigl", kind="above", minus="set"),
        Target("SET - static, accuracy (points)", "set", kind="above", minus="static"),
        *(Target(f"RigL, live {UNITS[k]} units", "rigl", unit(k), count, spread, why=WHY if k == 1 else "")
          # The paper gives no spread for the units.
          for k, count, spread in ((0, 408, 41), (1, 100, 15), (2, 69, 10))),
        Target("RigL, kFLOPs of the live network", "rigl", "kflops", 12.6, 0.7),
        Target("RigL, kB with a bit mask", "rigl", "kbytes", 31.9, 2.0),
        Target("RigL, share of runs whose churn equals the schedule at every update", "rigl", "churn_matches", 1.0),
    ],
    checks=checks,
)  # fmt: skip

if __name__ == "__main__":
    main(EXPERIMENT)
