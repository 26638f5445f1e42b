"""Which channels can only go together: what an operation reads side by side, and what has to stay. Filled by a trace.

An operation that acts on every channel for itself couples what it reads with what it makes: a sum of two branches
loses a channel in both of them or in neither. What mixes channels, or has constants of its own per channel, holds them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
from torch import Tensor, nn

from deepgraph.transform.channel_classes import unique_pairs
from deepgraph.transform.traced import Array

__all__ = ["Couplings"]


class Couplings:
    """Pairs of channels of which none goes without the other, and channels that stay.

    Parameters
    ----------
    layers : collection of nn.Module
        Modules whose own tensors can lose channels: their products and constants hold nothing.
    """

    def __init__(self, layers: Collection[nn.Module]) -> None:
        self.calls: list[tuple[nn.Module, Tensor, Tensor]] = []
        """Every call of a layer: the ids of what it read and of what it made."""
        self._layers = {id(layer): layer for layer in layers}
        self._pairs: list[Array] = []
        self._held: list[Array] = []
        self._entries: list[Array] = []

    @contextmanager
    def watching(self, read: Callable[[Tensor], Tensor]) -> Iterator[None]:
        """Record the calls of the layers while the context lasts.

        Parameters
        ----------
        read : callable
            Tensor -> the ids of its elements.
        """

        def before(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            # In-place operations may overwrite what was read before the call ends.
            self._reading = read([*args, *kwargs.values()][0]).clone()

        def after(layer: nn.Module, args: tuple[Any, ...], result: Tensor) -> None:
            self.calls.append((layer, self._reading, read(result).clone()))

        with ExitStack() as hooks:
            for layer in self._layers.values():
                hooks.callback(layer.register_forward_pre_hook(before, with_kwargs=True).remove)
                hooks.callback(layer.register_forward_hook(after).remove)
            yield

    @property
    def pairs(self) -> Array:
        """Coupled nodes, shape (P, 2), int64."""
        return np.concatenate([np.zeros((0, 2), dtype=np.int64), *self._pairs])

    @property
    def held(self) -> Array:
        """Nodes that stay, shape (H,), int64."""
        return np.concatenate([np.zeros(0, dtype=np.int64), *self._held])

    @property
    def entries(self) -> Array:
        """Parameter entries (counted over all parameters) that products outside of the layers read, int64."""
        return np.concatenate([np.zeros(0, dtype=np.int64), *self._entries])

    def is_layer(self, module: nn.Module | None) -> bool:
        """Return whether a module is one of the layers."""
        return id(module) in self._layers

    def couple(self, a: Array, b: Array) -> None:
        """Say that a[k] and b[k] go together, shapes (P,)."""
        self._pairs.append(np.stack([a, b], axis=1).astype(np.int64))

    def hold(self, nodes: Array) -> None:
        """Say that nodes stay; negative ones are none."""
        found = np.unique(nodes)
        self._held.append(found[found >= 0])

    def elementwise(self, made: Array, terms: list[Array], has_constants: bool) -> None:
        """Note elements made[k] (n,) that are computed from terms[i][k].

        Parameters
        ----------
        made : np.ndarray, shape (n,), int64
            Nodes of the elements.
        terms : list of np.ndarray, shape (n,), int64
            Nodes that each term brings in, negative for constants.
        has_constants : bool
            Whether there are constants with an entry per element.
        """
        targets = np.unique(made)
        if has_constants:
            self.hold(targets)
        for column in terms:
            linked = column >= 0
            src, dst, _ = unique_pairs(column[linked], made[linked])
            # What is broadcast over channels has one channel of its own, which stays.
            spread = np.bincount(src, minlength=1)[src] > 1
            self.hold(src[spread])
            self.couple(src[~spread], dst[~spread])
            # Channels that a term brings in as constants, such as zeros that were padded on.
            self.hold(np.setdiff1d(targets, dst))

    def reads(self, made: Array, read: Array) -> None:
        """Note that node made[k] depends on node read[k], shapes (P,): one that reads several is a mixture.

        Parameters
        ----------
        made, read : np.ndarray, shape (P,), int64
            Pairs of nodes, each once.
        """
        mixed = np.bincount(made, minlength=1)[made] > 1
        self.hold(read[mixed])
        self.hold(made[mixed])
        self.couple(read[~mixed], made[~mixed])

    def product(self, module: nn.Module | None, made: Array, read: Array, entries: Array) -> None:
        """Note a product with weights: of a layer, whose axes are known, or another one, which holds all it touches.

        Parameters
        ----------
        module : nn.Module or None
            The module that runs.
        made, read : np.ndarray, int64
            Nodes that it makes and reads.
        entries : np.ndarray, int64
            Parameter entries behind its weights.
        """
        if self.is_layer(module):
            return
        self.hold(made)
        self.hold(read)
        self._entries.append(np.unique(entries[entries >= 0]))
