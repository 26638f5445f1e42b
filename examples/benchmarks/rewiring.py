"""What rewiring costs: a training with RigL, SET or DEEPR against the same training with fixed edges, in one process.

    python examples/benchmarks/rewiring.py [--quick] [--json] [--only RigL SET DEEPR]

The network is that of compute.py, 784-1000-1000-1000-10 at batch 128. Two copies take turns, 100 steps each: one with a
rewirer at its defaults, one with `Static` around the same optimizer. A training has 2,000 steps, of which the first
three quarters edit, each 100th one, by a share of the edges that RigL lets fall to 0 meanwhile. For each 100 steps the
overhead is the median over trainings of the ratio of processor times: `training` is the mean over a whole training,
`first edits` that of the steps from the 101st to the 600th.
DEEPR edits at every step; it is compared with plain SGD, which is what moves its other parameters.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

import deepgraph as dg

SIZES = (784, 1000, 1000, 1000, 10)
BATCH = 128
STEPS, BLOCK = 2000, 100
UNTIL = 3 * STEPS // 4
"""Steps of a training in which RigL edits, as in its paper."""


def trainer(density: float, make: Callable[[Any], Any], seed: int) -> Callable[[int], float]:
    """Return a function that trains some steps and returns their processor time, s."""
    generator = torch.Generator().manual_seed(seed)
    batches = [
        (torch.rand(BATCH, SIZES[0], generator=generator), torch.randint(SIZES[-1], (BATCH,), generator=generator))
        for _ in range(10)
    ]
    model = dg.MaskedDeepFFN(SIZES[0], SIZES[-1], SIZES[1:-1], density=density, seed=seed)
    optimizer = make(model)

    def train(steps: int) -> float:
        start = time.process_time()
        for step in range(steps):
            x, y = batches[step % len(batches)]
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
        return time.process_time() - start

    return train


def sgd(model: Any, momentum: float = 0.9) -> torch.optim.SGD:
    """Return torch's SGD."""
    return torch.optim.SGD(model.parameters(), lr=0.01, momentum=momentum)


PAIRS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "RigL": (lambda m: dg.RigL(m, sgd(m), until=UNTIL, seed=0), lambda m: dg.Static(m, sgd(m))),
    "SET": (lambda m: dg.SET(m, sgd(m), until=UNTIL, seed=0), lambda m: dg.Static(m, sgd(m))),
    "DEEPR": (lambda m: dg.DEEPR(m, lr=0.01, seed=0), lambda m: dg.Static(m, sgd(m, 0.0))),
}
"""The rewirer, and what it is compared with."""


def compare(name: str, density: float, trainings: int, steps: int = STEPS, block: int = BLOCK) -> dict[str, Any]:
    """Return the times of a step, ms, and the overhead of a rewirer, in trainings of `steps` steps."""
    blocks: list[list[tuple[float, float]]] = [[] for _ in range(steps // block)]
    for seed in range(trainings):
        runs = [trainer(density, make, seed) for make in PAIRS[name]]
        for run in runs:
            # Loops are compiled and memory is taken before anything is measured; no edit comes so early.
            run(5)
        for number, times in enumerate(blocks):
            taken = {which: runs[which](block) for which in ((0, 1) if number % 2 else (1, 0))}
            times.append((taken[0], taken[1]))
    overheads = [statistics.median(a / b - 1 for a, b in times) for times in blocks]
    rewired, fixed = zip(*(pair for times in blocks for pair in times), strict=True)
    return {
        "rewirer": name,
        "density": density,
        "static_ms": 1e3 * statistics.median(fixed) / block,
        "rewired_ms": 1e3 * statistics.median(rewired) / block,
        "first_edits": statistics.fmean(overheads[1:6]),
        "of_training": statistics.fmean(overheads),
    }


def main() -> None:
    """Print one line per rewirer and density."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one density, one training")
    parser.add_argument("--json", action="store_true", help="print the rows as JSON and nothing else")
    parser.add_argument("--only", nargs="+", choices=list(PAIRS), default=list(PAIRS), help="some of the rewirers")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    densities, trainings = ((0.05,), 1) if options.quick else ((0.01, 0.05, 0.1, 0.2), 3)
    rows = []
    if not options.json:
        print(f"{'':6s} {'density':>7s} {'static, ms':>11s} {'rewired, ms':>12s} {'first edits':>12s} {'training':>9s}")
    for density in densities:
        for name in options.only:
            row = compare(name, density, trainings, *((200, 20) if name == "DEEPR" else ()))
            rows.append(row)
            if not options.json:
                print(
                    f"{name:6s} {density:7.0%} {row['static_ms']:11.3f} {row['rewired_ms']:12.3f} "
                    f"{row['first_edits']:+12.1%} {row['of_training']:+9.1%}",
                    flush=True,
                )
    if options.json:
        print(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
