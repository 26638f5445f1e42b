"""Where sparse wins and where it loses: a training step against dense and other packages, and a deep graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import torch
from torch import nn

from deepgraph.demo.methods import dense_ffn
from deepgraph.demo.peers import Peer
from deepgraph.demo.summary import text_table
from deepgraph.demo.timing import Timings, interleave, threads, training_step
from deepgraph.graph import CachedLayeredGraph
from deepgraph.priors import newman_watts_strogatz
from deepgraph.sparse import MaskedDeepDAN, MaskedDeepFFN

__all__ = ["DENSITIES", "Chain", "Densities", "measure_chain", "measure_densities"]

DENSITIES = (0.01, 0.05, 0.1, 0.2)
SIZES = (784, 1000, 1000, 1000, 10)


def _sgd(model: nn.Module) -> torch.optim.Optimizer:
    # The cheapest optimizer: one with state per weight would make the dense model slower still.
    return torch.optim.SGD(model.parameters(), lr=1e-3)


@dataclass(frozen=True)
class Densities:
    """Times of a training step of one FFN, dense and sparse.

    Parameters
    ----------
    timings : Timings
        Steps "dense", "dense again", and "<storage> <density>".
    densities : tuple of float
    storages : tuple of str
        Of this package, and names of other packages.
    sizes : tuple of int
        Widths of the layers, input and output included.
    batch, threads : int
    left_out : mapping of str to str
        Packages that were not measured, and why.
    """

    timings: Timings
    densities: tuple[float, ...]
    storages: tuple[str, ...]
    sizes: tuple[int, ...]
    batch: int
    threads: int
    left_out: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        """Return the table, the check of the measurement, and where sparse loses."""
        rows = [["nn.Linear", "100 %", f"{self.timings.milliseconds('dense'):.2f}", "1", ""]]
        for density in self.densities:
            for storage in self.storages:
                ratio = self.timings.ratio("dense", f"{storage} {density:g}")
                spread = f"{ratio.low:.2f} to {ratio.high:.2f}"
                times = f"{self.timings.milliseconds(f'{storage} {density:g}'):.2f}"
                rows.append([storage, f"{100 * density:g} %", times, f"{ratio.value:.2f}", spread])
        title = (
            f"FFN {'-'.join(map(str, self.sizes))}: forward, backward and SGD on {self.batch} images, "
            f"{self.threads} thread{'s' * (self.threads > 1)}"
        )
        table = text_table(["storage", "density", "ms/step", "times faster than dense", "quartiles"], rows)
        same = f"dense against itself: {self.timings.ratio('dense', 'dense again')}"
        missing = "".join(f"\nnot measured: {name}, {why}" for name, why in self.left_out.items())
        return f"{title}\n\n{table}\n\n{same}\n{self.verdict()}{missing}"

    def verdict(self) -> str:
        """Return a sentence that says where sparse loses to dense."""
        loses = [
            f"{storage} at {100 * density:g} %"
            for storage in self.storages
            for density in self.densities
            if self.timings.ratio("dense", f"{storage} {density:g}").low < 1
        ]
        if not loses:
            return "sparse is faster than dense PyTorch at every density measured here"
        return f"no faster than dense PyTorch, sparse LOSES: {', '.join(loses)}"

    def to_dict(self) -> dict[str, Any]:
        """Return the measurement as plain data."""
        ratios = {name: self.timings.ratio("dense", name) for name in self.timings.seconds if name != "dense"}
        return {
            "sizes": list(self.sizes),
            "batch": self.batch,
            "threads": self.threads,
            "timing": self.timings.to_dict(),
            "left_out": dict(self.left_out),
            "times_faster_than_dense": {
                name: {"median": ratio.value, "lower_quartile": ratio.low, "upper_quartile": ratio.high}
                for name, ratio in ratios.items()
            },
            "verdict": self.verdict(),
        }


def measure_densities(
    densities: Sequence[float] = DENSITIES,
    *,
    storages: Sequence[str] = ("csr", "masked"),
    sizes: Sequence[int] = SIZES,
    batch: int = 128,
    rounds: int = 15,
    num_threads: int = 1,
    peers: Sequence[Peer] = (),
    left_out: Mapping[str, str] | None = None,
) -> Densities:
    """Return the times of a full training step of an FFN, dense and at each density in each storage.

    Parameters
    ----------
    densities : sequence of float
        Edges over pairs, each in (0, 1], the same in every layer.
    storages : sequence of {"csr", "masked"}
    sizes : sequence of int
        Widths of the layers, input and output included.
    batch, rounds, num_threads : int
        Images of a step; measured rounds; threads of torch and of the kernels.
    peers : sequence of Peer
        Other packages that do the same work; see `installed_peers`.
    left_out : mapping of str to str, optional
        Packages that are not there, and why.

    Raises
    ------
    ArgumentError
        If a density is outside (0, 1], or `rounds` or `num_threads` is below 1.

    Examples
    --------
    >>> result = measure_densities([0.5], storages=["csr"], sizes=[4, 3, 2], batch=8, rounds=2)
    >>> sorted(result.timings.seconds)
    ['csr 0.5', 'dense', 'dense again']
    """
    with threads(num_threads):
        generator = torch.Generator().manual_seed(0)
        x = torch.rand(batch, sizes[0], generator=generator)
        y = torch.randint(0, sizes[-1], (batch,), generator=generator)
        dense = dense_ffn(sizes[0], sizes[-1], tuple(sizes[1:-1]), seed=0)
        steps = {"dense": training_step(dense, _sgd(dense), x, y)}
        for density in densities:
            for storage in storages:
                model = MaskedDeepFFN(
                    sizes[0], sizes[-1], list(sizes[1:-1]), density=density, storage=storage, seed=0
                )  # fmt: skip
                steps[f"{storage} {density:g}"] = training_step(model, _sgd(model), x, y)
            for peer in peers:
                other = peer.network(sizes, density)
                steps[f"{peer.name} {density:g}"] = training_step(other, _sgd(other), x, y)
        steps["dense again"] = steps["dense"]
        timings = interleave(steps, rounds=rounds, progress="training steps")
    names = (*storages, *(peer.name for peer in peers))
    return Densities(timings, tuple(densities), names, tuple(sizes), batch, num_threads, dict(left_out or {}))


@dataclass(frozen=True)
class Chain:
    """A deep graph: how long compiling it takes, and a training step.

    Parameters
    ----------
    nodes, edges, layers : int
    compile_seconds : float
        From arrays of edges to a module that has its program; numba's own compilation is done before.
    timings : Timings
        The step "chain".
    batch, threads : int
    """

    nodes: int
    edges: int
    layers: int
    compile_seconds: float
    timings: Timings
    batch: int
    threads: int

    def __str__(self) -> str:
        """Return the figures in one line."""
        return (
            f"graph of {self.nodes:,} nodes, {self.edges:,} edges, {self.layers:,} layers: compiled in "
            f"{self.compile_seconds:.3f} s, a training step on {self.batch} samples takes "
            f"{self.timings.milliseconds('chain'):.1f} ms with {self.threads} thread{'s' * (self.threads > 1)}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as plain data."""
        return {
            "nodes": self.nodes,
            "edges": self.edges,
            "layers": self.layers,
            "compile_seconds": self.compile_seconds,
            "step_ms": self.timings.milliseconds("chain"),
            "timing": self.timings.to_dict(),
            "batch": self.batch,
            "threads": self.threads,
        }


def measure_chain(num_nodes: int = 10_000, *, batch: int = 128, rounds: int = 15, num_threads: int = 1) -> Chain:
    """Return the times of a Newman-Watts small world (k = 16, p = .5) in stored order: as many layers as nodes.

    Parameters
    ----------
    num_nodes : int
        At least 17.
    batch, rounds, num_threads : int
        Samples of a step; measured rounds; threads of torch and of the kernels.

    Raises
    ------
    ArgumentError
        If `num_nodes` is too small, or `rounds` or `num_threads` is below 1.

    Examples
    --------
    >>> chain = measure_chain(50, batch=4, rounds=2)
    >>> chain.nodes, chain.layers
    (50, 50)
    """
    with threads(num_threads):
        graph = newman_watts_strogatz(num_nodes, 16, 0.5, seed=0, orientation="stored")
        _chain_step(CachedLayeredGraph.from_arrays([0], [1]), batch)[1]()
        src, dst = graph.edge_arrays()
        begin = perf_counter()
        # From bare arrays: the prior's graph knows its layers already, and finding them is a part of compiling.
        model, step = _chain_step(CachedLayeredGraph.from_arrays(src, dst, len(graph)), batch)
        _ = model.plan
        seconds = perf_counter() - begin
        timings = interleave({"chain": step}, rounds=rounds, progress="deep graph")
    return Chain(len(graph), graph.number_of_edges(), graph.num_layers, seconds, timings, batch, num_threads)


def _chain_step(graph: CachedLayeredGraph, batch: int) -> tuple[MaskedDeepDAN, Any]:
    """Return the module of a graph, and its training step on random data at a rate that deep graphs survive."""
    model = MaskedDeepDAN.from_graph(graph, seed=0)
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(batch, len(graph.input_positions()), generator=generator)
    y = torch.rand(batch, len(graph.output_positions()), generator=generator)
    return model, training_step(model, torch.optim.SGD(model.parameters(), lr=1e-4), x, y)
