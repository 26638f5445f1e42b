"""`KernelLayer`: an edge layer each of whose edges has, besides its weight, a kernel of some shape."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from deepgraph.errors import StructureError
from deepgraph.graph.arrays import Array
from deepgraph.graph.edge_set import EdgeSet
from deepgraph.graph.history import EdgeEdit
from deepgraph.sparse.layer import EdgeLayer
from deepgraph.sparse.tensor_rows import give

__all__ = ["KernelLayer", "hashed_normal"]


def hashed_normal(seed: int, keys: Array, count: int) -> Array:
    """Return standard normal numbers (K, count) that depend on the seed and each key alone.

    Examples
    --------
    >>> a, b = hashed_normal(0, np.array([5, 7]), 3), hashed_normal(0, np.array([7]), 3)
    >>> bool((a[1] == b[0]).all()), a.shape
    (True, (2, 3))
    """
    state: Array = keys.astype(np.uint64)[:, None] * np.uint64(2 * count) + np.arange(2 * count, dtype=np.uint64)
    state = state + np.uint64(seed * 0x9E3779B97F4A7C15 % 2**64)
    # splitmix64, twice, so that neighbouring keys share nothing.
    for _ in range(2):
        state = state + np.uint64(0x9E3779B97F4A7C15)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        state = state ^ (state >> np.uint64(31))
    uniform = ((state >> np.uint64(11)).astype(np.float64) + 0.5) / 2**53
    normal: Array = np.sqrt(-2 * np.log(uniform[:, :count])) * np.cos(2 * math.pi * uniform[:, count:])
    return normal


class KernelLayer(EdgeLayer):
    """Holds an edge set, a weight and a kernel for each edge; the edge's effect is weight * kernel / |kernel|.

    Parameters
    ----------
    edge_set : EdgeSet
    weight : (E,) Tensor
    shape : tuple of int
        Of a kernel.
    seed : int
        The first kernel of any pair follows from it and the pair, also where the pair becomes an edge later.

    Attributes
    ----------
    kernel : (capacity, *shape) Parameter
        In canonical order, zeros behind the edges. Optimizers that follow the layer's edges move its state too.
    """

    def __init__(self, edge_set: EdgeSet, weight: Tensor, shape: tuple[int, ...], seed: int) -> None:
        super().__init__(edge_set, weight, None)
        self.kernel_shape, self.seed = shape, seed
        self.kernel = nn.Parameter(self._fresh(*edge_set.pairs(), weight))
        edge_set.listen(self)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.edge_set.listen(self)

    def _fresh(self, src: Array, dst: Array, like: Tensor) -> Tensor:
        keys = src.astype(np.int64) * self.edge_set.num_targets + dst
        drawn = torch.from_numpy(hashed_normal(self.seed, keys, math.prod(self.kernel_shape)))
        return drawn.to(like).view(-1, *self.kernel_shape)

    def kernels(self, weight: Tensor | None = None, kernel: Tensor | None = None) -> Tensor:
        """Return weight * kernel / |kernel| of each edge, (E, *shape): |weight| is the norm of what an edge does.

        By default of the layer's own parameters.
        """
        count = self.edge_set.num_edges
        kernel = (self.kernel if kernel is None else kernel)[:count]
        size = torch.linalg.vector_norm(kernel.flatten(1), dim=1).clamp_min(torch.finfo(kernel.dtype).tiny)
        scale: Tensor = (self.weight if weight is None else weight)[:count] / size
        return kernel * scale.view(-1, *[1] * len(self.kernel_shape))

    # -- following edits --------------------------------------------------------------------------------------------

    def edit_check(self, edge_set: EdgeSet, edit: EdgeEdit) -> None:
        """Nothing to refuse here: the layer's values ask whether a backward is pending."""

    def edit_done(self, edge_set: EdgeSet, edit: EdgeEdit) -> None:
        """Move kernels, their gradients and optimizer state; grown edges take the first kernel of their pair."""
        gather = torch.from_numpy(edit.gather())
        old, gradient = self.kernel.shape, self.kernel.grad
        room = max(len(self.kernel), edit.num_after)

        def moved(entry: Tensor) -> Tensor:
            fresh = entry.new_zeros(room, *self.kernel_shape)
            at = gather.to(entry.device)
            fresh[: len(at)][at >= 0] = entry[at[at >= 0]]
            return fresh

        fresh = moved(self.kernel.data)
        fresh[torch.from_numpy(edit.grown_rows.copy()).to(fresh.device)] = self._fresh(*edit.grown, fresh)
        if fresh.shape == old:
            self.kernel.data.copy_(fresh)
        else:
            give(self.kernel, fresh)
        if gradient is not None:
            self.kernel.grad = moved(gradient)
        for optimizer in self.edges.followers():
            state = optimizer.state.get(self.kernel, {})
            for name, entry in state.items():
                if isinstance(entry, Tensor) and entry.shape == old:
                    state[name] = entry.copy_(moved(entry)) if fresh.shape == old else moved(entry)

    def compact(self) -> None:
        """Give the room behind the edges back."""
        self.edges.compact()
        count, old = self.edge_set.num_edges, self.kernel.shape
        if len(self.kernel) > count:
            give(self.kernel, self.kernel.data[:count].clone())
            for optimizer in self.edges.followers():
                state = optimizer.state.get(self.kernel, {})
                for name, entry in state.items():
                    if isinstance(entry, Tensor) and entry.shape == old:
                        state[name] = entry[:count].clone()

    # -- state_dict -------------------------------------------------------------------------------------------------

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        kernel = self.kernel if keep_vars else self.kernel.detach()
        destination[prefix + "kernel"] = kernel[: self.edge_set.num_edges]

    def _load_from_state_dict(
        self,
        state_dict: Any,
        prefix: str,
        local_metadata: Any,
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        kernel = state_dict.get(prefix + "kernel")
        rest = {key: value for key, value in state_dict.items() if key != prefix + "kernel"}
        super()._load_from_state_dict(rest, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs)
        if kernel is None:
            if strict:
                missing_keys.append(prefix + "kernel")
            return
        count = self.edge_set.num_edges
        if kernel.shape != (count, *self.kernel_shape):
            wanted = (count, *self.kernel_shape)
            error = StructureError(f"expected kernels of shape {wanted}, one an edge, got {tuple(kernel.shape)}")
            error_msgs.append(f"{prefix.rstrip('.')}: {error}")
            return
        src, dst = (state_dict[prefix + name].cpu().numpy() for name in ("src", "dst"))
        order = torch.from_numpy(np.lexsort((dst, src))).to(kernel.device)
        self.kernel.data[:count] = kernel.detach()[order].to(self.kernel)
