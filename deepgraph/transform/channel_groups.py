"""Channels that only go together, as connected components of couplings between nodes and entries of layers."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from torch import Tensor

from deepgraph.transform.channel_classes import members
from deepgraph.transform.channel_layers import Layer
from deepgraph.transform.couplings import Couplings
from deepgraph.transform.traced import Array

__all__ = ["ChannelGroups"]


class ChannelGroups:
    """Which entries of which axes of the layers of a model can be left out.

    Parameters
    ----------
    layers : list of Layer
        The layers of the model.
    couplings : Couplings
        From a trace of order 1.
    live : np.ndarray, shape (N,), bool
        Nodes of that trace that lie on a path from an input to a result; inputs and results themselves too.

    Notes
    -----
    Every layer that was called has an axis of the channels that it reads, one of those that it makes, one of its
    groups; the axes of its tensors are coupled to them. Grouped convolutions lose whole groups.
    """

    def __init__(self, layers: list[Layer], couplings: Couplings, live: Array) -> None:
        self._starts: dict[tuple[int, int], int] = {}
        self._sizes: dict[tuple[int, int], int] = {}
        self._total = 0
        self._to_axes: list[Array] = []
        self._to_nodes: list[Array] = []
        self._held = [couplings.held]
        self._names: dict[int, Layer] = {id(layer.module): layer for layer in layers}
        for module, read, made in couplings.calls:
            self._add_call(self._names[id(module)], read, made)
        axes, self._read = (_joined(pairs) for pairs in (self._to_axes, self._to_nodes))
        nodes = self._read + np.array([0, self._total])
        pairs = np.concatenate([axes, nodes, couplings.pairs + self._total])
        count = self._total + len(live)
        graph = sparse.coo_array((np.ones(len(pairs), dtype=np.int8), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
        number, self._group = sparse.csgraph.connected_components(graph, directed=False)
        stays = live.copy()
        stays[np.concatenate(self._held)] = True
        self._gone = np.zeros(number, dtype=bool)
        # Entries that no channel of the trace leads to stay as well.
        self._gone[self._group[self._total :]] = True
        self._gone[self._group[self._total :][stays]] = False

    def _add_call(self, layer: Layer, read: Tensor, made: Tensor) -> None:
        rows = [np.zeros((0, 1), dtype=np.int64) if layer.looks_up else layer.by_channel(read), layer.by_channel(made)]
        keys = [(id(layer.module), side) for side in (0, 1)]
        if any(self._sizes.get(key, len(ids)) != len(ids) for key, ids in zip(keys, rows, strict=True)):
            # A norm without entries of its own may be called on other numbers of channels.
            self._held.extend(np.unique(ids[ids >= 0]) for ids in rows)
            return
        for key, ids, axes in zip(keys, rows, (layer.read_axes(), layer.made_axes()), strict=True):
            axis = self._axis(key, len(ids))
            channel, node = members(ids)
            self._to_nodes.append(np.stack([axis + channel, node], axis=1))
            for tensor, dim in axes:
                self._couple(key, (id(tensor), dim + 2), tensor.shape[dim])
        if layer.keeps:
            self._couple(keys[0], keys[1], len(rows[1]))
        if layer.groups > 1:
            for key in keys:
                self._couple(key, (id(layer.module), -1), layer.groups)

    def _axis(self, key: tuple[int, int], size: int) -> int:
        """Return where the entries of an axis start; a new one if it is new."""
        if key not in self._starts:
            self._starts[key], self._sizes[key] = self._total, size
            self._total += size
        return self._starts[key]

    def _couple(self, axis: tuple[int, int], other: tuple[int, int], size: int) -> None:
        """Couple the entries of an axis with those of another one of `size`, side by side in equal shares."""
        entries = np.arange(self._sizes[axis])
        partner = entries // max(1, len(entries) // max(1, size))
        self._to_axes.append(np.stack([self._starts[axis] + entries, self._axis(other, size) + partner], axis=1))

    def _entries(self, key: tuple[int, int]) -> Array:
        start = self._starts[key]
        return self._group[start : start + self._sizes[key]]

    def keep_channels(self, layer: Layer, channels: Array) -> None:
        """Keep what is coupled with channels (K,) that a layer reads."""
        self._gone[self._entries((id(layer.module), 0))[channels]] = False

    def keep_tensor(self, tensor: Tensor) -> None:
        """Keep all entries of all axes of a tensor."""
        for key in self._starts:
            if key[0] == id(tensor):
                self._gone[self._entries(key)] = False

    def keep_last(self) -> None:
        """Keep the first entry of every axis that would lose all."""
        while True:
            empty = [key for key, size in self._sizes.items() if size and self._gone[self._entries(key)].all()]
            if not empty:
                return
            for key in empty:
                self._gone[self._entries(key)[0]] = False

    def called(self, layer: Layer) -> bool:
        """Return whether the trace met a layer."""
        return (id(layer.module), 0) in self._starts

    def read_gone(self, layer: Layer) -> Array:
        """Return the channels that a layer reads and that go, int64."""
        return np.flatnonzero(self._gone[self._entries((id(layer.module), 0))])

    def made_kept(self, layer: Layer) -> Array:
        """Return the channels that a layer makes and that stay, int64."""
        return np.flatnonzero(~self._gone[self._entries((id(layer.module), 1))])

    def read_any(self, layer: Layer, chosen: Array) -> Array:
        """Return of the channels that a layer reads which ones have any chosen (N,) bool node, shape (C,) bool."""
        start, size = self._starts[id(layer.module), 0], self._sizes[id(layer.module), 0]
        found = np.zeros(self._total, dtype=bool)
        found[self._read[chosen[self._read[:, 1]], 0]] = True
        return found[start : start + size]

    def counts(self, layer: Layer) -> tuple[int, int, int]:
        """Return how many channels a layer still reads and makes, and its groups."""
        keys = ((id(layer.module), side) for side in (0, 1, -1))
        read, made, groups = (
            int((~self._gone[self._entries(key)]).sum()) if key in self._starts else 1 for key in keys
        )
        return read, made, groups

    def kept(self, tensor: Tensor, dim: int) -> Array | None:
        """Return the entries of an axis of a tensor that stay, int64; None if all do."""
        key = (id(tensor), dim + 2)
        if key not in self._starts:
            return None
        gone = self._gone[self._entries(key)]
        return np.flatnonzero(~gone) if gone.any() else None


def _joined(pairs: list[Array]) -> Array:
    return np.concatenate([np.zeros((0, 2), dtype=np.int64), *pairs])
