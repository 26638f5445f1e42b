"""Published numbers: relational graphs, and what random pruning leaves connected."""

from __future__ import annotations

import itertools
import random

import networkx as nx
import numpy as np
import pytest

from deepgraph import analysis
from deepgraph.analysis import EdgeArrays
from deepgraph.priors import edge_counts


def arrays(graph: nx.Graph) -> EdgeArrays:
    """Return the arrays of a networkx graph on 0..N-1, every edge pointing up."""
    ends = np.sort(np.array(graph.edges, dtype=np.int64), axis=1)
    return EdgeArrays.from_arrays(ends[:, 0], ends[:, 1], graph.number_of_nodes())


def ring_rewired(size: int, density: float, share: float, seed: int) -> nx.Graph:
    """Return the WS-flex graph: a ring with size * density / 2 edges per node on average, each rewired by chance."""
    rng = random.Random(seed)
    per_node, extra = divmod(round(size * density * size / 2), size)
    ahead = [[(u + step) % size for step in range(1, per_node + 1 + (u < extra))] for u in range(size)]
    graph = nx.Graph((u, v) for u in range(size) for v in ahead[u])
    nodes = list(range(size))
    for u in range(size):
        for v in ahead[u]:
            if rng.random() < share:
                w = rng.choice(nodes)
                while w == u or graph.has_edge(u, w):
                    w = rng.choice(nodes)
                graph.remove_edge(u, v)
                graph.add_edge(u, w)
    return graph


@pytest.mark.parametrize(
    ("density", "share", "seed", "clustering", "length"),
    [(0.128, 0.1281, 4, 0.4485, 2.479), (0.1295, 0.339, 12, 0.301, 2.291), (0.133, 0.0, 24, 0.651, 4.245)],
)
def test_published_clustering_and_path_length_of_relational_graphs(density, share, seed, clustering, length):
    view = arrays(ring_rewired(64, density, share, seed))
    assert analysis.clustering(view) == pytest.approx(clustering, abs=6e-4)
    assert analysis.path_length_mean(view) == pytest.approx(length, abs=6e-4)


@pytest.mark.parametrize(("kind", "compression"), [("uniform", 1140), ("erk", 116), ("igq", 102)])
def test_published_effective_compression_of_random_pruning(kind, compression):
    sizes = [784, 300, 100, 10]  # LeNet 300-100, one weight in a hundred
    shapes = [(width, height) for height, width in itertools.pairwise(sizes)]
    area = [height * width for height, width in shapes]
    counts = edge_counts(shapes, 0.01, kind)
    rng, offset = np.random.default_rng(0), np.cumsum([0, *sizes])
    stage, nodes = np.repeat(np.arange(4), sizes), np.arange(offset[-1])
    effective = []
    for _ in range(60 if kind == "uniform" else 10):
        keys = [rng.choice(a, count, replace=False) for a, count in zip(area, counts, strict=True)]
        ends = [np.divmod(key, width) for key, width in zip(keys, sizes[1:], strict=True)]
        src = np.concatenate([row + offset[at] for at, (row, _) in enumerate(ends)])
        dst = np.concatenate([column + offset[at + 1] for at, (_, column) in enumerate(ends)])
        view = EdgeArrays.from_arrays(src, dst, len(stage), stage, nodes[stage == 0], nodes[stage == 3])
        effective.append(analysis.effective_edges(view))
    assert sum(area) / np.mean(effective) == pytest.approx(compression, rel=0.1)
