"""Time and memory of extraction, each in a process of its own: MLP and MNIST CNN at order 0, MiniLM at order 1.

Models that are not in the cache, and deepstruct where it is not installed, are left out with a word. Exit status 1 if a
promised figure is missed: the MLP in 1 s, the CNN in 30 s and 4 GB, MiniLM in 60 s and 4 GB.

    python examples/benchmarks/extraction.py [--quick] [--only NAME]
"""

from __future__ import annotations

import argparse
import importlib.util
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import real_models
import torch
from torch import Tensor, nn

from deepgraph.transform import estimate, extract

Case = tuple[Callable[[], nn.Module], Callable[[], Tensor], int]


def mlp() -> nn.Module:
    """Return the MLP 784-300-100-10."""
    return nn.Sequential(nn.Linear(784, 300), nn.ReLU(), nn.Linear(300, 100), nn.ReLU(), nn.Linear(100, 10))


CASES: dict[str, Case] = {
    "MLP 784-300-100-10": (mlp, lambda: torch.randn(1, 784), 0),
    "8 torchani MLPs": (real_models.torchani_ensemble, lambda: torch.randn(1, 384), 0),
    "MNIST CNN": (real_models.mnist_cnn, lambda: torch.rand(1, 1, 28, 28), 0),
    "MNIST CNN, channels": (real_models.mnist_cnn, lambda: torch.rand(1, 1, 28, 28), 1),
    "MiniLM, 16 tokens": (real_models.minilm, lambda: torch.randint(1000, 30000, (1, 16)), 1),
    "MiniLM, 128 tokens": (real_models.minilm, lambda: torch.randint(1000, 30000, (1, 128)), 1),
}
PROMISED: dict[str, tuple[float, float]] = {
    "MLP 784-300-100-10": (1, 4), "MNIST CNN": (30, 4), "MiniLM, 16 tokens": (60, 4), "MiniLM, 128 tokens": (60, 4),
}  # fmt: skip
"""Seconds and GB."""
QUICK = ("MLP 784-300-100-10", "MNIST CNN, channels")
DEEPSTRUCT = "deepstruct's GraphTransform, same MLP"


def peak() -> float:
    """Return the peak memory of this process, GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def timed(run: Callable[[], Any]) -> tuple[Any, float]:
    """Return what a function returns, and the seconds that it took."""
    start = time.perf_counter()
    return run(), time.perf_counter() - start


def measure(name: str) -> tuple[str, bool]:
    """Return a line of the table, and whether it keeps what is promised."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    if name == DEEPSTRUCT:
        return deepstruct_line(), True
    make, sample, order = CASES[name]
    try:
        model, x = make(), sample()
    except (FileNotFoundError, ImportError) as error:
        return f"{name:38} left out: {error}", True
    extract(nn.Linear(2, 2), torch.randn(1, 2))
    idle = peak()
    size, guessed = timed(lambda: estimate(model, x, order=order))
    graph, taken = timed(lambda: extract(model, x, order=order))
    most = PROMISED.get(name, (float("inf"), float("inf")))
    line = (
        f"{name:38} {order:5} {len(graph):10,} {graph.number_of_edges():12,} {taken:8.2f} {peak():8.2f} {idle:8.2f} "
        f"{guessed:10.3f} {size.edges:12,} {graph.nbytes / 2**20:9.1f}"
    )
    return line, taken <= most[0] and peak() <= most[1]


def deepstruct_line() -> str:
    """Return the line of the system that this one replaces."""
    if importlib.util.find_spec("deepstruct") is None:
        return f"{DEEPSTRUCT:38} left out: pip install deepstruct"
    transform = importlib.import_module("deepstruct.transform")
    idle = peak()
    graph, taken = timed(lambda: transform.GraphTransform(torch.randn(1, 784)).transform(mlp()))
    return (
        f"{DEEPSTRUCT:38} {0:5} {len(graph):10,} {graph.number_of_edges():12,} {taken:8.2f} {peak():8.2f} {idle:8.2f}"
    )


def main() -> int:
    """Print the table; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small models only")
    parser.add_argument("--only", metavar="NAME", help="one line of the table")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        line, kept = measure(options.case)
        print(line, flush=True)
        return 0 if kept else 1
    columns = ("order", 5), ("nodes", 10), ("edges", 12), ("seconds", 8), ("peak GB", 8), ("idle GB", 8)
    more = ("estimate s", 10), ("estimated", 12), ("graph MiB", 9)
    print(" " * 38, *(f"{name:>{width}}" for name, width in (*columns, *more)), flush=True)
    missed = []
    for name in [options.only] if options.only else QUICK if options.quick else (*CASES, DEEPSTRUCT):
        done = subprocess.run([sys.executable, __file__, "--case", name], check=False, stderr=subprocess.DEVNULL)
        if done.returncode:
            missed.append(name)
    print(f"missed: {', '.join(missed)}" if missed else "all promised figures are kept")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
