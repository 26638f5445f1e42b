"""`DeepCellDAN`: a network on a directed acyclic graph whose nodes are modules, cells, such as convolutions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args

import networkx as nx
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from deepgraph.errors import ArgumentError, DtypeError, ShapeError, StructureError
from deepgraph.graph import CachedLayeredGraph
from deepgraph.sparse.module import flat_size
from deepgraph.sparse.structure import Structure

__all__ = ["DeepCellDAN"]

Align = Literal["pad", "crop", "interpolate", "pool", "error"]
Join = Literal["cat", "sum", "weighted_sum"]


class DeepCellDAN(nn.Module):
    """A network on a graph of cells: each node is a module that takes what its predecessors return.

    Parameters
    ----------
    num_classes : int
    input_channel_size : int
        Channels of x.
    cell_constructor : callable
        Called once a node, with keywords `is_input`, `is_output`, `in_degree`, `out_degree`, `layer` and
        `input_channel_size`; returns its cell. Cells of inputs map x; the others map the joined results of their
        predecessors: `in_degree * cell_channels` channels with join "cat", else `cell_channels`.
    structure : CachedLayeredGraph or nx.DiGraph
        Copied.
    cell_channels : int
        Channels that every cell returns.
    join : {"cat", "sum", "weighted_sum"}
        "cat" puts the predecessors' channels behind each other, in the order of their nodes; "weighted_sum" adds them
        with a weight sigmoid(e) in (0, 1) for each edge, learned, as in [1]_.
    align : {"pad", "crop", "interpolate", "pool", "error"}
        Results of different sizes are brought to one size first: zeros at the end of each axis up to the largest, cut
        there to the smallest, interpolated bilinearly to the largest, averaged down to the smallest, or refused.
    head_channels : int
        Width of the last 1 x 1 convolution, before pooling and the linear classifier.
    head : nn.Module, optional
        Takes the aligned results of all outputs, (B, O * cell_channels, h, w), in place of that.
    device, dtype
        Of the head and of edge weights; cells are as their constructor makes them.

    Attributes
    ----------
    cells : nn.ModuleList
        One a node, in the order of `graph`.
    edge_weight : (E,) Parameter or None
        With join "weighted_sum", in canonical order.

    Raises
    ------
    StructureError, CycleError
        If the structure is empty, has a cycle, an edge into an input, or a node that is fed by none.
    ArgumentError
        If a size, `join` or `align` is not valid.
    DtypeError
        If the constructor returns no module.

    References
    ----------
    .. [1] Xie, Kirillov, Girshick, He, "Exploring Randomly Wired Neural Networks for Image Recognition", ICCV 2019,
       section 3.2: node operations. Differs from the paper: outputs are joined as "cat", not averaged.

    Examples
    --------
    >>> graph = nx.DiGraph([(0, 2), (1, 2), (0, 3)])
    >>> def cell(is_input, is_output, in_degree, out_degree, layer, input_channel_size):
    ...     return nn.Conv2d(input_channel_size if is_input else in_degree, 1, 3, stride=2 if is_input else 1)
    >>> DeepCellDAN(10, 3, cell, graph)(torch.zeros(2, 3, 12, 12)).shape
    torch.Size([2, 10])
    """

    def __init__(
        self,
        num_classes: int,
        input_channel_size: int,
        cell_constructor: Callable[..., nn.Module],
        structure: nx.DiGraph[Any],
        *,
        cell_channels: int = 1,
        join: Join = "cat",
        align: Align = "pad",
        head_channels: int = 100,
        head: nn.Module | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        for name, value, known in (("join", join, get_args(Join)), ("align", align, get_args(Align))):
            if value not in known:
                raise ArgumentError(f"{name}: expected one of {known}, got {value!r}")
        self.input_channel_size = flat_size(input_channel_size, "input_channel_size")
        self.cell_channels, self.join, self.align = flat_size(cell_channels, "cell_channels"), join, align
        facts = Structure.of(structure, "identity", linear_outputs=True)
        self._graph = CachedLayeredGraph(structure)
        self._indptr, self._sources, self._edges = (array.tolist() for array in self._graph.csc())
        self._is_input = facts.is_input.tolist()
        self._outputs = facts.distinct("outputs").tolist()
        self._order = np.argsort(facts.stage, kind="stable").tolist()
        self.cells = nn.ModuleList(self._make_cells(cell_constructor, facts))
        place: dict[str, Any] = {"device": device, "dtype": dtype}
        weighted = join == "weighted_sum"
        self.edge_weight = nn.Parameter(torch.zeros(len(facts.src), **place)) if weighted else None
        width = len(self._outputs) * self.cell_channels
        self.head = _head(width, head_channels, num_classes, place) if head is None else head

    def _make_cells(self, cell_constructor: Callable[..., nn.Module], facts: Structure) -> list[nn.Module]:
        g, cells = self._graph, []
        layer, is_output = g.layer_array(), np.isin(np.arange(facts.num_nodes), facts.outputs)
        in_degree = np.bincount(facts.dst, minlength=facts.num_nodes)
        out_degree = np.bincount(facts.src, minlength=facts.num_nodes)
        wrong = np.flatnonzero(facts.is_input == (in_degree > 0))
        if wrong.size:
            raise StructureError(
                f"structure: expected inputs without predecessors and others with some, got {wrong.size} other nodes, "
                f"first {g.labels(wrong[:1])[0]!r}; change its role or its edges"
            )
        for v in range(facts.num_nodes):
            cell = cell_constructor(
                is_input=self._is_input[v],
                is_output=bool(is_output[v]),
                in_degree=int(in_degree[v]),
                out_degree=int(out_degree[v]),
                layer=int(layer[v]),
                input_channel_size=self.input_channel_size,
            )
            if not isinstance(cell, nn.Module):
                raise DtypeError(f"cell_constructor: expected an nn.Module for each node, got {type(cell).__name__}")
            cells.append(cell)
        return cells

    @property
    def graph(self) -> CachedLayeredGraph:
        """A copy of the structure."""
        return self._graph.copy()

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits (B, num_classes) for x (B, input_channel_size, h, w).

        Raises
        ------
        ShapeError
            If x has other channels, a cell returns other channels than `cell_channels`, or sizes differ and `align`
            is "error".
        """
        if x.dim() < 2 or x.shape[1] != self.input_channel_size:
            raise ShapeError(f"x: expected shape (batch, {self.input_channel_size}, ...), got {tuple(x.shape)}")
        results: dict[int, Tensor] = {}
        for v in self._order:
            low, high = self._indptr[v], self._indptr[v + 1]
            given = x if self._is_input[v] else self._joined(results, low, high)
            result = self.cells[v](given)
            if result.dim() < 2 or result.shape[1] != self.cell_channels:
                raise ShapeError(
                    f"the cell of node {self._graph.labels([v])[0]!r}: expected {self.cell_channels} channels, got "
                    f"shape {tuple(result.shape)}; set cell_channels="
                )
            results[v] = result
        logits: Tensor = self.head(torch.cat(self._aligned([results[v] for v in self._outputs]), 1))
        return logits

    def _joined(self, results: dict[int, Tensor], low: int, high: int) -> Tensor:
        """Return what the edges `low:high`, in target-major order, bring to their target."""
        parts = self._aligned([results[u] for u in self._sources[low:high]])
        if self.join == "cat":
            return torch.cat(parts, 1)
        if self.edge_weight is not None:
            shares = torch.sigmoid(self.edge_weight[self._edges[low:high]])
            parts = [part * share for part, share in zip(parts, shares, strict=True)]
        return torch.stack(parts).sum(0)

    def _aligned(self, parts: list[Tensor]) -> list[Tensor]:
        """Return tensors (B, C, *size) brought to one size."""
        sizes = [tuple(part.shape[2:]) for part in parts]
        if len(set(sizes)) == 1:
            return parts
        if self.align == "error" or len({len(size) for size in sizes}) > 1:
            raise ShapeError(f"expected results of one size, got {sorted(set(sizes))}; choose another `align`")
        largest = self.align in ("pad", "interpolate")
        wanted = tuple((max if largest else min)(axis) for axis in zip(*sizes, strict=True))
        return [_resized(part, wanted, self.align) for part in parts]

    def extra_repr(self) -> str:
        """Return the policies."""
        return f"join={self.join!r}, align={self.align!r}, cell_channels={self.cell_channels}"


def _resized(part: Tensor, size: tuple[int, ...], align: str) -> Tensor:
    """Return a tensor (B, C, *any) as (B, C, *size)."""
    if align == "pad":
        missing = [b - a for a, b in zip(part.shape[2:], size, strict=True)]
        return functional.pad(part, [n for amount in reversed(missing) for n in (0, amount)])
    if align == "crop":
        return part[(slice(None), slice(None), *(slice(n) for n in size))]
    if align == "interpolate":
        mode = {1: "linear", 2: "bilinear", 3: "trilinear"}[len(size)]
        return functional.interpolate(part, size, mode=mode, align_corners=False)
    pools: dict[int, Callable[..., Tensor]] = {
        1: functional.adaptive_avg_pool1d, 2: functional.adaptive_avg_pool2d, 3: functional.adaptive_avg_pool3d
    }  # fmt: skip
    return pools[len(size)](part, size)


def _head(width: int, channels: int, num_classes: int, place: dict[str, Any]) -> nn.Module:
    """Return 1 x 1 convolution, norm, mean over the image, and a linear classifier."""
    return nn.Sequential(
        nn.Conv2d(width, flat_size(channels, "head_channels"), 1, **place),
        nn.BatchNorm2d(channels, **place),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(channels, flat_size(num_classes, "num_classes"), **place),
    )
