"""The networks of the demo and what trains them, all with the same number of edges but the dense one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import nn

from deepgraph.demo.settings import Settings
from deepgraph.errors import ArgumentError
from deepgraph.graph import CachedLayeredGraph
from deepgraph.priors import watts_strogatz
from deepgraph.rewire import DEEPR, RigL, Static
from deepgraph.sparse import MaskedDeepDAN, MaskedDeepFFN

__all__ = ["Method", "dense_ffn", "methods", "small_world", "small_world_dan", "sparse_ffn"]

Optimizer = torch.optim.Optimizer


@dataclass(frozen=True)
class Method:
    """One row of the table: a network and its optimizer, made anew by each call of `build`.

    Parameters
    ----------
    key, label : str
        For JSON, and for people.
    build : callable
        Returns (model, optimizer), the same ones at every call.
    """

    key: str
    label: str
    build: Callable[[], tuple[nn.Module, Optimizer]]


def dense_ffn(size_input: int, size_output: int, hidden: tuple[int, ...], seed: int) -> nn.Sequential:
    """Return the dense baseline as anybody writes it, nn.Linear and ReLU; global random state stays as it is.

    Examples
    --------
    >>> dense_ffn(4, 2, (3,), seed=0)
    Sequential(
      (0): Linear(in_features=4, out_features=3, bias=True)
      (1): ReLU()
      (2): Linear(in_features=3, out_features=2, bias=True)
    )
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        parts: list[nn.Module] = []
        for n_in, n_out in pairwise((size_input, *hidden, size_output)):
            parts += [nn.Linear(n_in, n_out), nn.ReLU()]
    return nn.Sequential(*parts[:-1])


def sparse_ffn(size_input: int, size_output: int, settings: Settings, seed: int) -> MaskedDeepFFN:
    """Return the sparse FFN of the settings; the Erdos-Renyi rule keeps the small last layer from starving.

    Examples
    --------
    >>> sparse_ffn(784, 10, Settings(hidden=(300, 100)), seed=0).num_edges
    13310
    """
    return MaskedDeepFFN(
        size_input, size_output, list(settings.hidden), density=settings.density, distribution="er", seed=seed
    )


def small_world(settings: Settings, seed: int) -> CachedLayeredGraph:
    """Return the prior: a Watts-Strogatz small world, directed by a random order of its nodes.

    Examples
    --------
    >>> graph = small_world(Settings(neurons=100, neighbours=8), seed=0)
    >>> len(graph), graph.number_of_edges()
    (100, 400)
    """
    return watts_strogatz(settings.neurons, settings.neighbours, settings.rewired, seed=seed)


def small_world_dan(
    size_input: int, size_output: int, structure: CachedLayeredGraph, num_edges: int, seed: int
) -> MaskedDeepDAN:
    """Return a DAN with exactly `num_edges` edges: structure, a dense head, and a stem of what is left.

    Raises
    ------
    ArgumentError
        If no stem makes up that number: the structure is too large or too small for it.

    Examples
    --------
    >>> graph = small_world(Settings(neurons=100, neighbours=8), seed=0)
    >>> small_world_dan(784, 10, graph, 5000, seed=0).num_edges
    5000
    """
    head = len(structure.output_positions()) * size_output
    pairs = len(structure.input_positions()) * size_input
    stem = num_edges - structure.number_of_edges() - head
    if not 0 < stem <= pairs:
        raise ArgumentError(
            f"num_edges: expected what structure ({structure.number_of_edges():,}), head ({head:,}) and a stem of 1 to "
            f"{pairs:,} edges can make up, got {num_edges:,}; take another number or another structure"
        )
    return MaskedDeepDAN(size_input, size_output, structure, stem_density=stem / pairs, seed=seed)


def methods(size_input: int, size_output: int, settings: Settings, steps_per_epoch: int, seed: int) -> list[Method]:
    """Return the methods that the demo compares, dense first, each a function of the seed alone.

    Parameters
    ----------
    size_input, size_output : int
        Pixels of an image, and classes.
    settings : Settings
    steps_per_epoch : int
        Batches in a pass; RigL edits once in that many steps.
    seed : int

    Examples
    --------
    >>> [method.key for method in methods(784, 10, Settings(hidden=(300, 100)), 40, seed=0)]
    ['dense', 'ffn_static', 'ffn_rigl', 'ffn_deepr', 'dan_static', 'dan_rigl']
    """
    structure = small_world(settings, seed)
    budget = sparse_ffn(size_input, size_output, settings, seed).num_edges

    def adam(model: nn.Module) -> Optimizer:
        return torch.optim.Adam(model.parameters(), lr=settings.learning_rate)

    def rigl(model: nn.Module) -> Optimizer:
        until = max(3 * settings.epochs * steps_per_epoch // 4, 1)
        return RigL(
            model, adam(model), every=steps_per_epoch, until=until, drop_fraction=settings.drop_fraction, seed=seed
        )

    def static(model: nn.Module) -> Optimizer:
        return Static(model, adam(model), seed=seed)

    def deepr(model: nn.Module) -> Optimizer:
        return DEEPR(model, lr=settings.deepr_rate, seed=seed)

    def dense() -> nn.Module:
        return dense_ffn(size_input, size_output, settings.hidden, seed)

    def ffn() -> nn.Module:
        return sparse_ffn(size_input, size_output, settings, seed)

    def dan() -> nn.Module:
        return small_world_dan(size_input, size_output, structure, budget, seed)

    def method(
        key: str, label: str, make: Callable[[], nn.Module], optimize: Callable[[nn.Module], Optimizer]
    ) -> Method:
        def build() -> tuple[nn.Module, Optimizer]:
            model = make()
            return model, optimize(model)

        return Method(key, label, build)

    return [
        method("dense", "FFN, dense (nn.Linear)", dense, adam),
        method("ffn_static", "FFN, static sparse", ffn, static),
        method("ffn_rigl", "FFN, RigL", ffn, rigl),
        method("ffn_deepr", "FFN, DEEPR", ffn, deepr),
        method("dan_static", "DAN, small world, static", dan, static),
        method("dan_rigl", "DAN, small world, RigL", dan, rigl),
    ]
