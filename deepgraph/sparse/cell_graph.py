"""`CellNetwork`: a graph compiled with cells: a node is a group of channels, an edge a kernel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import networkx as nx
import numpy as np
import torch
from torch import Tensor, nn

from deepgraph.errors import DtypeError, EditRefusedError, ShapeError, UnsupportedOperationError
from deepgraph.graph.arrays import Array
from deepgraph.graph.edge_set import EdgeSet
from deepgraph.graph.history import EdgeEdit
from deepgraph.graph.node_table import NodeTable
from deepgraph.kernels.activations import activation
from deepgraph.kernels.operator import register
from deepgraph.kernels.passes import Passes
from deepgraph.kernels.plan import NOMINAL_BATCH, Plan, PlanPart, WeightSet
from deepgraph.sparse.build import slope_tensor
from deepgraph.sparse.cell_operator import cells_operator, seen_as_nodes
from deepgraph.sparse.cells import Cell, cell_from_config
from deepgraph.sparse.engine import Part
from deepgraph.sparse.initialisation import draw_weights
from deepgraph.sparse.kernel_layer import KernelLayer
from deepgraph.sparse.module import GraphModule, float_dtype
from deepgraph.sparse.randomness import Seed, root_seed, torch_stream
from deepgraph.sparse.structure import Structure
from deepgraph.sparse.values import EdgeValues

__all__ = ["CellNetwork"]


@dataclass(frozen=True)
class _Stage:
    """Nodes of one stage that are computed, and where their edges come from.

    Parameters
    ----------
    all : (m,) Tensor
        Positions of all nodes of the stage, inputs included.
    nodes, places : (n,) Tensor
        Positions of the computed ones, and where these are in `all`.
    parts : tuple of (stage, (k,) Tensor)
        Earlier stages with sources, and which of their nodes.
    source, target, edges : (K,) Tensor
        Ends among the joined parts and `nodes`, and canonical rows.
    bias : (n,) Tensor
        Rows of the biases.
    codes : tuple of (code, (m,) Tensor)
        Activations and the nodes, counted from 0, that have them.
    slopes : (k,) Tensor
        Rows of the slopes, of nodes that have one.
    """

    all: Tensor
    nodes: Tensor
    places: Tensor
    parts: tuple[tuple[int, Tensor], ...]
    source: Tensor
    target: Tensor
    edges: Tensor
    bias: Tensor
    codes: tuple[tuple[int, Tensor], ...]
    slopes: Tensor


class _Watch(torch.autograd.Function):
    """Passes a result on, and tells the engine when its backward runs."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, token: Tensor, engine: CellEngine) -> Tensor:
        ctx.save_for_backward(token)
        ctx.engine = engine
        return y.view_as(y)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Any, ...]:
        ctx.engine.consume(ctx.saved_tensors[0])
        return dy, None, None


class CellEngine(Passes):
    """Computes a graph of cells stage by stage with torch operations, and follows its edits."""

    has_factors = False

    def __init__(
        self,
        layer: KernelLayer,
        bias: nn.Parameter | None,
        slope: nn.Parameter | None,
        facts: Structure,
        cell: Cell,
    ) -> None:
        super().__init__()
        self.layer, self.bias, self.slope, self.facts, self.cell = layer, bias, slope, facts, cell
        self.armed, self.calibration, self.batch = False, "", NOMINAL_BATCH
        self._captured: Tensor | None = None
        # Made at once and not on demand, so that torch.compile finds them ready.
        self._stages = self._make_stages(layer.kernel.device)
        self.handle = register(self)  # type: ignore[arg-type]
        layer.edges.owner = self
        layer.edge_set.listen(self)

    def program(self) -> CellEngine:
        """Return this engine: it is the owner of its handle."""
        return self

    def _make_stages(self, device: torch.device) -> list[_Stage]:
        """Return the stages of the present edges."""
        by_stage = np.argsort(self.facts.stage, kind="stable")
        self._inputs, self._outputs, self._by_stage = (
            torch.from_numpy(np.array(part, np.int64)).to(device)
            for part in (self.facts.inputs, np.argsort(by_stage)[self.facts.outputs], by_stage)
        )
        return [self._stage(stage, device) for stage in np.unique(self.facts.stage).tolist()]

    def _stage(self, stage: int, device: torch.device) -> _Stage:
        facts = self.facts
        src, dst = self.layer.edge_set.pairs()
        nodes = np.flatnonzero((facts.stage == stage) & ~facts.is_input)
        rows = np.flatnonzero(facts.stage[dst] == stage)
        parts, joined = [], np.zeros(facts.num_nodes, np.int64)
        begin = 0
        for number, earlier in enumerate(np.unique(facts.stage)):
            of_stage = np.flatnonzero(facts.stage == earlier)
            used = np.intersect1d(of_stage, src[rows])
            if used.size:
                parts.append((number, torch.from_numpy(np.searchsorted(of_stage, used)).to(device)))
                joined[used] = begin + np.arange(used.size)
                begin += used.size
        bias = np.cumsum(~facts.is_input)[nodes] - 1
        codes = facts.activation[nodes]

        def tensor(array: Array) -> Tensor:
            return torch.from_numpy(np.array(array, np.int64)).to(device)

        everyone = np.flatnonzero(facts.stage == stage)
        groups = tuple((int(c), tensor(np.flatnonzero(codes == c))) for c in np.unique(codes))
        slopes = (np.cumsum(facts.has_slope) - 1)[nodes[facts.has_slope[nodes]]]
        return _Stage(
            tensor(everyone), tensor(nodes), tensor(np.searchsorted(everyone, nodes)), tuple(parts),
            tensor(joined[src[rows]]), tensor(np.searchsorted(nodes, dst[rows])), tensor(rows), tensor(bias), groups,
            tensor(slopes),
        )  # fmt: skip

    def __call__(self, x: Tensor) -> Tensor:
        """Return (B, O, W, *size) for x (B, I, W, *size)."""
        y = self.run(x, self.parameters())
        if torch.is_grad_enabled() and y.requires_grad:
            token = y.new_empty(1)
            self.note(token)
            y = _Watch.apply(y, token, self)  # type: ignore[no-untyped-call]
        return y

    def parameters(self) -> list[Tensor]:
        """Return weights and kernels, and biases and slopes where there are some."""
        return [self.layer.weight, self.layer.kernel, *(p for p in (self.bias, self.slope) if p is not None)]

    def run(self, x: Tensor, parameters: Sequence[Tensor]) -> Tensor:
        """Return (B, O, W, *size) for x (B, I, W, *size), computed with tensors in place of `parameters()`."""
        weight, kernel, *rest = parameters
        bias = rest.pop(0) if self.bias is not None else None
        slope = rest.pop(0) if self.slope is not None else None
        kernels = self.layer.kernels(weight, kernel)
        if self._inputs.device != kernels.device:
            self._stages = self._make_stages(kernels.device)
        passed = x.new_zeros(x.shape[0], self.facts.num_nodes, *x.shape[2:]).index_add(1, self._inputs, x)
        outs: list[Tensor] = []
        for stage in self._stages:
            a = passed.index_select(1, stage.all)
            if len(stage.nodes):
                computed = self._activated(stage, self._sums(stage, outs, kernels, bias, x), slope)
                a = a.index_copy(1, stage.places, computed)
            outs.append(a)
        return torch.cat(outs, 1).index_select(1, self._outputs)

    def _sums(self, stage: _Stage, outs: list[Tensor], kernels: Tensor, bias: Tensor | None, x: Tensor) -> Tensor:
        """Return the sums (B, n, W, *size) of one stage, biases included."""
        shape = (x.shape[0], len(stage.nodes), *x.shape[2:])
        if stage.parts:
            given = torch.cat([outs[number].index_select(1, which) for number, which in stage.parts], 1)
            z = self.cell.combine(given, kernels[stage.edges], stage.source, stage.target, len(stage.nodes))
            if z.shape != shape:
                raise ShapeError(
                    f"cell: expected messages of the inputs' shape {tuple(shape[2:])}, got {tuple(z.shape[2:])}"
                )
        else:
            z = x.new_zeros(shape)
        if bias is not None:
            z = z + self._everywhere(bias[stage.bias])
        if self.armed and outs and z.requires_grad:
            self._listen(stage, z, torch.cat(outs, 1).detach())
        return z

    def _listen(self, stage: _Stage, z: Tensor, earlier: Tensor) -> None:
        """Add the norms of the gradients of all pairs into a stage when the gradient of its sums comes."""
        sources = self._by_stage[: earlier.shape[1]]

        def capture(dz: Tensor) -> None:
            if self._captured is None:
                self._captured = dz.new_zeros(self.facts.num_nodes, self.facts.num_nodes)
            self._captured[sources[:, None], stage.nodes] += self.cell.pair_norms(earlier, dz.detach())

        z.register_hook(capture)  # type: ignore[no-untyped-call]

    def _everywhere(self, numbers: Tensor) -> Tensor:
        """Return numbers (n, W) of nodes and channels as (1, n, W, 1, ...)."""
        return numbers.view(1, -1, self.cell.width, *[1] * self.cell.dimensions)

    def _activated(self, stage: _Stage, z: Tensor, slope: Tensor | None) -> Tensor:
        for code, which in stage.codes:
            entry = activation(code)
            own = () if slope is None or not entry.has_slope else (self._everywhere(slope[stage.slopes]),)
            if len(stage.codes) == 1:
                return entry.forward(z, *own)
            z = z.index_copy(1, which, entry.forward(z.index_select(1, which), *own))
        return z

    @property
    def plan(self) -> Plan:
        """How the graph is computed and why."""
        return self.plan_for(self.batch)

    def plan_for(self, batch: int) -> Plan:
        """Return the plan with operations counted for so many places of the result."""
        edges, kernel = self.layer.edge_set, self.layer.kernel
        each = int(np.prod(self.layer.kernel_shape))
        part = PlanPart(
            "cells", "csr", "cells", type(self.cell).__name__, str(kernel.dtype).removeprefix("torch."),
            str(kernel.device), (WeightSet(edges.name, edges.num_edges, edges.num_admissible),), 0, 0,
            3 * edges.num_edges * each * batch, edges.num_edges * each * 2 * kernel.dtype.itemsize,
            "cells compute stage by stage with torch's operations",
            (f"operations are counted for {batch} places of the result",), batch,
        )  # fmt: skip
        return Plan((part,))

    # -- following edits --------------------------------------------------------------------------------------------

    def edit_check(self, edge_set: EdgeSet, edit: EdgeEdit) -> None:
        """Nothing to refuse here: the layer's values ask whether a backward is pending."""

    def edit_done(self, edge_set: EdgeSet, edit: EdgeEdit) -> None:
        """Rebuild the stages; a backward of an earlier forward is refused from now on."""
        self._stages = self._make_stages(self.layer.kernel.device)
        self.outdate("the graph was edited")

    def arm(self, on: bool) -> None:
        """Let the next passes capture the gradients of all pairs, or stop and forget them."""
        self.armed = on
        if not on:
            self._captured = None

    def captured(self, values: EdgeValues) -> tuple[Tensor, ...]:
        """Return `(G (N, N),)`: the norms of the gradients of the kernels of all pairs, summed over backwards."""
        if self._captured is None:
            raise EditRefusedError(
                f"{values.edge_set.name}: expected captured gradients, got none; call arm(), then forward and backward"
            )
        return (self._captured,)

    def factors(self, values: EdgeValues) -> tuple[Tensor, Tensor]:
        """Raise UnsupportedOperationError: kernels have norms of gradients and no factors."""
        raise UnsupportedOperationError(
            f"{values.edge_set.name}: expected edges that are numbers for the factors of gradients, got kernels, which "
            "have the norms of all pairs; use captured()"
        )


class CellNetwork(GraphModule):
    """A graph of cells; `MaskedDeepDAN.from_graph(g, cell=...)` makes one.

    Node v computes act(b_v + sum over edges (u, v) of w_uv K_uv / |K_uv| applied to u), K_uv the kernel of the edge:
    its weight in the graph is the norm of what the edge does, with a sign, and every rewirer acts on it. An absent
    pair is ranked by the norm of its kernel's gradient.

    Attributes
    ----------
    layer : KernelLayer
        The edges, their weights (E,) and kernels (E, *kernel_shape).
    bias : (C, W) Parameter or None
        Of the C nodes that are no inputs.
    slope : (S, W) Parameter or None
        Of the S nodes whose activation is prelu.
    cell : Cell

    Notes
    -----
    An edge that comes starts with weight 0 and the first kernel of its pair, which follows from the seed; `undo` brings
    pairs and weights back, and kernels to that start.

    References
    ----------
    .. [1] Salimans, Kingma: Weight Normalization, NeurIPS 2016, equation 2. Differs from the paper: one norm an edge.
    """

    def __init__(
        self,
        layer: KernelLayer,
        bias: nn.Parameter | None,
        slope: nn.Parameter | None,
        facts: Structure,
        cell: Cell,
    ) -> None:
        super().__init__()
        self.layer, self.bias, self.slope, self.structure_facts, self.cell = layer, bias, slope, facts, cell

    @classmethod
    def from_graph(
        cls,
        g: nx.DiGraph[Any],
        cell: Cell,
        *,
        activation: str = "relu",
        bias: bool = True,
        init: str = "fan_in",
        seed: Seed = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> CellNetwork:
        """Return the module that computes the graph `g` with cells; see `MaskedDeepDAN.from_graph`."""
        if not isinstance(cell, Cell):
            raise DtypeError(f"cell: expected a deepgraph.cells.Cell such as cells.Conv2d(3), got {cell!r:.80}")
        facts = Structure.of(g, activation, linear_outputs=True, any_order=True)
        if facts.reduce.any():
            raise UnsupportedOperationError("node column 'reduce': expected 'sum' for cells, got 'max' or 'prod'")
        dtype, root = float_dtype(dtype), root_seed(seed)
        edges = EdgeSet.from_pairs(
            facts.src, facts.dst, facts.num_nodes, facts.num_nodes, name="graph", stage=facts.stage,
            closed=facts.is_input,
        )  # fmt: skip
        if facts.weight is None:
            # W targets of a node share the norm of a kernel.
            weight = draw_weights(edges, facts.activation, init, torch_stream(root, 1), dtype) * cell.width**0.5
        else:
            weight = torch.from_numpy(np.array(facts.weight)).to(dtype)
        layer = KernelLayer(edges, weight.to(device), cell.kernel_shape, root)
        start = torch.from_numpy(facts.bias[~facts.is_input])[:, None].repeat(1, cell.width)
        biases = nn.Parameter(start.to(device=device, dtype=dtype)) if bias else None
        slope = slope_tensor(facts.slope[facts.has_slope], dtype, device)
        slopes = None if slope is None else nn.Parameter(slope[:, None].repeat(1, cell.width))
        self = cls(layer, biases, slopes, facts, cell)
        self._config = {
            "activation": activation, "bias": bool(bias), "init": init, "dtype": str(dtype).removeprefix("torch."),
            "kernel_seed": root,
        }  # fmt: skip
        self._compile()
        return self

    def _make_engines(self) -> dict[str, Any]:
        return {"cells": CellEngine(self.layer, self.bias, self.slope, self.structure_facts, self.cell)}

    def _graph_parts(self) -> tuple[NodeTable, list[Part], dict[str, Any]]:
        return self.structure_facts.table.copy(), [(self.layer, 0, 0)], dict(self.structure_facts.attributes)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, O * W, *size) for x (B, I * W, *size), the channels of a node next to each other.

        Raises
        ------
        ShapeError, DtypeError
            If x does not fit.
        """
        width, count = self.cell.width, len(self.structure_facts.inputs)
        kernel = self.layer.kernel
        if x.dim() != 2 + self.cell.dimensions or x.shape[1] != count * width:
            sizes = "".join([", height, width", ", length", ""][2 - self.cell.dimensions])
            raise ShapeError(
                f"x: expected shape (batch, {count * width}{sizes}), {width} channels for each of {count} inputs, got "
                f"{tuple(x.shape)}"
            )
        if x.dtype != kernel.dtype or x.device != kernel.device:
            raise DtypeError(f"x: expected {kernel.dtype} on {kernel.device} as the model, got {x.dtype} on {x.device}")
        if kernel.is_meta:
            raise UnsupportedOperationError(
                "expected kernels with values, got a module on the device meta; call model.to_empty(device='cpu') and "
                "load a state first"
            )
        engine: Any = self._engines["cells"]
        grouped = x.reshape(x.shape[0], count, width, *x.shape[2:])
        if seen_as_nodes():
            y: Tensor = cells_operator(grouped, engine.parameters(), engine.handle)[0]
        else:
            y = engine(grouped)
        return y.flatten(1, 2)

    def compact(self) -> None:
        """Give back the room that edits left in the parameters."""
        self.layer.compact()

    def config(self) -> dict[str, Any]:
        """Return what `from_config` needs: JSON values, and the graph under "structure"."""
        return {**self._config, "cell": self.cell.config(), "structure": self.graph.copy()}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> CellNetwork:
        """Return a model of the shape that `config()` described, with weights still to be loaded."""
        options = dict(config)
        options["seed"] = options.pop("kernel_seed")
        graph, cell = options.pop("structure"), cell_from_config(options.pop("cell"))
        return cls.from_graph(graph, cell, **{**options, "dtype": getattr(torch, options["dtype"])})

    def extra_repr(self) -> str:
        """Return the cell."""
        return repr(self.cell)
