"""`SparseConv1d` and `SparseConv2d`: convolutions whose weights are an edge set, for use in any `nn.Module`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, get_args

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from deepgraph.errors import ArgumentError, UnsupportedOperationError
from deepgraph.graph.node_table import NodeTable
from deepgraph.kernels.convolution_plan import choose_convolution
from deepgraph.kernels.windows import ConvolutionShape
from deepgraph.priors.densities import edge_budget
from deepgraph.sparse.build import bipartite_edges, check_density
from deepgraph.sparse.engine import Part
from deepgraph.sparse.initialisation import draw_weights
from deepgraph.sparse.kept_plan import storage_of
from deepgraph.sparse.layer import EdgeLayer
from deepgraph.sparse.module import BiasColumn, GraphModule, flat_size, float_dtype
from deepgraph.sparse.randomness import Seed, numpy_stream, root_seed, torch_stream
from deepgraph.sparse.values import Addresses
from deepgraph.sparse.window_engine import WindowEngine

__all__ = ["SparseConv1d", "SparseConv2d"]

PaddingMode = Literal["zeros", "reflect", "replicate", "circular"]
Sizes = int | Sequence[int]


class _SparseConv(GraphModule):
    """What convolutions of one and two dimensions share."""

    dimensions: ClassVar[int]

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sizes,
        density: float = 1.0,
        stride: Sizes = 1,
        padding: Sizes | str = 0,
        dilation: Sizes = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: PaddingMode = "zeros",
        *,
        init: str = "fan_in",
        storage: str = "auto",
        seed: Seed = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if padding_mode not in get_args(PaddingMode):
            raise ArgumentError(f"padding_mode: expected one of {get_args(PaddingMode)}, got {padding_mode!r}")
        kernel, steps, reach = (
            self._sizes(name, value)
            for name, value in (("kernel_size", kernel_size), ("stride", stride), ("dilation", dilation))
        )
        self.in_channels, self.out_channels = (
            flat_size(in_channels, "in_channels"),
            flat_size(out_channels, "out_channels"),
        )
        self.kernel_size, self.padding_mode = kernel, padding_mode
        if isinstance(groups, bool) or groups < 1 or self.in_channels % groups or self.out_channels % groups:
            raise ArgumentError(
                f"groups: expected a divisor of {self.in_channels} and {self.out_channels} channels, got {groups!r}"
            )
        self._around, inside = self._paddings(padding, kernel, steps, reach)
        self.shape = ConvolutionShape(
            self.in_channels, self.out_channels, self._both(kernel, 1), self._both(steps, 1), self._both(inside, 0),
            self._both(reach, 1), int(groups),
        )  # fmt: skip
        dtype, self._automatic = float_dtype(dtype), self._check_storage(storage) == "auto"
        self.layer = self._layer(check_density(density), bias, init, storage, root_seed(seed), dtype, device)
        self._config = {
            "in_channels": self.in_channels, "out_channels": self.out_channels, "kernel_size": list(kernel),
            "density": float(density), "stride": list(steps),
            "padding": padding if isinstance(padding, str) else list(self._sizes("padding", padding, 0)),
            "dilation": list(reach), "groups": int(groups), "bias": bool(bias), "padding_mode": padding_mode,
            "init": init, "storage": storage, "dtype": str(dtype).removeprefix("torch."),
        }  # fmt: skip
        self._compile()

    # -- what was asked for -----------------------------------------------------------------------------------------

    def _sizes(self, name: str, value: Any, least: int = 1) -> tuple[int, ...]:
        """Return one integer per dimension."""
        given = (value,) * self.dimensions if isinstance(value, (int, np.integer)) else tuple(value)
        fits = len(given) == self.dimensions and all(
            isinstance(n, (int, np.integer)) and not isinstance(n, bool) and n >= least for n in given
        )
        if not fits:
            raise ArgumentError(
                f"{name}: expected {self.dimensions} integers from {least}, or one for all, got {value!r}"
            )
        return tuple(int(n) for n in given)

    def _paddings(self, padding: Any, kernel: Any, steps: Any, reach: Any) -> tuple[list[int], tuple[int, ...]]:
        """Return what is put around x beforehand, in the order of `pad`, and what the kernels add in zeros."""
        none = (0,) * self.dimensions
        if padding == "valid":
            return [], none
        if padding == "same":
            if set(steps) != {1}:
                raise ArgumentError(f"padding: expected numbers or 'valid' for stride {steps}, got 'same'")
            total = [d * (k - 1) for d, k in zip(reach, kernel, strict=True)]
            if self.padding_mode == "zeros" and not any(n % 2 for n in total):
                return [], tuple(n // 2 for n in total)
            return [side for n in reversed(total) for side in (n // 2, n - n // 2)], none
        if isinstance(padding, str):
            raise ArgumentError(f"padding: expected integers, 'same' or 'valid', got {padding!r}")
        sizes = self._sizes("padding", padding, 0)
        if self.padding_mode == "zeros":
            return [], sizes
        return [side for n in reversed(sizes) for side in (n, n)], none

    def _both(self, sizes: tuple[int, ...], missing: int) -> tuple[int, int]:
        return (missing, sizes[0]) if self.dimensions == 1 else (sizes[0], sizes[1])

    @staticmethod
    def _check_storage(storage: str) -> str:
        if storage not in ("auto", "csr", "masked"):
            raise UnsupportedOperationError(f"storage: expected 'auto', 'csr' or 'masked', got {storage!r}")
        return storage

    def _layer(
        self, density: float, bias: bool, init: str, storage: str, seed: int, dtype: torch.dtype, device: Any
    ) -> EdgeLayer:
        sources, targets = self.shape.num_sources, self.out_channels
        edges = bipartite_edges(
            sources, targets, edge_budget(sources * targets, density), numpy_stream(seed, 0, 0), "convolution"
        )  # fmt: skip
        weight = draw_weights(edges, np.zeros(targets, np.uint8), init, torch_stream(seed, 0), dtype).to(device)
        chosen = storage_of(storage, lambda: choose_convolution(edges.density, self.shape, device=str(weight.device)))
        addresses = None
        if chosen == "masked":
            shape = (targets, self.in_channels // self.shape.groups, *self.kernel_size)
            addresses = Addresses(np.arange(targets) * sources, np.arange(sources), shape)
        biases = torch.zeros(targets, dtype=dtype, device=device) if bias else None
        return EdgeLayer(edges, weight, biases, addresses)

    # -- computing --------------------------------------------------------------------------------------------------

    def _make_engines(self) -> dict[str, Any]:
        return {"convolution": WindowEngine(self.layer, self.shape, self._automatic)}

    def _graph_parts(self) -> tuple[NodeTable, list[Part], dict[str, Any]]:
        sources, targets = self.shape.num_sources, self.out_channels
        table = NodeTable(sources + targets)
        table.columns.put("stage", np.repeat([0, 1], [sources, targets]).astype(np.int32))
        table.columns.put("role", np.repeat(["input", "output"], [sources, targets]))
        table.columns.bound["bias"] = BiasColumn(
            sources + targets, [(self.layer, np.arange(sources, sources + targets))]
        )
        return table, [(self.layer, 0, sources)], {}

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, O, *size') for x (B, C, *size)."""
        engine: Any = self._engines["convolution"]
        engine.check(x, self.dimensions)
        if self._around:
            mode = "constant" if self.padding_mode == "zeros" else self.padding_mode
            x = functional.pad(x, self._around, mode)
        y: Tensor = engine(x.unsqueeze(2) if self.dimensions == 1 else x)
        return y.squeeze(2) if self.dimensions == 1 else y

    def dense_weight(self) -> Tensor:
        """Return the weight (O, C / G, *kernel) with zeros where there is no edge: a detached copy."""
        values = self.layer.edges
        src, dst = (torch.from_numpy(part.astype(np.int64)) for part in values.edge_set.pairs())
        flat = values.parameter.detach().new_zeros(self.out_channels * self.shape.num_sources)
        flat[(dst * self.shape.num_sources + src).to(flat.device)] = values.values()
        return flat.view(self.out_channels, self.in_channels // self.shape.groups, *self.kernel_size)

    def extra_repr(self) -> str:
        """Return what was asked for and differs from a plain convolution."""
        plain = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1, "padding_mode": "zeros"}
        told = [
            f"{name}={self._config[name]}"
            for name, usual in plain.items()
            if self._config[name] not in (usual, [usual] * self.dimensions)
        ]
        return ", ".join([f"{self.in_channels}, {self.out_channels}, kernel_size={list(self.kernel_size)}", *told])


class SparseConv2d(_SparseConv):
    """A convolution of images of which only some entries of the kernels exist.

    Parameters
    ----------
    in_channels, out_channels : int
        C and O.
    kernel_size : int or (int, int)
    density : float
        Edges over O * C / groups * kernel positions, in (0, 1].
    stride, dilation : int or (int, int)
    padding : int, (int, int), "same" or "valid"
    groups : int
        Divides C and O.
    bias : bool
    padding_mode : {"zeros", "reflect", "replicate", "circular"}
    init : {"fan_in", "xavier", "torch"}
    storage : {"auto", "csr", "masked"}
        "csr" computes edge values over shifted windows, "masked" a dense convolution whose weight is kept 0 where there
        is no edge; "auto" chooses by density and shape.
    seed : int, Generator or None
    device, dtype
        As in torch.

    Attributes
    ----------
    layer : EdgeLayer
        Its edge set: sources are the entries of one window, input channels (relative to the target's group) times
        kernel positions in the order of torch's weight; targets are output channels. The same as those of a
        `torch.nn.Conv2d` after `sparsify`.

    Raises
    ------
    ArgumentError
        If a size, the density, a padding, `groups` or `init` is not valid.

    Notes
    -----
    `graph` shows one window: its entries, and the output channels.

    Examples
    --------
    >>> layer = SparseConv2d(8, 4, 3, density=0.125, padding=1, seed=0)
    >>> layer(torch.ones(2, 8, 5, 5)).shape, layer.num_edges
    (torch.Size([2, 4, 5, 5]), 36)
    """

    dimensions = 2


class SparseConv1d(_SparseConv):
    """A convolution of sequences of which only some entries of the kernels exist.

    Parameters
    ----------
    in_channels, out_channels, kernel_size, density, stride, padding, dilation, groups, bias, padding_mode
        As for `SparseConv2d`, with one number for each size.
    init, storage, seed, device, dtype
        As for `SparseConv2d`.

    Raises
    ------
    ArgumentError
        If a size, the density, a padding, `groups` or `init` is not valid.

    Examples
    --------
    >>> layer = SparseConv1d(8, 4, 5, density=0.25, stride=2, seed=0)
    >>> layer(torch.ones(2, 8, 15)).shape, layer.num_edges
    (torch.Size([2, 4, 6]), 40)
    """

    dimensions = 1
