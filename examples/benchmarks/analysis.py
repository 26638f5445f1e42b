"""Reports and drawings of large graphs, measured here and now: `python examples/benchmarks/analysis.py [--quick]`.

A report without random graphs on 1 million edges, layered and as a small world whose edges skip stages, names at least
25 values within 10 s, one on 10 million edges within 2 minutes; a drawing of 1 million edges takes under 5 s and at
most 5,000 artists, and the counts of its blocks sum to the edges. One thread. Exit status 1 if a figure is missed.
`--quick` measures a hundredth of each and promises no times.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Callable, Iterator
from time import perf_counter

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import deepgraph as dg

WIDTHS = [784, 3000, 2000, 10]


def layered(edges: int) -> dg.CachedLayeredGraph:
    """Return a weighted layered network with about so many edges, its layers of the usual proportions."""
    widths = [max(2, round(width * (edges / 1e6) ** 0.5)) for width in WIDTHS]
    pairs = sum(a * b for a, b in itertools.pairwise(widths))
    graph = dg.priors.random_layered(widths, edges / pairs, seed=0)
    graph.set_column("weight", np.random.default_rng(0).standard_normal(graph.number_of_edges()))
    return graph


def small_world(edges: int) -> dg.CachedLayeredGraph:
    """Return a small world of 16 neighbours a node, directed at random."""
    return dg.priors.watts_strogatz(edges // 8, 16, 0.3, seed=0)


def report(
    name: str, make: Callable[[int], dg.CachedLayeredGraph], edges: int, limit: float
) -> Iterator[tuple[str, bool]]:
    """Measure one report: whether it is in time, and names values enough."""
    graph = make(edges)
    start = perf_counter()
    found = dg.analyse(graph, seed=0, progress=False)
    seconds = perf_counter() - start
    said = f"report on {graph.number_of_edges():,} edges, {name}: {seconds:.1f} s"
    yield f"{said} (wanted: under {limit:g} s)", seconds < limit
    held = f"{len(found)} values, {len(found.skipped)} named as not computed"
    yield f"{said}: {held} (wanted: at least 25 values)", len(found) >= 25


def drawing(edges: int) -> Iterator[tuple[str, bool]]:
    """Measure one drawing: time, artists, and whether the counts of its blocks are all edges."""
    graph = layered(edges)
    start = perf_counter()
    figure = Figure(figsize=(8, 4.8), layout="constrained")
    FigureCanvasAgg(figure)
    dg.draw(graph, figure.add_subplot())
    figure.canvas.draw()
    seconds = perf_counter() - start
    artists, counted = len(figure.findobj()), int(dg.plotting.block_counts(graph).counts.sum())
    said = f"drawing of {graph.number_of_edges():,} edges"
    yield f"{said}: {seconds:.2f} s (wanted: under 5 s)", seconds < 5
    yield f"{said}: {artists:,} artists (wanted: at most 5,000)", artists <= 5000
    yield f"{said}: its blocks count {counted:,} edges", counted == graph.number_of_edges()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a hundredth of the edges and no promise of times")
    quick = parser.parse_args().quick
    million = 10_000 if quick else 1_000_000
    missed = 0
    for lines in (
        drawing(million),
        report("layered", layered, million, 10),
        report("small world", small_world, million, 10),
        report("layered", layered, 10 * million, 120),
    ):
        for text, met in lines:
            print(f"{'pass' if met else 'quick' if quick and ' s (' in text else 'FAIL'}  {text}", flush=True)
            missed += not met
    return 0 if quick or not missed else 1


if __name__ == "__main__":
    sys.exit(main())
