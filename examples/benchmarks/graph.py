"""What graphs of millions of edges cost, measured here and now: `python examples/benchmarks/graph.py [--quick]`.

A table of bytes an edge, building, layers, editing 1 %, copies, nulls and files at 1, 10 and 50 million edges, beside
plain networkx at 1 million and rustworkx where it is installed; the layers of a chain of a million nodes; and what a
graph of a million edges holds after 20 algorithms of networkx, by tracemalloc. Each in a process of its own. Exit
status 1 if a promised figure is missed. `--quick` measures a hundredth of each and promises nothing; `--write FILE`
puts the table into a page of Markdown; `--keep FILE` lets an interrupted run go on.
"""

from __future__ import annotations

import argparse
import copy
import gc
import json
import os
import pickle
import platform
import resource
import subprocess
import sys
import tempfile
import tracemalloc
from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import Any

import networkx as nx
import numpy as np

from deepgraph.graph import CachedLayeredGraph
from deepgraph.graph.arrays import find
from deepgraph.graph.nulls import null_degree

DEGREE = 100


def edges_of(count: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Return sorted edges `(src, dst)` of a layered graph with 100 edges a node, and the number of its nodes."""
    width = width_of(count)
    sources, step = count // DEGREE, width // DEGREE
    rng = np.random.default_rng(0)
    src = np.repeat(np.arange(sources, dtype=np.int32), DEGREE)
    # One target in each of 100 equal parts of the next layer: distinct and sorted at once.
    dst = rng.integers(0, step, count, dtype=np.int32)
    dst += np.tile(np.arange(DEGREE, dtype=np.int32) * np.int32(step), sources)
    dst += (src // width + 1) * np.int32(width)
    return src, dst, (sources - 1) // width * width + 2 * width


def width_of(count: int) -> int:
    """Return the number of nodes in a layer."""
    return 1000 if count >= 200_000 else 200


def seconds(work: Callable[[], Any]) -> float:
    """Return how long a call takes."""
    start = perf_counter()
    work()
    return perf_counter() - start


def edit_of(src: np.ndarray, dst: np.ndarray, nodes: int) -> tuple[Any, Any]:
    """Return 1 % of the edges, and as many new ones: each to the place of the old target in the next layer but one."""
    count = len(src)
    rng = np.random.default_rng(1)
    gone = np.sort(rng.choice(count, count // 100, replace=False))
    keys = np.unique(src[gone].astype(np.int64) * nodes + np.minimum(dst[gone] + width_of(count), nodes - 1))
    u, v = (keys // nodes).astype(np.int32), (keys % nodes).astype(np.int32)
    indptr = np.searchsorted(src, np.arange(nodes + 1))
    new = find(indptr, dst, u, v) < 0
    return (src[gone], dst[gone]), (u[new], v[new])


def first_edit() -> float:
    """Return how long the first edit of the process takes: it imports numba and loads its compiled loops."""
    src, dst, nodes = edges_of(200_000)
    g = CachedLayeredGraph.from_arrays(src, dst, nodes, weight=np.ones(len(src), np.float32))
    drop, grow = edit_of(src, dst, nodes)
    g.layer_array()
    return seconds(lambda: (g.edit(drop=drop, grow=grow), g.layer_array()))


def measure_arrays(count: int) -> dict[str, float]:
    src, dst, nodes = edges_of(count)
    weight = np.ones(count, np.float32)
    result = {"first edit of a process": first_edit()}
    held: dict[str, Any] = {}
    result["build, sorted"] = seconds(
        lambda: held.update(g=CachedLayeredGraph.from_arrays(src, dst, nodes, weight=weight))
    )
    g = held.pop("g")
    result["bytes/edge"] = g.nbytes / count
    result["layers"] = seconds(g.layer_array)
    drop, grow = edit_of(src, dst, nodes)
    result["1 % edit"] = seconds(lambda: (g.edit(drop=drop, grow=grow), g.layer_array()))
    result["its undo"] = seconds(lambda: (g.undo(), g.layer_array()))
    result["copy"] = seconds(g.copy)
    result["to scipy CSR"] = seconds(lambda: g.to_scipy("weight"))
    result["both directions"] = seconds(g.csc)
    result["bytes/edge, both directions"] = g.nbytes / count
    result["reverse"] = seconds(g.reverse)
    result["deepcopy"] = seconds(lambda: copy.deepcopy(g))
    result["half as subgraph"] = seconds(lambda: g.subgraph(range(nodes // 2)).copy())
    result["relabel"] = seconds(lambda: g.relabel(str))
    with tempfile.TemporaryDirectory() as folder:
        result["save"] = seconds(lambda: g.save(f"{folder}/g.dg"))
        result["load and check"] = seconds(lambda: CachedLayeredGraph.load(f"{folder}/g.dg"))
    result["peak GB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return result


def measure_more(count: int) -> dict[str, float]:
    src, dst, nodes = edges_of(count)
    g = CachedLayeredGraph.from_arrays(src, dst, nodes, weight=np.ones(count, np.float32))
    result = {"pickle": seconds(lambda: pickle.loads(pickle.dumps(g, 5)))}
    if count <= 10_000_000:
        order = np.random.default_rng(1).permutation(count)
        mixed = src[order], dst[order]
        result["build, unsorted"] = seconds(lambda: CachedLayeredGraph.from_arrays(*mixed, nodes))
    if count <= 1_000_000:
        null_degree(CachedLayeredGraph.from_arrays([0, 1], [2, 3]), seed=0)
        result["null, 10 swaps/edge"] = seconds(lambda: null_degree(g, seed=0))
    return result


def measure_networkx(count: int) -> dict[str, float]:
    src, dst, nodes = edges_of(count)
    triples = list(zip(src.tolist(), dst.tolist(), np.ones(count).tolist(), strict=True))
    g: nx.DiGraph[int] = nx.DiGraph()
    g.add_nodes_from(range(nodes))
    tracemalloc.start()
    g.add_weighted_edges_from(triples)
    result = {"bytes/edge, both directions": tracemalloc.get_traced_memory()[0] / count}
    tracemalloc.stop()
    result["build, sorted"] = seconds(lambda: nx.DiGraph().add_weighted_edges_from(triples))
    result["layers"] = seconds(lambda: list(nx.topological_generations(g)))
    drop, grow = [list(zip(*(end.tolist() for end in ends), strict=True)) for ends in edit_of(src, dst, nodes)]

    def edit() -> None:
        g.remove_edges_from(drop)
        g.add_edges_from(grow, weight=0.0)
        list(nx.topological_generations(g))

    result["1 % edit"] = seconds(edit)
    result["copy"] = seconds(g.copy)
    result["to scipy CSR"] = seconds(lambda: nx.to_scipy_sparse_array(g))
    result["reverse"] = seconds(g.reverse)
    result["deepcopy"] = seconds(lambda: copy.deepcopy(g))
    result["half as subgraph"] = seconds(lambda: g.subgraph(range(nodes // 2)).copy())
    result["relabel"] = seconds(lambda: nx.relabel_nodes(g, str))
    result["pickle"] = seconds(lambda: pickle.loads(pickle.dumps(g, 5)))
    result["peak GB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return result


def resident() -> int:
    """Return how much memory this process holds now, bytes; where the system does not tell, the most that it held."""
    pages = Path("/proc/self/statm")
    if pages.exists():
        return int(pages.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure_rustworkx(count: int) -> dict[str, float]:
    import rustworkx

    src, dst, nodes = edges_of(count)
    triples = list(zip(src.tolist(), dst.tolist(), [1.0] * count, strict=True))
    (a, b), (u, v) = edit_of(src, dst, nodes)
    drop, grow = list(zip(a.tolist(), b.tolist(), strict=True)), list(zip(u.tolist(), v.tolist(), strict=True))
    before = resident()
    g = rustworkx.PyDiGraph()
    g.add_nodes_from(range(nodes))
    result = {"build, sorted": seconds(lambda: g.add_edges_from(triples))}
    # It counts no bytes of its own, so this is by how much the process grew.
    result["bytes/edge, both directions"] = (resident() - before) / count
    result["layers"] = seconds(lambda: list(rustworkx.topological_generations(g)))

    def edit() -> None:
        g.remove_edges_from(drop)
        g.add_edges_from_no_data(grow)
        list(rustworkx.topological_generations(g))

    result["1 % edit"] = seconds(edit)
    result["copy"] = seconds(g.copy)
    result["half as subgraph"] = seconds(lambda: g.subgraph(list(range(nodes // 2))))
    result["pickle"] = seconds(lambda: pickle.loads(pickle.dumps(g, 5)))
    result["peak GB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return result


def measure_chain(count: int) -> dict[str, float]:
    ids = np.arange(count, dtype=np.int32)
    g = CachedLayeredGraph.from_arrays(ids[:-1], ids[1:], count)
    return {"layers": seconds(g.layer_array), "1 edge": seconds(lambda: g.edit(drop=([count - 9], [count - 8])))}


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
    for work in ALGORITHMS.values():
        work(g)
    gc.collect()
    return {
        "bytes/edge before": before,
        "bytes/edge after": tracemalloc.get_traced_memory()[0] / count,
        "algorithms": len(ALGORITHMS),
    }


MEASURES: dict[str, Callable[[int], dict[str, float]]] = {
    "arrays": measure_arrays,
    "more": measure_more,
    "chain": measure_chain,
    "held": measure_held,
    "networkx": measure_networkx,
    "rustworkx": measure_rustworkx,
}

PROMISED: dict[tuple[str, int], dict[str, float]] = {
    ("arrays", 10_000_000): {
        "bytes/edge": 9,
        "bytes/edge, both directions": 17.5,
        "build, sorted": 0.2,
        "layers": 0.1,
        "1 % edit": 0.3,
    },
    ("arrays", 50_000_000): {"peak GB": 4},
    ("more", 1_000_000): {"null, 10 swaps/edge": 10},
    ("chain", 1_000_000): {"layers": 1},
    ("held", 1_000_000): {"bytes/edge after": 20},
}
"""What each figure must stay under."""


def machine() -> str:
    """Return the machine and the versions in words."""
    cpus = Path("/proc/cpuinfo")
    names = (
        [line.split(":")[1].strip() for line in cpus.read_text().splitlines() if line.startswith("model name")]
        if cpus.exists()
        else []
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    packages = ", ".join(f"{name} {version(name)}" for name in ("numpy", "networkx", "rustworkx") if find_spec(name))
    return (
        f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores, {memory:.0f} GB, {platform.system()}, "
        f"Python {platform.python_version()}, {packages}"
    )


def table(found: dict[tuple[str, int], dict[str, float]]) -> list[list[str]]:
    """Return the rows of the table, the head first: a measure a row, a graph a column."""
    counts = sorted({count for kind, count in found if kind in ("arrays", "more")})
    columns = {f"deepgraph {size_word(count)}": [("arrays", count), ("more", count)] for count in counts}
    columns |= {f"{kind} {size_word(count)}": [(kind, count)] for kind, count in found if kind.endswith("workx")}
    figures = {
        head: {name: value for key in keys for name, value in found.get(key, {}).items()}
        for head, keys in columns.items()
    }
    names = list(dict.fromkeys(name for own in figures.values() for name in own))
    names.sort(key=lambda name: ("GB" in name, "bytes" not in name))
    rows = [["", *columns]]
    for name in names:
        unit = "" if "bytes" in name or "GB" in name else ", s"
        cells = [figure(own[name]) if name in own else "" for own in figures.values()]
        rows.append([name + unit, *cells])
    return rows


def figure(value: float) -> str:
    """Return a number as text for a column: what is under a thousandth is nothing there."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.3f}"


def size_word(count: int) -> str:
    """Return a number of edges as a head of a column has it."""
    return f"{count // 10**6} M" if count >= 10**6 else f"{count:,}"


def shown(rows: list[list[str]], bar: str = "  ", ends: str = "") -> list[str]:
    """Return the rows of a table as lines, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [bar.join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows]
    rule = bar.join(["-" * widths[0], *("-" * (w - bool(ends)) + (":" if ends else "") for w in widths[1:])])
    return [f"{ends}{line}{ends[::-1]}" for line in [lines[0], rule, *lines[1:]]]


def sentences(found: dict[tuple[str, int], dict[str, float]]) -> list[str]:
    """Return what stands in no table, a sentence each."""
    result = []
    for (kind, count), own in found.items():
        if kind == "chain":
            result.append(
                f"A chain of {count:,} nodes gets its layers in {own['layers']:.2f} s; dropping an edge near its end "
                f"and the new layers take {own['1 edge']:.3f} s."
            )
        if kind == "held":
            result.append(
                f"A graph of {count:,} edges with both directions indexed holds {own['bytes/edge before']:.1f} bytes "
                f"an edge before and {own['bytes/edge after']:.1f} after {own['algorithms']:.0f} algorithms of "
                f"networkx were called on it, by tracemalloc in the same run."
            )
    return result


def page(found: dict[tuple[str, int], dict[str, float]]) -> str:
    """Return the page of the documentation."""
    parts = [
        "# What graphs cost",
        "A layered graph with 100 edges a node and one float32 weight an edge, beside networkx and rustworkx with the",
        "same edges. A 1 % edit drops and grows 1 % of the edges and includes the new layers. The first edit of a",
        "process, here 1 % of 200,000 edges, loads numba. Measured by",
        "`python examples/benchmarks/graph.py --write docs/graph-costs.md`, each graph in a process of its own, on",
        f"{machine()}.",
        "",
        *shown(table(found), " | ", "| "),
        "",
        *[line + "\n" for line in sentences(found)],
        "The bytes of rustworkx are by how much its process grew; the others count their arrays and objects. networkx",
        "has no layer index of its own: there, `topological_generations` is measured.",
    ]
    return "\n".join([parts[0], "", *parts[1:]]) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a hundredth of each size and no promise")
    parser.add_argument("--only", choices=MEASURES, nargs="+", help="some kinds of measure")
    parser.add_argument("--keep", metavar="FILE", help="figures in this JSON file stand; others are added to it")
    parser.add_argument("--write", metavar="FILE", help="a page of Markdown with the table")
    parser.add_argument("--one", nargs=2, metavar=("KIND", "COUNT"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(MEASURES[given.one[0]](int(given.one[1]))))
        return 0
    million = 10_000 if given.quick else 1_000_000
    plan = [(kind, size * million) for size in (1, 10, 50) for kind in ("arrays", "more")]
    plan += [("networkx", million), *([("rustworkx", million)] if find_spec("rustworkx") else [])]
    plan += [("chain", million), ("held", million)]
    kept = Path(given.keep) if given.keep else None
    saved = json.loads(kept.read_text()) if kept is not None and kept.exists() else []
    found = {(kind, count): own for kind, count, own in saved}
    for kind, count in plan:
        if (given.only and kind not in given.only) or (kind, count) in found:
            continue
        print(f"{kind}, {count:,} ...", file=sys.stderr, flush=True)
        command = [sys.executable, __file__, "--one", kind, str(count)]
        answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        found[kind, count] = json.loads(answer)
        if kept is not None:
            kept.write_text(json.dumps([[*key, own] for key, own in found.items()]))
    print("\n".join([machine(), "", *shown(table(found)), "", *sentences(found), ""]))
    missed = 0
    for key, limits in PROMISED.items():
        for name, limit in limits.items():
            if key in found:
                value = found[key][name]
                missed += value >= limit
                print(f"{'pass' if value < limit else 'FAIL'}  {key[1]:,} {name}: {value:.3g}, wanted under {limit}")
    if given.write:
        Path(given.write).write_text(page(found))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
