"""Edge values against dense torch in one process: training steps, inference, deep graphs, memory per trained edge.

    python examples/benchmarks/compute.py [--quick] [--threads 1]

Protocol: all candidates take turns, in an order that changes direction every round. In its turn a candidate runs a few
steps in a row; the first is timed as "cold" (the others have emptied the caches), the later ones as "warm" (what a
training loop sees). Every ratio is dense time over candidate time, median over rounds with quartiles; "dense again"
is an identical second dense model and shows how far to trust the others. Times are processor time on one thread and
wall time on several.
"""

from __future__ import annotations

import argparse
import ctypes
import platform
import statistics
import time
import warnings
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import networkx as nx
import numpy as np
import torch
from torch import Tensor, nn

import deepgraph as dg
from deepgraph.optim import SGD, Adam, train_step
from deepgraph.sparse import edge_values

SIZES = (784, 1000, 1000, 1000, 10)
BATCH = 128
Step = Callable[[], object]


def measure(steps: dict[str, Step], rounds: int, in_a_row: int = 4) -> dict[str, dict[str, list[float]]]:
    """Return the times, ms, of each step's first ("cold") and later ("warm") runs of its turns, by round."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    found: dict[str, dict[str, list[float]]] = {name: {"cold": [], "warm": []} for name in steps}
    for number in range(rounds + 2):
        for name in list(steps) if number % 2 else list(steps)[::-1]:
            taken = []
            for _ in range(in_a_row):
                start = clock()
                steps[name]()
                taken.append(1e3 * (clock() - start))
            if number >= 2:
                found[name]["cold"].append(taken[0])
                found[name]["warm"].append(statistics.median(taken[1:]))
    return found


def ratio(base: list[float], other: list[float]) -> str:
    """Return the median of the paired ratios and their quartiles."""
    low, middle, high = statistics.quantiles([b / o for b, o in zip(base, other, strict=True)], n=4)
    return f"{middle:5.1f} ({low:4.1f}-{high:4.1f})"


def show(steps: dict[str, Step], rounds: int, base: str = "dense") -> None:
    """Measure and print one table."""
    found = measure(steps, rounds)
    print(f"  {'':26s} {'warm, ms':>9s} {f'x {base}':>17s} {'cold, ms':>9s} {f'x {base}':>17s}")
    for name, times in found.items():
        cells = [
            f"{statistics.median(times[kind]):9.3f} {ratio(found[base][kind], times[kind]):>17s}"
            for kind in ("warm", "cold")
        ]
        print(f"  {name:26s} {' '.join(cells)}")


def dense_model() -> nn.Sequential:
    """Return the dense network of SIZES."""
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(SIZES):
        layers += [nn.Linear(fan_in, fan_out), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def loop_step(model: nn.Module, kind: type[torch.optim.SGD], x: Tensor, target: Tensor) -> Step:
    """Return one step of the ordinary loop: SGD with momentum on the cross entropy."""
    optimizer = kind(model.parameters(), lr=0.01, momentum=0.9)

    def step() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), target).backward()
        optimizer.step()

    return step


def training(rounds: int) -> None:
    """Print a training step of the network of SIZES at several densities."""
    x, target = torch.randn(BATCH, SIZES[0]), torch.randint(0, SIZES[-1], (BATCH,))
    steps = {name: loop_step(dense_model(), torch.optim.SGD, x, target) for name in ("dense", "dense again")}
    for density in (0.01, 0.05, 0.1, 0.2, 0.5, 1.0):
        models = [dg.MaskedDeepFFN(SIZES[0], SIZES[-1], SIZES[1:-1], density=density, seed=0) for _ in range(3)]
        storage = models[0].plan.parts[0].storage
        fast = train_step(models[2], "cross_entropy", SGD(models[2].parameters(), lr=0.01, momentum=0.9))
        steps |= {
            f"{density:4.0%} {storage}, torch's SGD": loop_step(models[0], torch.optim.SGD, x, target),
            f"{density:4.0%} {storage}, dg.SGD": loop_step(models[1], SGD, x, target),
            f"{density:4.0%} {storage}, dg.train_step": lambda step=fast: step(x, target),  # type: ignore[misc]
        }
    print(f"\ntraining step, {'-'.join(map(str, SIZES))}, batch {BATCH}, SGD with momentum")
    show(steps, rounds)


def inference(rounds: int, width: int = 1000, density: float = 0.05) -> None:
    """Print the forward pass of three layers at small batches, against dense and torch's CSR product."""
    for batch in (1, 4, 16):
        x = torch.randn(batch, width)
        model = dg.MaskedDeepFFN(width, width, [width] * 2, density=density, storage="csr", seed=0)
        matrices = []
        for values in edge_values(model):
            src, dst = (torch.from_numpy(part.astype(np.int64)) for part in values.edge_set.pairs())
            dense = torch.zeros(width, width)
            dense[dst, src] = values.values()
            matrices.append(dense)
        sparse = [matrix.to_sparse_csr() for matrix in matrices]
        bias = torch.zeros(width)

        def dense_pass(x: Tensor = x, matrices: list[Tensor] = matrices, bias: Tensor = bias) -> None:
            for matrix in matrices:
                x = torch.relu(nn.functional.linear(x, matrix, bias))

        def csr_pass(x: Tensor = x, matrices: list[Tensor] = sparse, bias: Tensor = bias) -> None:
            x = x.t()
            for matrix in matrices:
                x = torch.relu(matrix @ x + bias[:, None])

        steps: dict[str, Step] = {"dense": dense_pass, "dense again": dense_pass, "torch CSR": csr_pass}
        steps["csr"] = lambda model=model, x=x: model(x)  # type: ignore[misc]
        print(f"\ninference, three layers {width} wide, {density:.0%}, batch {batch}")
        with torch.no_grad():
            show({name: _repeated(step) for name, step in steps.items()}, rounds)


def _repeated(step: Step, times: int = 10) -> Step:
    def run() -> None:
        for _ in range(times):
            step()

    return run


def chain(nodes: int, degree: int, rounds: int) -> None:
    """Print a training step of a small-world ring in stored order, which has as many layers as nodes."""
    pairs = np.array(nx.newman_watts_strogatz_graph(nodes, degree, 0.5, seed=0).edges())
    graph = dg.CachedLayeredGraph.from_arrays(pairs.min(1), pairs.max(1), nodes)
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = dg.MaskedDeepDAN(784, 10, graph, seed=0)
    x, target = torch.randn(BATCH, 784), torch.randint(0, 10, (BATCH,))
    model(x)
    built = time.perf_counter() - start
    fast = train_step(model, "cross_entropy", SGD(model.parameters(), lr=1e-3, momentum=0.9))
    steps = {"loop, torch's SGD": loop_step(model, torch.optim.SGD, x, target), "train_step": lambda: fast(x, target)}
    print(
        f"\nring {nodes:,}/{degree}, {graph.number_of_edges():,} edges in {graph.num_layers:,} layers, batch {BATCH},"
    )
    print(f"with stem and head; built and first run in {built:.2f} s")
    show(steps, rounds, base="loop, torch's SGD")


def memory(width: int, density: float = 0.01, batch: int = 16) -> None:
    """Print the resident memory that training one wide layer with Adam adds, per edge."""
    if not Path("/proc/self/statm").exists():
        print("\nmemory: needs /proc")
        return
    trim = getattr(ctypes.CDLL(None), "malloc_trim", lambda _: 0)

    def resident() -> int:
        trim(0)
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    def train(width: int) -> nn.Module:
        layer = dg.SparseLinear(width, width, density, storage="csr", seed=0)
        optimizer, x = Adam(layer.parameters()), torch.randn(batch, width)
        for _ in range(3):
            optimizer.zero_grad()
            layer(x).square().mean().backward()
            optimizer.step()
        layer.optimizer = optimizer
        return layer

    train(200)
    before = resident()
    layer = train(width)
    added, edges = resident() - before, layer.num_edges
    print(f"\nmemory, one layer {width} x {width} at {density:.0%} trained with Adam, batch {batch}: {edges:,} edges")
    print(
        f"  {added / 2**20:.0f} MB, {added / edges:.1f} bytes per edge; "
        f"dense needs {width * width * 16 / 2**20:,.0f} MB"
    )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few rounds, small graphs")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    quick = options.quick
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    print(f"{platform.processor() or platform.machine()}, torch {torch.__version__}, {options.threads} thread(s)")
    # Before the others: what they allocate and free would blur it.
    memory(2048 if quick else 16384)
    training(5 if quick else 50)
    inference(5 if quick else 50)
    for nodes, degree in ((300, 8), (1000, 16) if quick else (10_000, 16)):
        chain(nodes, degree, 5 if quick else 50)


if __name__ == "__main__":
    main()
