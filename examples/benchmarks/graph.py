"""Graphs of millions of edges, measured here and now: `python examples/benchmarks/graph.py [--quick]`.

Bytes an edge, building, layers, editing 1 % and copying at 1, 10 and 50 million edges, beside plain networkx at 1
million and rustworkx where it is installed; the layers of a chain of a million nodes; and what a graph of a million
edges holds after 20 algorithms of networkx, by tracemalloc. Each in a process of its own. Exit status 1 if a promised
figure is missed. `--quick` measures a hundredth of each and promises nothing.
"""

from __future__ import annotations

import argparse
import gc
import json
import resource
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from importlib.util import find_spec
from time import perf_counter
from typing import Any

import networkx as nx
import numpy as np

from deepgraph.graph import CachedLayeredGraph

DEGREE = 100


def edges_of(count: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Return sorted edges `(src, dst)` of a layered graph with 100 edges a node, and the number of its nodes."""
    width = 1000 if count >= 200_000 else 200
    sources, step = count // DEGREE, width // DEGREE
    rng = np.random.default_rng(0)
    src = np.repeat(np.arange(sources, dtype=np.int32), DEGREE)
    # One target in each of 100 equal parts of the next layer: distinct and sorted at once.
    dst = rng.integers(0, step, count, dtype=np.int32)
    dst += np.tile(np.arange(DEGREE, dtype=np.int32) * np.int32(step), sources)
    dst += (src // width + 1) * np.int32(width)
    return src, dst, (sources - 1) // width * width + 2 * width


def seconds(work: Callable[[], Any]) -> float:
    start = perf_counter()
    work()
    return perf_counter() - start


def measure_arrays(count: int) -> dict[str, float]:
    src, dst, nodes = edges_of(count)
    weight = np.ones(count, np.float32)
    base = CachedLayeredGraph.from_arrays([0], [1])
    base.layer_array()
    held: dict[str, Any] = {}
    result = {
        "build sorted": seconds(lambda: held.update(g=CachedLayeredGraph.from_arrays(src, dst, nodes, weight=weight)))
    }
    g = held.pop("g")
    result["bytes/edge"] = g.nbytes / count
    result["layers"] = seconds(g.layer_array)
    result["copy"] = seconds(g.copy)
    rng = np.random.default_rng(1)
    gone = np.sort(rng.choice(count, count // 100, replace=False))
    # Each dropped edge comes back with another target of the layer after next, so that layers stay in order.
    ends = src[gone], np.minimum(dst[gone] + (1000 if count >= 200_000 else 200), nodes - 1)
    keys = np.unique(ends[0].astype(np.int64) * nodes + ends[1])
    grow = (keys // nodes).astype(np.int32), (keys % nodes).astype(np.int32)
    grow = tuple(end[~np.array(present(g, *grow))] for end in grow)
    drop = src[gone], dst[gone]

    def edit() -> None:
        g.edit(drop=drop, grow=grow)
        g.layer_array()

    result["1 % edit with layers"] = seconds(edit)
    g.undo()
    result["both directions"] = seconds(g.csc)
    result["bytes/edge, both directions"] = g.nbytes / count
    if count <= 10_000_000:
        order = rng.permutation(count)
        mixed = src[order], dst[order], weight[order]
        result["build unsorted"] = seconds(lambda: CachedLayeredGraph.from_arrays(*mixed[:2], nodes, weight=mixed[2]))
    result["peak GB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return result


def present(g: CachedLayeredGraph, src: np.ndarray, dst: np.ndarray) -> np.ndarray:
    """Return for each pair whether it is an edge."""
    from deepgraph.graph.arrays import find

    return find(*g.csr(), src, dst) >= 0


def measure_networkx(count: int) -> dict[str, float]:
    src, dst, nodes = edges_of(count)
    g = nx.DiGraph()
    g.add_nodes_from(range(nodes))
    tracemalloc.start()
    g.add_weighted_edges_from(zip(src.tolist(), dst.tolist(), np.ones(count).tolist(), strict=True))
    result = {"bytes/edge": tracemalloc.get_traced_memory()[0] / count}
    tracemalloc.stop()
    result["layers"] = seconds(lambda: list(nx.topological_generations(g)))
    result["copy"] = seconds(g.copy)
    return result


def measure_rustworkx(count: int) -> dict[str, float]:
    import rustworkx

    src, dst, nodes = edges_of(count)
    g = rustworkx.PyDiGraph()
    g.add_nodes_from(range(nodes))
    triples = list(zip(src.tolist(), dst.tolist(), [1.0] * count, strict=True))
    return {
        "build": seconds(lambda: g.add_edges_from(triples)),
        "layers": seconds(lambda: list(rustworkx.topological_generations(g))),
        "copy": seconds(g.copy),
    }


def measure_chain(count: int) -> dict[str, float]:
    ids = np.arange(count, dtype=np.int32)
    g = CachedLayeredGraph.from_arrays(ids[:-1], ids[1:], count)
    return {"layers": seconds(g.layer_array)}


ALGORITHMS: dict[str, Callable[[Any], Any]] = {
    "is_directed_acyclic_graph": nx.is_directed_acyclic_graph,
    "topological_sort": lambda g: sum(1 for _ in nx.topological_sort(g)),
    "topological_generations": lambda g: sum(1 for _ in nx.topological_generations(g)),
    "dag_longest_path": nx.dag_longest_path,
    "descendants": lambda g: len(nx.descendants(g, 0)),
    "ancestors": lambda g: len(nx.ancestors(g, len(g) - 1)),
    "weakly_connected_components": lambda g: sum(1 for _ in nx.weakly_connected_components(g)),
    "strongly_connected_components": lambda g: sum(1 for _ in nx.strongly_connected_components(g)),
    "density": nx.density,
    "in_degree_centrality": nx.in_degree_centrality,
    "out_degree_centrality": nx.out_degree_centrality,
    "bfs_edges": lambda g: sum(1 for _ in nx.bfs_edges(g, 0)),
    "dfs_preorder_nodes": lambda g: sum(1 for _ in nx.dfs_preorder_nodes(g, 0)),
    "single_source_shortest_path_length": lambda g: len(dict(nx.single_source_shortest_path_length(g, 0))),
    "single_source_dijkstra_path_length": lambda g: len(nx.single_source_dijkstra_path_length(g, 0)),
    "has_path": lambda g: nx.has_path(g, 0, len(g) - 1),
    "pagerank": nx.pagerank,
    "degree_histogram": nx.degree_histogram,
    "reciprocity": nx.overall_reciprocity,
    "number_of_selfloops": nx.number_of_selfloops,
}


def measure_held(count: int) -> dict[str, float]:
    src, dst, nodes = edges_of(count)
    for work in ALGORITHMS.values():
        # What networkx imports and caches at the first call is not the graph's.
        work(CachedLayeredGraph.from_arrays([0, 1], [1, 2], weight=np.ones(2, np.float32)))
    gc.collect()
    tracemalloc.start()
    g = CachedLayeredGraph.from_arrays(src, dst, nodes, weight=np.ones(count, np.float32))
    g.csc()
    before = tracemalloc.get_traced_memory()[0] / count
    took = seconds(lambda: [work(g) and None for work in ALGORITHMS.values()])
    gc.collect()
    return {
        "bytes/edge before": before,
        "bytes/edge after": tracemalloc.get_traced_memory()[0] / count,
        "algorithms": len(ALGORITHMS),
        "seconds": took,
    }


MEASURES = {
    "arrays": measure_arrays,
    "chain": measure_chain,
    "held": measure_held,
    "networkx": measure_networkx,
    "rustworkx": measure_rustworkx,
}

PROMISED = {
    ("arrays", 10_000_000): {
        "bytes/edge": 9,
        "bytes/edge, both directions": 17.5,
        "build sorted": 0.2,
        "layers": 0.1,
        "1 % edit with layers": 0.3,
    },
    ("arrays", 50_000_000): {"peak GB": 4},
    ("chain", 1_000_000): {"layers": 1},
    ("held", 1_000_000): {"bytes/edge after": 20},
}
"""What each figure must stay under."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a hundredth of each size and no promise")
    parser.add_argument("--only", choices=MEASURES, help="one kind of measure")
    parser.add_argument("--one", nargs=2, metavar=("KIND", "COUNT"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(MEASURES[given.one[0]](int(given.one[1]))))
        return 0
    million = 10_000 if given.quick else 1_000_000
    plan = [("arrays", million), ("arrays", 10 * million), ("arrays", 50 * million), ("networkx", million)]
    plan += [("rustworkx", million)] if find_spec("rustworkx") else []
    plan += [("chain", million), ("held", million)]
    missed = 0
    for kind, count in plan:
        if given.only not in (None, kind):
            continue
        command = [sys.executable, __file__, "--one", kind, str(count)]
        found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
        print(f"{kind}, {count:,} {'nodes' if kind == 'chain' else 'edges'}", flush=True)
        for name, value in found.items():
            limit = PROMISED.get((kind, count), {}).get(name)
            verdict = "" if limit is None else f"  {'pass' if value < limit else 'FAIL'} (wanted: under {limit})"
            missed += limit is not None and value >= limit
            print(f"    {name:32} {value:10.3f}{verdict}", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
