"""What rewiring costs: a training with RigL, SET or DEEPR against the same training with fixed edges, in one process.

    python examples/benchmarks/rewiring.py [--quick] [--json]

The network is that of compute.py, 784-1000-1000-1000-10 at batch 128. Two copies take turns, 100 steps each: one with a
rewirer at its defaults, one with `Static` around the same optimizer. The overhead is the median over rounds of the
ratio of their processor times; RigL and SET edit in the first three quarters of a training, so that much of it counts
there.
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
EDITING = 0.75
"""Share of a training in which RigL edits, as in its paper."""


def trainer(density: float, make: Callable[[Any], Any]) -> Callable[[int], float]:
    """Return a function that trains some steps and returns their processor time, s."""
    generator = torch.Generator().manual_seed(0)
    batches = [
        (torch.rand(BATCH, SIZES[0], generator=generator), torch.randint(SIZES[-1], (BATCH,), generator=generator))
        for _ in range(10)
    ]
    model = dg.MaskedDeepFFN(SIZES[0], SIZES[-1], SIZES[1:-1], density=density, seed=0)
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


PAIRS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any], float]] = {
    "RigL": (lambda m: dg.RigL(m, sgd(m), until=10**6, seed=0), lambda m: dg.Static(m, sgd(m)), EDITING),
    "SET": (lambda m: dg.SET(m, sgd(m), seed=0), lambda m: dg.Static(m, sgd(m)), EDITING),
    "DEEPR": (lambda m: dg.DEEPR(m, lr=0.01, seed=0), lambda m: dg.Static(m, sgd(m, 0.0)), 1.0),
}
"""The rewirer, what it is compared with, and the share of a training in which it edits."""


def compare(name: str, density: float, rounds: int, steps: int = 100) -> dict[str, Any]:
    """Return the times of a step, ms, and the overhead of a rewirer, over rounds of `steps` steps."""
    rewired, fixed, share = PAIRS[name]
    runs = trainer(density, rewired), trainer(density, fixed)
    times: list[tuple[float, float]] = []
    for number in range(rounds + 1):
        order = (0, 1) if number % 2 else (1, 0)
        taken = {which: runs[which](steps) for which in order}
        if number:
            times.append((taken[0], taken[1]))
    overhead = statistics.median(a / b - 1 for a, b in times)
    return {
        "rewirer": name,
        "density": density,
        "static_ms": 1e3 * statistics.median(b for _, b in times) / steps,
        "rewired_ms": 1e3 * statistics.median(a for a, _ in times) / steps,
        "while_editing": overhead,
        "of_training": overhead * share,
    }


def main() -> None:
    """Print one line per rewirer and density."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one density, few rounds")
    parser.add_argument("--json", action="store_true", help="print the rows as JSON and nothing else")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    densities, rounds = ((0.05,), 3) if options.quick else ((0.01, 0.05, 0.1, 0.2), 11)
    rows = []
    if not options.json:
        print(
            f"{'':6s} {'density':>7s} {'static, ms':>11s} {'rewired, ms':>12s} {'while editing':>14s} {'training':>9s}"
        )
    for density in densities:
        for name in PAIRS:
            row = compare(name, density, rounds, 20 if name == "DEEPR" else 100)
            rows.append(row)
            if not options.json:
                print(
                    f"{name:6s} {density:7.0%} {row['static_ms']:11.3f} {row['rewired_ms']:12.3f} "
                    f"{row['while_editing']:+14.1%} {row['of_training']:+9.1%}",
                    flush=True,
                )
    if options.json:
        print(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
