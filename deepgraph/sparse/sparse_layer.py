"""`SparseLayer`: a linear layer that hands out its weight as a sparse tensor and prunes its smallest values."""

from __future__ import annotations

import math
from typing import Any, Literal, Self

import numpy as np
import torch
from torch import Tensor, nn

from deepgraph.errors import ArgumentError, DtypeError, ShapeError
from deepgraph.sparse.linear import SparseLinear
from deepgraph.sparse.randomness import Seed

__all__ = ["SparseLayer", "prune_sparse_model", "set_global_k"]

Of = Literal["all", "left"]


class SparseLayer(SparseLinear):
    """A linear layer y = x W^T + b that holds the values of its edges only; it trains sparsely in both formats.

    Parameters
    ----------
    in_features, out_features : int
        R and C.
    bias : bool
    csr_mode : bool
        Whether `weight` is a CSR tensor; else COO. Results and gradients do not depend on it.
    train_mode : bool
        Whether values and bias take gradients.
    k : float
        Share of the values that `prune_smallest_values` removes, in (0, 1].
    density : float
        Edges at the start over R * C, in (0, 1].
    seed : int, Generator or None
    device, dtype
        As in torch; any floating dtype.

    Attributes
    ----------
    weight : (C, R) sparse Tensor
        COO, coalesced, or CSR; gradients flow through it to `values`.
    values : (capacity,) Parameter
        The edges' values, by (input, output); behind them zeros where edges were pruned, until `compact()`.
    bias : (C,) Parameter or None

    Notes
    -----
    Pruning and `assign_new_weight` are edits of the edge set: `graph.history` has them, and the parameter stays the
    same object, so that optimizers go on; one with momentum keeps each edge's own after `deepgraph.follow(layer, o)`.

    Examples
    --------
    >>> layer = SparseLayer(3, 3)
    >>> layer
    SparseLayer(in_features=3, out_features=3, bias=True, csr_mode=False, k=0.05)
    >>> layer.set_k(0.5).prune_smallest_values().num_edges
    5
    >>> layer.weight.layout, layer.switch_to_CSR().weight.layout, layer(torch.ones(3)).shape
    (torch.sparse_coo, torch.sparse_csr, torch.Size([3]))
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        csr_mode: bool = False,
        train_mode: bool = True,
        k: float = 0.05,
        *,
        density: float = 1.0,
        seed: Seed = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(
            in_features, out_features, density, bias, init="torch", storage="csr", seed=seed, device=device, dtype=dtype
        )
        self.csr_mode, self.train_mode, self.k = bool(csr_mode), bool(train_mode), _checked_k(k)
        self.layer.requires_grad_(self.train_mode)

    def config(self) -> dict[str, Any]:
        """Return what `from_config` needs: JSON values."""
        kept = {name: self._config[name] for name in ("in_features", "out_features", "bias", "density", "dtype")}
        return {**kept, "csr_mode": self.csr_mode, "train_mode": self.train_mode, "k": self.k}

    # -- weights ----------------------------------------------------------------------------------------------------

    @property
    def values(self) -> nn.Parameter:
        """The parameter (capacity,) that holds the values."""
        return self.layer.weight

    @property
    def bias(self) -> nn.Parameter | None:
        """The biases (C,)."""
        return self.layer.bias

    @property
    def weight(self) -> Tensor:
        """The weight (C, R) as a sparse tensor, COO or CSR."""
        indptr, sources, edges = (torch.from_numpy(np.array(a, np.int64)) for a in self.layer.edge_set.csc())
        size = (self.out_features, self.in_features)
        device = self.values.device
        values = self.values[edges.to(device)]
        if self.csr_mode:
            return torch.sparse_csr_tensor(indptr.to(device), sources.to(device), values, size, check_invariants=False)
        rows = torch.repeat_interleave(torch.arange(self.out_features), indptr.diff())
        indices = torch.stack([rows, sources]).to(device)
        return torch.sparse_coo_tensor(indices, values, size, is_coalesced=True, check_invariants=False)

    def assign_new_weight(self, new_weight: Tensor, bias: Tensor | None = None) -> Self:
        """Take the nonzero entries of a weight, dense or sparse, as edges with these values, and return the layer.

        Parameters
        ----------
        new_weight : (C, R) Tensor
        bias : (C,) Tensor, optional

        Raises
        ------
        DtypeError
            If a weight or bias is no floating tensor.
        ShapeError
            If a shape does not fit; nothing is transposed.
        ArgumentError
            If there are values that are not finite, or biases for a layer without.
        EditRefusedError
            Between a forward and its backward.
        """
        rows, columns, values = self._entries(new_weight)
        if bias is not None:
            if self.bias is None:
                raise ArgumentError("bias: expected None for a layer without biases, got a tensor")
            if not isinstance(bias, Tensor) or bias.shape != self.bias.shape:
                raise ShapeError(f"bias: expected shape ({self.out_features},), got {tuple(np.shape(bias))}")
        edges = self.layer.edge_set
        self.layer.edges.check_idle("assign weights")
        have_src, have_dst = edges.pairs()
        wanted = np.sort(columns * self.out_features + rows)
        have = have_src.astype(np.int64) * self.out_features + have_dst
        gone, new = ~np.isin(have, wanted), np.setdiff1d(wanted, have, assume_unique=True)
        edges.edit(
            drop=(have_src[gone], have_dst[gone]),
            grow=(new // self.out_features, new % self.out_features),
            reason="assign_new_weight",
        )
        order = torch.from_numpy(np.lexsort((rows, columns)))
        self.layer.edges.set_values(values[order.to(values.device)])
        if bias is not None and self.bias is not None:
            self.bias.data.copy_(bias)
        return self

    def _entries(self, weight: Any) -> tuple[Any, Any, Tensor]:
        """Return rows, columns and values of the nonzero entries of a weight, checked."""
        if not isinstance(weight, Tensor) or not weight.is_floating_point():
            kind = str(weight.dtype) if isinstance(weight, Tensor) else type(weight).__name__
            raise DtypeError(f"new_weight: expected a floating tensor, got {kind}")
        if weight.shape != (self.out_features, self.in_features):
            turned = weight.shape == (self.in_features, self.out_features)
            hint = "; transpose it: torch weights are (out, in)" if turned else ""
            raise ShapeError(
                f"new_weight: expected shape ({self.out_features}, {self.in_features}), got {tuple(weight.shape)}{hint}"
            )
        weight = weight.detach()
        coo = (weight if weight.layout == torch.sparse_coo else weight.to_sparse_coo()).coalesce()
        values = coo.values()
        if not bool(torch.isfinite(values).all()):
            raise ArgumentError("new_weight: expected finite values, got NaN or infinity; nothing was changed")
        present = values != 0
        rows, columns = coo.indices()[:, present].cpu().numpy()
        return rows, columns, values[present]

    # -- pruning ----------------------------------------------------------------------------------------------------

    def set_k(self, k: float) -> Self:
        """Set the share that `prune_smallest_values` removes, and return the layer; ArgumentError outside (0, 1]."""
        self.k = _checked_k(k)
        return self

    def prune_smallest_values(self, k: float | None = None, of: Of = "all") -> Self:
        """Remove the values that are smallest in magnitude, and return the layer.

        Parameters
        ----------
        k : float, optional
            Share to remove, in (0, 1]; default `self.k`. The nearest number of values, at least one, equal ones by
            (input, output).
        of : {"all", "left"}
            Whether k is a share of all R * C pairs, or of the values that are left.

        Raises
        ------
        ArgumentError
            If k or `of` is not valid.
        EditRefusedError
            Between a forward and its backward.
        """
        share = self.k if k is None else _checked_k(k)
        if of not in ("all", "left"):
            raise ArgumentError(f"of: expected 'all' or 'left', got {of!r}")
        edges = self.layer.edge_set
        total = edges.num_admissible if of == "all" else edges.num_edges
        count = min(edges.num_edges, max(1, round(share * total)))
        if count:
            size = self.layer.edges.values().abs().double().cpu().numpy()
            rows = np.sort(np.argsort(size, kind="stable")[:count])
            src, dst = edges.pairs()
            edges.edit(drop=(src[rows], dst[rows]), reason="prune_smallest_values")
        return self

    # -- format -----------------------------------------------------------------------------------------------------

    @property
    def is_CSR(self) -> bool:  # noqa: N802
        """Whether `weight` is a CSR tensor."""
        return self.csr_mode

    def switch_to_CSR(self) -> Self:  # noqa: N802
        """Hand out `weight` as CSR from now on, and return the layer."""
        self.csr_mode = True
        return self

    def switch_to_COO(self) -> Self:  # noqa: N802
        """Hand out `weight` as COO from now on, and return the layer."""
        self.csr_mode = False
        return self

    def __repr__(self) -> str:
        return (
            f"SparseLayer(in_features={self.in_features}, out_features={self.out_features}, "
            f"bias={self.bias is not None}, csr_mode={self.csr_mode}, k={self.k})"
        )


def _checked_k(k: float) -> float:
    if isinstance(k, bool) or not isinstance(k, (int, float, np.number)) or not 0 < k <= 1 or math.isnan(k):
        raise ArgumentError(f"k: expected a number in (0, 1], the share of values to prune, got {k!r}")
    return float(k)


def _sparse_layers(model: nn.Module) -> list[SparseLayer]:
    found = [module for module in model.modules() if isinstance(module, SparseLayer)]
    if not found:
        raise ArgumentError(
            f"model: expected SparseLayers in it, got {type(model).__name__} without any; "
            "convert its layers first with deepgraph.converter.convert_model"
        )
    return found


def set_global_k(model: nn.Module, k: float) -> nn.Module:
    """Return `model` after the pruned share `k` of all its SparseLayers, at any depth, was set; all or none.

    Raises
    ------
    ArgumentError
        If k is not in (0, 1], or there is no SparseLayer.

    Examples
    --------
    >>> model = nn.Sequential(SparseLayer(4, 4), nn.Sequential(SparseLayer(4, 2)))
    >>> set_global_k(model, 0.25)[1][0].k
    0.25
    """
    share = _checked_k(k)
    for layer in _sparse_layers(model):
        layer.set_k(share)
    return model


def prune_sparse_model(model: nn.Module, dummy_input: Any = None, of: Of = "all") -> nn.Module:
    """Return `model` after each of its SparseLayers, at any depth, lost its share k of smallest values.

    Parameters
    ----------
    model : nn.Module
    dummy_input : optional
        The model is run on it once, without gradients, so that indexes are built now and not in the next step.
    of : {"all", "left"}
        What k is a share of; see `SparseLayer.prune_smallest_values`.

    Raises
    ------
    ArgumentError
        If `of` is not valid, or there is no SparseLayer.
    EditRefusedError
        Between a forward and its backward.

    Examples
    --------
    >>> model = nn.Sequential(SparseLayer(4, 4, k=0.5), nn.ReLU(), SparseLayer(4, 2, k=0.25))
    >>> [layer.num_edges for layer in prune_sparse_model(model, torch.ones(4))[::2]]
    [8, 6]
    """
    layers = _sparse_layers(model)
    for layer in layers:
        layer.layer.edges.check_idle("prune")
    for layer in layers:
        layer.prune_smallest_values(of=of)
    if dummy_input is not None:
        training = model.training
        with torch.no_grad():
            model.eval()(dummy_input)
        model.train(training)
    return model
