"""TorchWalk: the reference for edge values (`csr`), stage by stage with torch operations on any device."""

from __future__ import annotations

import warnings
from functools import cache, cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from deepgraph.kernels.base import Stage, StageKernel
from deepgraph.kernels.edge_values import check_values, live_values, split_gradient
from deepgraph.kernels.reductions import Windows, reduction_windows
from deepgraph.kernels.topology import Topology

__all__ = ["TorchWalk"]

_CHUNK_ELEMENTS = 2_000_000


@cache
def _accept_beta_warning() -> None:
    """Make the first CSR tensor, about which torch warns once per process, where the warning is caught."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        torch.sparse_csr_tensor(torch.tensor([0, 1]), torch.tensor([0]), torch.ones(1), size=(1, 1))


class TorchWalk(StageKernel):
    """Computes edge values stage by stage with sparse products of torch, or with gathers where torch has none.

    Works on every device, in every floating dtype and with every activation, and is slower than `NumbaWalk`.

    Parameters
    ----------
    topology : Topology
        The structure to compute.
    device : torch.device or str
        Where tensors will live.
    products : bool
        False gathers and adds edge by edge (COO) also where torch has sparse products.

    Examples
    --------
    >>> t = Topology(2, [0], [1], [0, 1], inputs=[0], outputs=[1], activation=[0, 1])
    >>> TorchWalk(t).forward(torch.tensor([[2.0]]), [torch.tensor([3.0])], torch.tensor([1.0]))[0]
    tensor([[7.]])
    """

    name = "TorchWalk"
    storage = "csr"

    def __init__(self, topology: Topology, device: torch.device | str = "cpu", products: bool = True) -> None:
        super().__init__(topology, device)
        self.products = products

    def with_topology(self, topology: Topology) -> TorchWalk:
        """Return a TorchWalk of the same device and kind for edited edges."""
        return TorchWalk(topology, self.device, self.products)

    def check_weights(self, weights: list[Tensor]) -> None:
        """Raise ShapeError unless the weights are one-dimensional with room for their edges."""
        check_values(self.topology, weights)

    @cached_property
    def _forward_index(self) -> tuple[list[Tensor], Tensor, Tensor, list[int]]:
        """Return row pointers per stage, source ranks, permutation, and where each stage's edges begin."""
        t = self.topology
        pointers = self._pointers(t.target_indptr)
        return (
            pointers,
            self._index(t.source_rank),
            self._tensor(t.target_perm),
            t.target_indptr[t.stage_starts].tolist(),
        )

    @cached_property
    def _backward_index(self) -> tuple[list[Tensor], Tensor, Tensor | None, list[int], Tensor]:
        """Return the same by source in program order, and row pointers of the whole graph."""
        t = self.topology
        indptr, target, perm = t.source_indptr, t.target_rank, None
        if not t.is_ordered:
            canonical = np.arange(t.num_edges, dtype=np.int32)
            rows = sparse.csr_array((canonical, target, indptr), shape=(t.num_nodes, t.num_nodes))[t.order]
            indptr, target, perm = rows.indptr.astype(np.int32), rows.indices.astype(np.int32), self._tensor(rows.data)
        starts = indptr[t.stage_starts].tolist()
        return self._pointers(indptr), self._index(target), perm, starts, self._index(indptr)

    def _index(self, array: Any) -> Tensor:
        return torch.from_numpy(np.array(array, dtype=np.int32)).to(self.device)

    def _pointers(self, indptr: Any) -> list[Tensor]:
        starts = self.topology.stage_starts.tolist()
        whole = self._index(indptr)
        return [whole[begin : end + 1] - whole[begin] for begin, end in pairwise(starts)]

    def _has_sparse_products(self, dtype: torch.dtype) -> bool:
        if not self.products or dtype not in (torch.float32, torch.float64):
            return False
        _accept_beta_warning()
        if self.device.type == "cpu":
            return bool(torch.backends.mkl.is_available())  # type: ignore[no-untyped-call]
        return self.device.type == "cuda"

    @cached_property
    def _windows(self) -> list[list[Windows]]:
        """Return the maximum and product nodes of each stage."""
        t = self.topology
        computed = t.bias_index >= 0
        bounds = pairwise(t.stage_starts.tolist())
        found = [] if t.only_sums else [reduction_windows(t, a, b, np.flatnonzero(computed[a:b])) for a, b in bounds]
        return [[part.to(self.device) for part in parts] for parts in found]

    @cached_property
    def _summed(self) -> Tensor:
        """Return (E,) bool: which canonical edges enter a sum."""
        return torch.from_numpy(~self.topology.reduced_edges).to(self.device)

    def _prepare(self, weights: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        values = live_values(self.topology, weights)
        by_source = self._backward_index[2]
        gathered = values.index_select(0, self._forward_index[2])
        # The gradient of a maximum or product is no multiple of a weight: `_push` sends it, `_pull` must not.
        pulled = values if self.topology.only_sums else torch.where(self._summed, values, 0)
        return gathered, pulled if by_source is None else pulled.index_select(0, by_source), values

    def _sum_edges(self, pointers: Tensor, index: Tensor, values: Tensor, rows: Tensor) -> Tensor:
        """Return (width, B): per row of `pointers` the sum of values times the indexed rows."""
        width = pointers.shape[0] - 1
        if self._has_sparse_products(rows.dtype):
            size = (width, rows.shape[0])
            return torch.sparse_csr_tensor(pointers, index, values, size=size, check_invariants=False) @ rows
        local = torch.repeat_interleave(torch.arange(width, device=rows.device), pointers.diff())
        total = rows.new_zeros(width, rows.shape[1])
        step = max(1, _CHUNK_ELEMENTS // max(1, rows.shape[1]))
        for at in range(0, index.shape[0], step):
            part = slice(at, at + step)
            total.index_add_(0, local[part], rows.index_select(0, index[part]) * values[part].unsqueeze(1))
        return total

    def _products(self, number: int, stage: Stage, outputs: Tensor, bias: Tensor, prepared: Any) -> Tensor:
        pointers, index, _, starts = self._forward_index
        edges = slice(starts[number], starts[number + 1])
        if edges.start == edges.stop:
            return bias.expand(-1, outputs.shape[1]).clone()
        z = self._sum_edges(pointers[number], index[edges], prepared[0][edges], outputs)
        z = z if stage.computed is None else z.index_select(0, stage.computed)
        for windows in self._windows[number] if self._windows else ():
            for part in windows.chunks(z.shape[1]):
                z.index_copy_(0, part.rows, part.reduce(prepared[2], outputs))
        return z.add_(bias)

    def _pull(self, number: int, stage: Stage, dz: Tensor, prepared: Any) -> None:
        pointers, index, _, starts, _ = self._backward_index
        edges = slice(starts[number], starts[number + 1])
        if edges.start < edges.stop:
            dz[stage.begin : stage.end] += self._sum_edges(pointers[number], index[edges], prepared[1][edges], dz)

    def _push(
        self, number: int, stage: Stage, outputs: Tensor, dz: Tensor, prepared: Any, dweights: Any, below: bool
    ) -> None:
        """Send the gradients of maxima and products to values and sources; those of sums are gathered."""
        for windows in self._windows[number] if self._windows else ():
            for part in windows.chunks(dz.shape[1]):
                to_sources, to_values = part.gradients(dz.index_select(0, part.ranks), prepared[2], outputs)
                kept = ~part.padding
                dweights[part.edges[kept]] = to_values[kept]
                if below:
                    dz.index_add_(0, part.sources[kept], to_sources[kept])

    def _empty_gradients(self, weights: list[Tensor]) -> Any:
        return None if self.topology.only_sums else weights[0].new_zeros(self.topology.num_edges)

    def _weight_gradients(self, outputs: Tensor, dz: Tensor, weights: list[Tensor], dweights: Any) -> list[Tensor]:
        _, index, perm, _, indptr = self._backward_index
        n, edges = self.topology.num_nodes, self.topology.num_edges
        flat = outputs.new_zeros(edges)
        if edges and outputs.shape[1]:
            if self._has_sparse_products(outputs.dtype):
                pattern = torch.sparse_csr_tensor(indptr, index, flat, size=(n, n), check_invariants=False)
                flat = torch.sparse.sampled_addmm(pattern, outputs, dz.t()).values()
            else:
                flat = self._dot_edges(indptr, index, outputs, dz)
        if perm is not None:
            flat = torch.empty_like(flat).index_copy_(0, perm, flat)
        if dweights is not None:
            flat = torch.where(self._summed, flat, dweights)
        return split_gradient(self.topology, flat, weights)

    @staticmethod
    def _dot_edges(indptr: Tensor, index: Tensor, outputs: Tensor, dz: Tensor) -> Tensor:
        source = torch.repeat_interleave(torch.arange(indptr.shape[0] - 1, device=dz.device), indptr.diff())
        step = max(1, _CHUNK_ELEMENTS // dz.shape[1])
        parts = [
            (outputs.index_select(0, source[at : at + step]) * dz.index_select(0, index[at : at + step])).sum(1)
            for at in range(0, index.shape[0], step)
        ]
        return torch.cat(parts)
