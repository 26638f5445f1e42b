"""Sparse convolutions against torch's dense ones: forward and backward, by shape and density.

    python examples/benchmarks/convolution.py [--quick] [--threads 1]

Protocol: dense, sparse and "dense again" take turns, in an order that changes direction every round; every ratio is
dense time over sparse time, median over rounds with quartiles. "auto" is what storage="auto" takes.
"""

from __future__ import annotations

import argparse
import platform
from collections.abc import Callable

import torch
from torch import nn

import deepgraph as dg
from deepgraph.demo.summary import text_table
from deepgraph.demo.timing import interleave, threads

SHAPES = {
    "3 to 32, 5 x 5, images 28 x 28": (3, 32, 5, 0, 1, 1, 28),
    "64 to 64, 3 x 3, images 32 x 32": (64, 64, 3, 1, 1, 1, 32),
    "128 to 128, 3 x 3, images 16 x 16": (128, 128, 3, 1, 1, 1, 16),
    "256 to 512, 3 x 3, stride 2, images 8 x 8": (256, 512, 3, 1, 2, 1, 8),
    "512 to 512, 3 x 3, images 4 x 4": (512, 512, 3, 1, 1, 1, 4),
    "256 to 256, 1 x 1, images 14 x 14": (256, 256, 1, 0, 1, 1, 14),
    "64 depthwise, 3 x 3, images 32 x 32": (64, 64, 3, 1, 1, 64, 32),
}
DENSITIES = (0.01, 0.05, 0.1, 0.2)


def step(module: nn.Module, x: torch.Tensor) -> Callable[[], None]:
    """Return a forward and a backward pass."""

    def run() -> None:
        module.zero_grad()
        module(x).sum().backward()

    return run


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few rounds, a small batch")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    batch, rounds = (4, 3) if options.quick else (32, 9)
    rows = []
    with threads(options.threads):
        for name, (into, out, kernel, padding, stride, groups, size) in SHAPES.items():
            x = torch.randn(batch, into, size, size, requires_grad=True)
            dense = nn.Conv2d(into, out, kernel, stride, padding, groups=groups)
            steps = {"dense": step(dense, x), "dense again": step(dense, x)}
            chosen = []
            for density in DENSITIES:
                arguments = (into, out, kernel, density, stride, padding, 1, groups)
                steps[f"{density:g}"] = step(dg.SparseConv2d(*arguments, storage="csr", seed=0), x)
                chosen.append(dg.SparseConv2d(*arguments, seed=0).layer.storage)
            times = interleave(steps, rounds=rounds, warmup=1, progress=name)
            cells = [times.ratio("dense", f"{density:g}") for density in DENSITIES]
            told = [f"{c.value:.1f} ({c.low:.1f}-{c.high:.1f}) {s}" for c, s in zip(cells, chosen, strict=True)]
            check = times.ratio("dense", "dense again").value
            rows.append([name, f"{times.milliseconds('dense'):.1f}", f"{check:.2f}", *told])
    print(f"{platform.machine()}, torch {torch.__version__}, {options.threads} thread(s), batch {batch}: forward and")
    print("backward, dense time over csr time (quartiles), and the storage that auto takes\n")
    head = ["channels, kernel, images", "dense, ms", "dense/dense", *(f"{density:.0%}" for density in DENSITIES)]
    print(text_table(head, rows))


if __name__ == "__main__":
    main()
