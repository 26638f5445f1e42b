"""Edge values against dense torch in one process: training steps, inference, deep graphs, memory per trained edge.

    python examples/benchmarks/compute.py [ROW ...] [--quick] [--threads 1] [--results FILE]

Protocol: all candidates of a row take turns, in an order that changes direction every time. In its turn a candidate
runs steps in a row, 3 or as many as 4 ms hold (at most 12); the first is timed as "cold" (the others have emptied the
caches), the later half as "warm" (what a training loop sees). Inference is timed ten calls at a time. A pair is the
turns of the dense model and of a candidate in one round, a ratio is dense time over candidate time. 5 runs of 50 pairs:
the table shows the median over runs of a run's median, and the lowest and highest run. "dense again" is an identical
second dense model and shows how far to trust the others. Times are processor time on one thread and wall time on
several. `--results` keeps what was measured, so that rows can be measured one at a time; the table shows all rows of
the file. Peers take part where they are installed: sparselab, deepstruct.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import platform
import statistics
import time
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import torch
from torch import Tensor, nn

import deepgraph as dg
from deepgraph.optim import SGD, Adam, train_step
from deepgraph.sparse import edge_values

SIZES = (784, 1000, 1000, 1000, 10)
BATCH = 128
DENSITIES = (0.01, 0.05, 0.1, 0.2, 0.5, 1.0)
Step = Callable[[], object]
Line = dict[str, Any]


def measure(steps: dict[str, Step], runs: int, pairs: int, calls: int = 1) -> list[Line]:
    """Return a line for each step of some calls: per run ms of a call, and times faster than the first, warm, cold."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    in_a_row = {name: _in_a_row(step, calls, clock) for name, step in steps.items()}
    found: dict[str, dict[str, list[list[float]]]] = {name: {"cold": [], "warm": []} for name in steps}
    for run in range(runs):
        for times in found.values():
            for kind in times.values():
                kind.append([])
        for number in range(pairs + 1):
            for name in list(steps) if number % 2 else list(steps)[::-1]:
                taken = [_time(steps[name], calls, clock) for _ in range(in_a_row[name])]
                if number:
                    found[name]["cold"][run].append(taken[0])
                    found[name]["warm"][run].append(statistics.mean(taken[len(taken) // 2 :]))
    base = found[next(iter(steps))]
    lines = []
    for name, times in found.items():
        line: Line = {"name": name, "ms": [statistics.median(run) for run in times["warm"]]}
        for which in ("warm", "cold"):
            line[which] = [
                statistics.median([b / o for b, o in zip(dense, other, strict=True)])
                for dense, other in zip(base[which], times[which], strict=True)
            ]
        lines.append(line)
    return lines


def _time(step: Step, calls: int, clock: Callable[[], float]) -> float:
    """Return the ms of one of some calls."""
    start = clock()
    for _ in range(calls):
        step()
    return 1e3 * (clock() - start) / calls


def _in_a_row(step: Step, calls: int, clock: Callable[[], float]) -> int:
    """Return how many steps fill 4 ms: at least 3, at most 12."""
    taken = min(_time(step, calls, clock) for _ in range(3)) * calls
    return max(3, min(12, round(4 / taken)))


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


def training(density: float, runs: int, pairs: int) -> list[Line]:
    """Return the lines of a training step of the network of SIZES at one density."""
    x, target = torch.randn(BATCH, SIZES[0]), torch.randint(0, SIZES[-1], (BATCH,))
    steps = {name: loop_step(dense_model(), torch.optim.SGD, x, target) for name in ("dense", "dense again")}
    models = [dg.MaskedDeepFFN(SIZES[0], SIZES[-1], SIZES[1:-1], density=density, seed=0) for _ in range(3)]
    storage = models[0].plan.parts[0].storage
    fast = train_step(models[2], "cross_entropy", SGD(models[2].parameters(), lr=0.01, momentum=0.9))
    steps[f"{storage}, torch's SGD"] = loop_step(models[0], torch.optim.SGD, x, target)
    steps[f"{storage}, dg.SGD"] = loop_step(models[1], SGD, x, target)
    steps[f"{storage}, dg.train_step"] = lambda: fast(x, target)
    return measure(steps, runs, pairs)


def inference(batch: int, runs: int, pairs: int, width: int = 1000, density: float = 0.05) -> list[Line]:
    """Return the lines of the forward pass of three layers at a small batch, with torch's CSR product."""
    x = torch.randn(batch, width)
    model = dg.MaskedDeepFFN(width, width, [width] * 2, density=density, storage="csr", seed=0)
    matrices = []
    for values in edge_values(model):
        src, dst = (torch.from_numpy(part.astype(np.int64)) for part in values.edge_set.pairs())
        dense = torch.zeros(width, width)
        dense[dst, src] = values.values()
        matrices.append(dense)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        sparse = [matrix.to_sparse_csr() for matrix in matrices]
    bias = torch.zeros(width)

    def dense_pass() -> None:
        y = x
        for k, matrix in enumerate(matrices):
            y = nn.functional.linear(y, matrix, bias)
            y = torch.relu(y) if k < 2 else y

    def csr_pass() -> None:
        y = x.t()
        for k, matrix in enumerate(sparse):
            y = matrix @ y + bias[:, None]
            y = torch.relu(y) if k < 2 else y

    steps: dict[str, Step] = {"dense": dense_pass, "dense again": dense_pass, "torch CSR": csr_pass}
    steps["csr"] = lambda: model(x)
    with torch.no_grad():
        return measure(steps, runs, pairs, calls=10)


def ring(nodes: int, degree: int, runs: int, pairs: int) -> list[Line]:
    """Return the lines of a training step of a small-world ring in stored order, which has as many layers as nodes."""
    drawn = nx.newman_watts_strogatz_graph(nodes, degree, 0.5, seed=0)
    ends = np.array(drawn.edges())
    graph = dg.CachedLayeredGraph.from_arrays(ends.min(1), ends.max(1), nodes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = dg.MaskedDeepDAN(784, 10, graph, seed=0)
    x, target = torch.randn(BATCH, 784), torch.randint(0, 10, (BATCH,))
    fast = train_step(model, "cross_entropy", SGD(model.parameters(), lr=1e-3, momentum=0.9))
    steps: dict[str, Step] = {}
    if nodes <= 300 and find_spec("deepstruct") is not None:
        steps["deepstruct"] = deepstruct_step(drawn, x, target)
    steps |= {"torch's SGD": loop_step(model, torch.optim.SGD, x, target), "dg.train_step": lambda: fast(x, target)}
    return measure(steps, runs, pairs)


def deepstruct_step(drawn: nx.Graph[int], x: Tensor, target: Tensor) -> Step:
    """Return a training step of deepstruct's network of the same ring."""
    from deepstruct.graph import CachedLayeredGraph  # type: ignore[import-not-found]
    from deepstruct.sparse import MaskedDeepDAN  # type: ignore[import-not-found]

    structure = CachedLayeredGraph()
    structure.add_edges_from(drawn.edges)
    structure.add_nodes_from(drawn.nodes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return loop_step(MaskedDeepDAN(784, 10, structure), torch.optim.SGD, x, target)


def peer(width: int, density: float, runs: int, pairs: int) -> list[Line]:
    """Return the lines of forward and backward of one layer, by sparselab and ours."""
    from sparselab.nn import SparseLinear  # type: ignore[import-not-found]

    x, seed = torch.randn(BATCH, width, requires_grad=True), torch.randn(BATCH, width)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        layers = {
            "sparselab": SparseLinear(width, width, sparsity=1 - density),
            "sparselab again": SparseLinear(width, width, sparsity=1 - density),
            **({"dense": nn.Linear(width, width)} if width <= 1000 else {}),
            "SparseLinear": dg.SparseLinear(width, width, density, storage="csr", seed=0),
        }

    def step(layer: nn.Module) -> None:
        layer.zero_grad()
        x.grad = None
        layer(x).backward(seed)

    return measure({name: lambda layer=layer: step(layer) for name, layer in layers.items()}, runs, pairs)  # type: ignore[misc]


def memory(width: int, density: float = 0.01, batch: int = 16) -> list[Line]:
    """Return a line with the resident memory that training one wide layer with Adam adds, per edge."""
    if not Path("/proc/self/statm").exists():
        return [{"name": "needs /proc"}]
    trim = getattr(ctypes.CDLL(None), "malloc_trim", lambda _: 0)

    def resident() -> int:
        trim(0)
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    def train(width: int) -> tuple[dg.SparseLinear, Adam]:
        layer = dg.SparseLinear(width, width, density, storage="csr", seed=0)
        optimizer, x = Adam(layer.parameters()), torch.randn(batch, width)
        for _ in range(3):
            optimizer.zero_grad()
            layer(x).square().mean().backward()
            optimizer.step()
        return layer, optimizer

    train(200)
    before = resident()
    layer, _optimizer = train(width)
    added, edges = resident() - before, layer.num_edges
    text = f"{added / 2**20:.0f} MB for {edges:,} edges, {added / edges:.1f} bytes each; dense"
    return [{"name": f"{text} needs {width * width * 16 / 2**20:,.0f} MB"}]


def rows(quick: bool) -> dict[str, tuple[str, Callable[[int, int], list[Line]]]]:
    """Return every row by its short name: its title, and what measures it in some runs of some pairs."""
    wide, long = (2048, (1000, 16)) if quick else (16384, (10_000, 16))
    found: dict[str, tuple[str, Callable[[int, int], list[Line]]]] = {
        "memory": (f"one layer {wide} x {wide} at 1% trained with Adam", lambda runs, pairs: memory(wide))
    }
    shape = "-".join(map(str, SIZES))
    for d in DENSITIES:
        title = f"training step, {shape}, batch {BATCH}, SGD with momentum, {d:.0%}"
        found[f"train{d:.0%}"] = title, lambda runs, pairs, d=d: training(d, runs, pairs)  # type: ignore[misc]
    for b in (1, 4, 16):
        title = f"inference, three layers 1000 wide, 5%, batch {b}"
        found[f"batch{b}"] = title, lambda runs, pairs, b=b: inference(b, runs, pairs)  # type: ignore[misc]
    for nodes, degree in ((300, 8), long):
        title = f"training step, ring {nodes:,}/{degree} in stored order with stem and head, batch {BATCH}"
        found[f"ring{nodes}"] = title, lambda runs, pairs, n=nodes, k=degree: ring(n, k, runs, pairs)  # type: ignore[misc]
    if find_spec("sparselab") is not None:
        for width in (1000,) if quick else (1000, 4096):
            for d in (0.01, 0.05, 0.1, 0.2):
                title = f"one layer {width} x {width}, {d:.0%}, forward and backward, batch {BATCH}"
                found[f"layer{width}-{d:.0%}"] = title, lambda runs, pairs, w=width, d=d: peer(w, d, runs, pairs)  # type: ignore[misc]
    return found


def show(results: dict[str, Any]) -> None:
    """Print the table of all rows that were measured."""
    print(results["machine"])
    for title, lines in results["rows"].items():
        print(f"\n{title}")
        if "warm" not in lines[0]:
            print(f"  {lines[0]['name']}")
            continue
        print(f"  {'':24s} {'ms':>8s} {'x ' + lines[0]['name']:>20s} {'with cold caches':>20s}")
        for line in lines:
            cells = [f"{statistics.median(r):.2f} ({min(r):.2f}-{max(r):.2f})" for r in (line["warm"], line["cold"])]
            print(f"  {line['name']:24s} {statistics.median(line['ms']):8.3f} {cells[0]:>20s} {cells[1]:>20s}")


def joined(known: list[Line], more: list[Line]) -> list[Line]:
    """Return lines with the runs of both."""
    kinds = ("ms", "warm", "cold")
    return [
        {**one, **{kind: one[kind] + other[kind] for kind in kinds if kind in one}}
        for one, other in zip(known, more, strict=True)
    ]


def main() -> None:
    """Measure the rows that were asked for, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("row", nargs="*", help="rows to measure, by the beginning of their names; default all")
    parser.add_argument("--quick", action="store_true", help="few pairs, small graphs")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=int, default=5, help="fewer than 5 are added to those in the file")
    parser.add_argument("--results", type=Path, help="JSON file that keeps what was measured")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    runs, pairs = (2, 3) if options.quick else (options.runs, 50)
    machine = f"{platform.processor() or platform.machine()}, torch {torch.__version__}"
    results: dict[str, Any] = {"machine": f"{machine}; runs of {pairs} pairs", "rows": {}}
    if options.results and options.results.exists():
        results = json.loads(options.results.read_text())
    threads = "" if options.threads == 1 else f", {options.threads} threads"
    for name, (title, run) in rows(options.quick).items():
        if not options.row or any(name.startswith(asked) for asked in options.row):
            known, found = results["rows"].get(title + threads), run(runs, pairs)
            again = known is not None and options.runs < 5 and len(known[0].get("ms", [0] * 5)) < 5
            results["rows"][title + threads] = joined(known, found) if again else found
    if options.results:
        options.results.write_text(json.dumps(results, indent=1))
    show(results)


if __name__ == "__main__":
    main()
