"""Time of one training step: edge values against dense torch, in one process, on one thread, interleaved.

Prints medians as ratios, and the ratio of two identical dense steps (A/A), which shows how far to trust the others.

    python examples/benchmarks/compute.py [--quick]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from itertools import pairwise

import networkx as nx
import numpy as np
import torch
from torch import Tensor, nn

from deepgraph.kernels.operator import Program
from deepgraph.kernels.topology import Topology

SIZES = (784, 1000, 1000, 1000, 10)
BATCH = 128
Step = Callable[[], None]


def medians(steps: dict[str, Step], rounds: int) -> dict[str, float]:
    """Return the median time of each step, ms, taken in turns that change direction every round."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(rounds + 2):
        for name in list(steps) if number % 2 else list(steps)[::-1]:
            start = time.process_time()
            steps[name]()
            if number >= 2:
                times[name].append(1e3 * (time.process_time() - start))
    return {name: statistics.median(taken) for name, taken in times.items()}


def feed_forward(density: float, seed: int) -> Topology:
    """Return the network of SIZES with random edges, ReLU and linear outputs."""
    rng = np.random.default_rng(seed)
    starts = np.r_[0, np.cumsum(SIZES)]
    pairs = [np.nonzero(rng.random(SIZES[k : k + 2]) < density) for k in range(len(SIZES) - 1)]
    stage = np.repeat(np.arange(len(SIZES)), SIZES)
    return Topology(
        int(starts[-1]),
        np.concatenate([u + starts[k] for k, (u, _) in enumerate(pairs)]),
        np.concatenate([v + starts[k + 1] for k, (_, v) in enumerate(pairs)]),
        stage,
        inputs=np.arange(SIZES[0]),
        outputs=np.arange(starts[-2], starts[-1]),
        activation=np.where(stage == len(SIZES) - 1, 0, 1),
        splits=tuple(len(u) for u, _ in pairs),
    )


def training_step(forward: Callable[[Tensor], Tensor], parameters: list[Tensor], x: Tensor, target: Tensor) -> Step:
    """Return one step of SGD with momentum on the cross entropy."""
    optimizer = torch.optim.SGD(parameters, lr=0.01, momentum=0.9)

    def step() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(forward(x), target).backward()
        optimizer.step()

    return step


def dense_step(x: Tensor, target: Tensor) -> Step:
    """Return a step of the dense network of SIZES."""
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(SIZES):
        layers += [nn.Linear(fan_in, fan_out), nn.ReLU()]
    model = nn.Sequential(*layers[:-1])
    return training_step(model, list(model.parameters()), x, target)


def sparse_step(density: float, x: Tensor, target: Tensor) -> Step:
    """Return a step of the same network with a share of its edges, one parameter per layer."""
    topology = feed_forward(density, seed=0)
    program = Program(topology, "csr")
    weights = [nn.Parameter(torch.randn(count) * 0.05) for count in topology.splits]
    bias = nn.Parameter(torch.zeros(topology.num_computed))
    return training_step(lambda x: program(x, weights, bias), [*weights, bias], x, target)


def small_world(nodes: int, batch: int) -> tuple[Step, float, Topology]:
    """Return forward and backward of a small-world ring in stored order, and the seconds that its indexes took."""
    pairs = np.array(nx.newman_watts_strogatz_graph(nodes, 16, 0.5, seed=0).edges())
    start = time.process_time()
    src, dst = pairs.min(1), pairs.max(1)
    order = np.lexsort((dst, src))
    outputs = np.setdiff1d(np.arange(nodes), src)
    topology = Topology(nodes, src[order], dst[order], np.arange(nodes), [0], outputs, np.ones(nodes, np.uint8))
    program = Program(topology, "csr")
    _ = topology.target_perm, topology.source_indptr
    built = time.process_time() - start
    w = torch.randn(topology.num_edges).mul_(0.1).requires_grad_()
    bias = torch.zeros(topology.num_computed, requires_grad=True)
    x = torch.randn(batch, 1)

    def step() -> None:
        program(x, [w], bias).sum().backward()
        w.grad = bias.grad = None

    return step, built, topology


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few rounds, small graph")
    rounds, nodes = (10, 1000) if parser.parse_args().quick else (60, 10_000)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    x, target = torch.randn(BATCH, SIZES[0]), torch.randint(0, 10, (BATCH,))
    steps = {"dense": dense_step(x, target), "dense again": dense_step(x, target)}
    steps |= {f"{density:.0%}": sparse_step(density, x, target) for density in (0.01, 0.05, 0.1, 0.2, 0.5)}
    found = medians(steps, rounds)
    print(f"MLP {'-'.join(map(str, SIZES))}, batch {BATCH}, step with SGD momentum, one thread, {rounds} rounds")
    for name, median in found.items():
        print(f"  {name:12s} {median:7.2f} ms  {found['dense'] / median:5.1f} x dense")
    step, built, topology = small_world(nodes, BATCH)
    median = medians({"ring": step}, rounds)["ring"]
    print(f"small-world ring, {topology.num_edges:,} edges in {len(topology.stage_starts) - 1:,} layers, batch {BATCH}")
    print(f"  indexes {built:.3f} s, forward and backward {median:.2f} ms")


if __name__ == "__main__":
    main()
