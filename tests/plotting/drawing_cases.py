"""Graphs to draw, random and fixed, and what is asked of every picture."""

from __future__ import annotations

from itertools import combinations

import networkx as nx
import numpy as np
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from deepgraph.graph import CachedLayeredGraph


def layered(sizes: list[int], density: float, seed: int = 0, skip: float = 0.0) -> CachedLayeredGraph:
    """A layered graph with weights, stages and roles; `skip` is the density of pairs more than one stage apart."""
    rng = np.random.default_rng(seed)
    stage = np.repeat(np.arange(len(sizes)), sizes).astype(np.int32)
    starts = np.cumsum([0, *sizes])
    src, dst = [], []
    for low, high in combinations(range(len(sizes)), 2):
        share = density if high == low + 1 else skip
        pair = np.flatnonzero(rng.random(sizes[low] * sizes[high]) < share)
        src.append(starts[low] + pair // sizes[high])
        dst.append(starts[high] + pair % sizes[high])
    sources, targets = (np.concatenate(part) if part else np.zeros(0, int) for part in (src, dst))
    graph = CachedLayeredGraph.from_arrays(
        sources, targets, num_nodes=int(starts[-1]), weight=rng.standard_normal(sources.size)
    )
    roles = np.where(stage == 0, "input", np.where(stage == len(sizes) - 1, "output", "hidden"))
    graph.set_node_column("stage", stage)
    graph.set_node_column("role", roles)
    return graph


def chain(num_nodes: int = 1000, skips: int = 400, seed: int = 0) -> CachedLayeredGraph:
    """A path over all neurons with a few edges that skip up to fifty of them."""
    rng = np.random.default_rng(seed)
    tails = rng.integers(0, num_nodes - 60, skips)
    extra = np.unique(np.stack([tails, tails + rng.integers(2, 50, skips)], axis=1), axis=0)
    path = np.arange(num_nodes - 1)
    return CachedLayeredGraph.from_arrays(
        np.concatenate([path, extra[:, 0]]), np.concatenate([path + 1, extra[:, 1]]), num_nodes=num_nodes
    )


def small_world(num_nodes: int = 300, seed: int = 0) -> CachedLayeredGraph:
    """A Watts-Strogatz graph whose edges follow a random order of the nodes."""
    edges = np.array(nx.watts_strogatz_graph(num_nodes, 8, 0.3, seed=seed).edges)
    edges = np.sort(np.random.default_rng(seed).permutation(num_nodes)[edges], axis=1)
    return CachedLayeredGraph.from_arrays(edges[:, 0], edges[:, 1], num_nodes=num_nodes)


def tree() -> CachedLayeredGraph:
    edges = np.array(nx.balanced_tree(2, 4).edges)
    return CachedLayeredGraph.from_arrays(edges[:, 0], edges[:, 1])


CASES = {
    "empty": lambda: CachedLayeredGraph.from_arrays([], [], num_nodes=0),
    "single": lambda: CachedLayeredGraph.from_arrays([], [], num_nodes=1),
    "isolated": lambda: CachedLayeredGraph.from_arrays([], [], num_nodes=5),
    "one edge": lambda: CachedLayeredGraph.from_arrays([0], [1], weight=[0.5]),
    "tree": tree,
    "small world": small_world,
    "rewired": lambda: layered([16, 14, 12, 10, 8], 0.2, skip=0.05),
    "lenet": lambda: layered([784, 300, 100, 10], 0.02),
    "chain": chain,
}


@st.composite
def dags(draw: st.DrawFn, max_nodes: int = 24) -> CachedLayeredGraph:
    """Any acyclic graph of up to `max_nodes` neurons, weighted, with edges that skip layers."""
    num_nodes = draw(st.integers(0, max_nodes))
    pairs = [(u, v) for u in range(num_nodes) for v in range(u + 1, num_nodes)]
    chosen = draw(st.lists(st.sampled_from(pairs), unique=True, max_size=60)) if pairs else []
    edges = np.array(chosen, dtype=np.int64).reshape(-1, 2)
    weight = draw(st.lists(st.floats(-1e6, 1e6), min_size=len(chosen), max_size=len(chosen)))
    return CachedLayeredGraph.from_arrays(
        edges[:, 0], edges[:, 1], num_nodes=num_nodes, weight=np.array(weight, dtype=np.float64)
    )


@st.composite
def layered_graphs(draw: st.DrawFn) -> CachedLayeredGraph:
    """A layered graph of random sizes and densities, with skip edges."""
    sizes = draw(st.lists(st.integers(1, 9), min_size=2, max_size=7))
    return layered(sizes, draw(st.floats(0, 1)), draw(st.integers(0, 99)), draw(st.floats(0, 0.5)))


def shown_texts(figure: Figure) -> list[Text]:
    """The texts that can be seen: without tick labels outside of the axes, which matplotlib keeps but does not draw."""
    figure.draw_without_rendering()
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    ticks: set[Text] = set()
    hidden: set[Text] = set()
    for ax in figure.findobj(Axes):
        box = ax.get_window_extent(renderer).padded(2.0)
        for axis, low, high in ((ax.xaxis, box.x0, box.x1), (ax.yaxis, box.y0, box.y1)):
            for label in [*axis.get_majorticklabels(), *axis.get_minorticklabels()]:
                extent = label.get_window_extent(renderer)
                middle = (extent.x0 + extent.x1) / 2 if axis is ax.xaxis else (extent.y0 + extent.y1) / 2
                ticks.add(label)
                if not (axis.get_visible() and ax.axison and low <= middle <= high):
                    hidden.add(label)
    return [
        text for text in figure.findobj(Text) if text.get_text().strip() and text.get_visible() and text not in hidden
    ]


def assert_readable(figure: Figure) -> None:
    """No text lies on another one or reaches over the edge of the figure."""
    texts = shown_texts(figure)
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    boxes = [text.get_window_extent(renderer) for text in texts]
    for (one, box), (other, second) in combinations(zip(texts, boxes, strict=True), 2):
        wide = min(box.x1, second.x1) - max(box.x0, second.x0)
        high = min(box.y1, second.y1) - max(box.y0, second.y0)
        assert wide <= 1 or high <= 1, f"{one.get_text()!r} lies on {other.get_text()!r}"
    for text, box in zip(texts, boxes, strict=True):
        inside = box.x0 >= -1 and box.y0 >= -1 and box.x1 <= figure.bbox.x1 + 1 and box.y1 <= figure.bbox.y1 + 1
        assert inside, f"{text.get_text()!r} leaves the figure: {box}"
