"""`GraphModule`: what every model of ours shares. A subclass says which layers it has and how their graph looks."""

from __future__ import annotations

import abc
import math
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from deepgraph.errors import ArgumentError, DtypeError, ShapeError, UnsupportedOperationError
from deepgraph.graph import CachedLayeredGraph, EdgeSet
from deepgraph.graph.arrays import Array
from deepgraph.graph.edge_store import BoundEdges
from deepgraph.graph.node_table import NodeTable
from deepgraph.kernels.activations import PRELU_SLOPE
from deepgraph.kernels.plan import NOMINAL_BATCH, Plan, check_batch
from deepgraph.sparse.engine import Engine, Part
from deepgraph.sparse.kept_plan import calibration_in_use, kept_plan
from deepgraph.sparse.layer import EdgeLayer
from deepgraph.sparse.maskable import MaskableModule

__all__ = ["GraphModule", "flat_size", "float_dtype"]

Size = int | Sequence[int]


def flat_size(size: Size, name: str) -> int:
    """Return the number of elements of a size given as an integer or a shape.

    Raises
    ------
    ArgumentError
        If it is not made of positive integers.

    Examples
    --------
    >>> flat_size((28, 28), "size_input")
    784
    """
    shape = (size,) if isinstance(size, (int, np.integer)) else tuple(size)
    if not shape or any(isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 1 for n in shape):
        raise ArgumentError(f"{name}: expected a positive integer or a shape of them, got {size!r}")
    return int(math.prod(shape))


def float_dtype(dtype: torch.dtype | None) -> torch.dtype:
    """Return `dtype`, by default torch's; DtypeError if it is not floating."""
    chosen = torch.get_default_dtype() if dtype is None else dtype
    if not chosen.is_floating_point:
        raise DtypeError(f"dtype: expected a floating dtype, got {chosen}")
    return chosen


class BiasColumn:
    """The node column `bias` of a live graph: biases of the layers at their targets, 0 at inputs."""

    name, rest, refused = "bias", 0.0, "biases of neurons that have one, got one for an input"

    def __init__(self, count: int, parts: list[tuple[EdgeLayer, Array]]) -> None:
        self.count, self.parts = count, parts

    def _held(self) -> list[tuple[Tensor, Array]]:
        found = [(getattr(layer, self.name), targets) for layer, targets in self.parts]
        return [(parameter, targets) for parameter, targets in found if parameter is not None]

    def read(self) -> Array:
        """Return the numbers (N,)."""
        result = np.full(self.count, self.rest)
        for parameter, targets in self._held():
            result[targets] = parameter.detach().cpu().double().numpy()
        return result

    def write(self, rows: Array | slice, values: Array) -> None:
        """Store numbers; ArgumentError for a node without one."""
        wanted = self.read()
        wanted[rows] = values
        if not np.isfinite(wanted).all():
            raise ArgumentError(f"{self.name}: expected finite numbers, got NaN or infinity; nothing was changed")
        covered = np.zeros(self.count, bool)
        for _, targets in self._held():
            covered[targets] = True
        if (wanted[~covered] != self.rest).any():
            raise ArgumentError(f"{self.name}: expected {self.refused}; nothing was changed")
        for parameter, targets in self._held():
            parameter.data.copy_(torch.from_numpy(wanted[targets]))

    def follow(self, edit: Any, moves: Any, grown: Array) -> None:
        """Nothing to do: the numbers belong to nodes, which no edit moves."""


class SlopeColumn(BiasColumn):
    """The node column `slope` of a live graph: of nodes whose activation is prelu; elsewhere where one would start."""

    name, rest = "slope", PRELU_SLOPE
    refused = "slopes of neurons whose activation is 'prelu', got one for another node"

    @classmethod
    def bind(cls, table: NodeTable, parts: list[tuple[EdgeLayer, Array]]) -> None:
        """Give a table the column where a layer has slopes; the targets of `parts` are those with one."""
        if any(layer.slope is not None for layer, _ in parts):
            columns = table.sync()
            columns.arrays.pop("slope", None)
            columns.present.pop("slope", None)
            columns.bound["slope"] = cls(table.count, parts)


class GraphModule(MaskableModule, abc.ABC):
    """A module whose connections are edge sets: its graph is live, its parameters follow every edit.

    A subclass sets `_config` (what `from_config` needs), makes its `EdgeLayer`s in `__init__` and calls `_compile()`
    at the end.
    """

    _config: dict[str, Any]

    # -- what a subclass says ---------------------------------------------------------------------------------------

    @abc.abstractmethod
    def _make_engines(self) -> dict[str, Engine]:
        """Return the engines that compute the layers, by name."""

    @abc.abstractmethod
    def _graph_parts(self) -> tuple[NodeTable, list[Part], dict[str, Any]]:
        """Return nodes, parts and graph attributes of the live graph."""

    # -- compiling --------------------------------------------------------------------------------------------------

    def _compile(self) -> None:
        if "_calibration" not in self.__dict__:
            self._calibration = calibration_in_use()
        self._engines = self._make_engines()
        for engine in self._engines.values():
            engine.calibration = self._calibration
            engine.batch = self._config.get("batch", NOMINAL_BATCH)
        for ordinary, run in groupby(self._engines.values(), lambda engine: isinstance(engine, Engine)):
            chain = tuple(run)
            for engine in chain if ordinary else ():
                engine.chain = chain
        self._graph: CachedLayeredGraph | None = None

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        state.pop("_engines", None)
        state.pop("_graph", None)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._compile()

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> GraphModule:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for layer in self._layers():
            if not layer.weight.dtype.is_floating_point:
                raise DtypeError(f"expected a floating dtype, got {layer.weight.dtype}")
        return self

    def _layers(self) -> list[EdgeLayer]:
        return [module for module in self.modules() if isinstance(module, EdgeLayer)]

    # -- the graph --------------------------------------------------------------------------------------------------

    @property
    def graph(self) -> CachedLayeredGraph:
        """The live graph: what is edited in it is edited in the module, at once or not at all."""
        if self._graph is None:
            nodes, parts, attributes = self._graph_parts()
            edges = BoundEdges([(layer.edge_set, row, column) for layer, row, column in parts], nodes.count)
            self._graph = CachedLayeredGraph._from_parts(nodes, edges, attributes)
        return self._graph

    @property
    def edge_sets(self) -> list[EdgeSet]:
        """The edge sets, in the order of the layers."""
        return [layer.edge_set for layer in self._layers()]

    @property
    def density(self) -> float:
        """Kept edges over admissible pairs of all edge sets, in [0, 1]."""
        sets = self.edge_sets
        return sum(s.num_edges for s in sets) / max(sum(s.num_admissible for s in sets), 1)

    @property
    def num_edges(self) -> int:
        """Number of edges of all edge sets."""
        return sum(s.num_edges for s in self.edge_sets)

    @property
    def plan(self) -> Plan:
        """How the module computes and why: storage, kernel, tiles, estimated operations and bytes. Print it."""
        return Plan.join({name: engine.plan for name, engine in self._engines.items()})

    def plan_for(self, batch: int) -> Plan:
        """Return the plan at another number of rows a pass: its tiles, operations and bytes.

        Storages stay those that the module has; a note says where "auto" would take another at that batch.

        Raises
        ------
        ArgumentError
            If batch is no integer from 1.

        Examples
        --------
        >>> import deepgraph as dg
        >>> model = dg.SparseLinear(1000, 1000, 0.4, storage="auto", seed=0)
        >>> model.plan.parts[0].batch, model.plan_for(4).parts[0].batch
        (128, 4)
        """
        check_batch(batch)
        return Plan.join({name: engine.plan_for(batch) for name, engine in self._engines.items()})

    def compact(self) -> None:
        """Give back the room that edits left in the parameters; captured optimizers' state follows."""
        for layer in self._layers():
            layer.edges.compact()

    # -- configuration ----------------------------------------------------------------------------------------------

    def config(self) -> dict[str, Any]:
        """Return what `from_config` needs to build the module without its weights: plain JSON values."""
        return {**self._config, "storages": self._storages(), "calibration": self._calibration}

    def _storages(self) -> list[str]:
        """Return the storage of each edge layer: a plan is kept, also where thresholds or densities have changed."""
        return [layer.storage for layer in self._layers()]

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Return a module of the shape that `config()` described, with weights and edges still to be loaded."""
        options = dict(config)
        with kept_plan(options.pop("storages", []), options.pop("calibration", "")):
            return cls(seed=0, dtype=getattr(torch, options.pop("dtype")), **options)

    @staticmethod
    def _input(x: Any, size: int, name: str) -> Tensor:
        """Return x flattened to (B, size); ShapeError says which width was expected."""
        if type(x) is Tensor and x.dim() == 2 and x.shape[1] == size:
            return x
        if not isinstance(x, Tensor):
            raise DtypeError(f"{name}: expected a torch.Tensor, got {type(x).__name__}")
        if x.dim() < 2 or math.prod(x.shape[1:]) != size:
            raise ShapeError(
                f"{name}: expected shape (batch, {size}), or one that flattens to it, got {tuple(x.shape)}"
            )
        return x.flatten(1)

    @staticmethod
    def _check_storage(storage: str) -> str:
        if storage not in ("auto", "csr", "coo", "masked"):
            raise UnsupportedOperationError(f"storage: expected 'auto', 'csr', 'coo' or 'masked', got {storage!r}")
        return storage
