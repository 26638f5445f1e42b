"""Where the edge sets of a model meet: which neuron of one is which neuron of the next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from torch import nn

from deepgraph.sparse.engine import Engine
from deepgraph.sparse.feed_forward import MaskedDeepFFN
from deepgraph.sparse.linear import SparseLinear
from deepgraph.sparse.values import EdgeValues, edge_values

__all__ = ["BORDER", "FIXED", "Network", "networks_of"]

Index = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

FIXED, BORDER = -1, -2
"""In place of the index of an edge set: one that is not in the list, and two positions of the same neurons."""

_POINTWISE = (
    nn.Identity, nn.Dropout, nn.AlphaDropout, nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.ELU, nn.CELU,
    nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Tanh, nn.Sigmoid, nn.LogSigmoid, nn.Softplus, nn.Softsign, nn.Tanhshrink,
    nn.Softshrink, nn.Hardshrink, nn.Hardtanh, nn.Hardsigmoid, nn.Hardswish, nn.Threshold, nn.BatchNorm1d,
)  # fmt: skip


@dataclass(frozen=True)
class Network:
    """The edges of some edge sets between neurons that are numbered once.

    Parameters
    ----------
    num_nodes : int
        N.
    fed, shown : (N,) bool
        Neurons that take something from outside of these edges, and that give something there.
    parts : tuple of (int, (K,) int, (K,) int)
        Index of an edge set, `FIXED` or `BORDER`, and sources and targets of its edges, in canonical order.
    """

    num_nodes: int
    fed: Mask
    shown: Mask
    parts: tuple[tuple[int, Index, Index], ...]


def networks_of(values: Sequence[EdgeValues], model: nn.Module | None = None) -> list[Network]:
    """Return the networks that edge sets make up.

    Parameters
    ----------
    values : sequence of EdgeValues
        All edge sets of a model.
    model : nn.Module, optional
        Then also where the weights of `nn.Linear`, `SparseLinear` and `MaskedDeepFFN` meet in an `nn.Sequential`, with
        nothing but pointwise modules between them. Elsewhere PyTorch's modules do not say where they meet.

    Examples
    --------
    >>> import deepgraph as dg
    >>> model = dg.sparsify(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)), 0.5, seed=0)
    >>> [network.num_nodes for network in networks_of(edge_values(model), model)]
    [9]
    """
    chains = {id(one.owner.chain): one.owner.chain for one in values if isinstance(one.owner, Engine)}
    found = [_of_engines(chain, values) for chain in chains.values()]
    runs = [] if model is None else [run for run in _runs(model, values) if len(run) > 1]
    return found + [_of_layers(run, values) for run in runs]


def _of_engines(chain: Sequence[Engine], values: Sequence[EdgeValues]) -> Network:
    begins = np.cumsum([0, *(engine.topology.num_nodes for engine in chain)])
    fed, shown = np.zeros((2, begins[-1]), bool)
    fed[chain[0].topology.inputs] = True
    shown[begins[-2] + chain[-1].topology.outputs] = True
    parts = []
    for engine, begin in zip(chain, begins, strict=False):
        for layer, row, column in engine.parts:
            src, dst = layer.edge_set.pairs()
            index = next((i for i, one in enumerate(values) if one is layer.edges), FIXED)
            parts.append((index, src.astype(np.int64) + begin + row, dst.astype(np.int64) + begin + column))
    for (engine, after), begin, end in zip(pairwise(chain), begins, begins[1:], strict=False):
        # What leaves one engine is what enters the next: the same neuron under two positions.
        parts.append((BORDER, begin + engine.topology.outputs, end + after.topology.inputs))
    return Network(int(begins[-1]), fed, shown, tuple(parts))


def _of_layers(run: Sequence[EdgeValues], values: Sequence[EdgeValues]) -> Network:
    sizes = [run[0].edge_set.num_sources, *(one.edge_set.num_targets for one in run)]
    begins = np.cumsum([0, *sizes])
    fed, shown = np.zeros((2, begins[-1]), bool)
    fed[: sizes[0]] = True
    shown[begins[-2] :] = True
    parts = []
    for one, begin, end in zip(run, begins, begins[1:], strict=False):
        src, dst = one.edge_set.pairs()
        index = next(i for i, other in enumerate(values) if other is one)
        parts.append((index, src.astype(np.int64) + begin, dst.astype(np.int64) + end))
    return Network(int(begins[-1]), fed, shown, tuple(parts))


def _runs(model: nn.Module, values: Sequence[EdgeValues]) -> Iterator[list[EdgeValues]]:
    """Yield the edge sets of linear layers that follow each other in an `nn.Sequential`, the longest runs only."""
    held = {id(one.parameter): one for one in values}
    inner = {id(child) for module in model.modules() if _is_sequence(module) for child in module.children()}
    uses = Counter(id(module) for _, module in model.named_modules(remove_duplicate=False))
    for module in model.modules():
        if not _is_sequence(module) or id(module) in inner:
            continue
        run: list[EdgeValues] = []
        for child in _flat(module):
            layers = _layers(child, held) if uses[id(child)] == 1 else None
            if layers and run and run[-1].edge_set.num_targets == layers[0].edge_set.num_sources:
                run += layers
            elif layers is not None or not isinstance(child, _POINTWISE):
                # A layer of another width, or what may mix or reshape, ends a run.
                yield run
                run = list(layers or ())
        yield run


def _flat(module: nn.Module) -> Iterator[nn.Module]:
    for child in module.children():
        if _is_sequence(child):
            yield from _flat(child)
        else:
            yield child


def _is_sequence(module: nn.Module) -> bool:
    """Return whether a module does nothing but call its children in turn."""
    return isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward


def _layers(module: nn.Module, held: dict[int, EdgeValues]) -> list[EdgeValues] | None:
    """Return the edge sets that a linear module computes one after the other, None for another module."""
    if isinstance(module, nn.Linear):
        found = held.get(id(module.weight))
        return [found] if found is not None else []
    if isinstance(module, SparseLinear) or (isinstance(module, MaskedDeepFFN) and not len(module.norms)):
        return edge_values(module)
    return None
