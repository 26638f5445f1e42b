"""`MaskedDeepDAN`: a network whose neurons form any directed acyclic graph."""

from __future__ import annotations

import warnings
from typing import Any, overload

import networkx as nx
import numpy as np
import torch
from torch import Tensor

from deepgraph.errors import ArgumentError, TooLargeError, UnsupportedOperationError
from deepgraph.graph import CachedLayeredGraph
from deepgraph.graph.edge_set import EdgeSet
from deepgraph.graph.node_table import NodeTable
from deepgraph.kernels.activations import activation as activation_of
from deepgraph.kernels.masked import MASKED_LIMIT
from deepgraph.kernels.plan import NOMINAL_BATCH, check_batch, has_numba
from deepgraph.priors.densities import edge_budget
from deepgraph.sparse.build import check_density, random_layer, slope_tensor
from deepgraph.sparse.cell_graph import CellNetwork
from deepgraph.sparse.cells import Cell
from deepgraph.sparse.engine import Engine, Part, chosen_storage
from deepgraph.sparse.initialisation import draw_weights
from deepgraph.sparse.kept_plan import calibration_in_use, kept_plan, storage_of
from deepgraph.sparse.layer import EdgeLayer
from deepgraph.sparse.linear import bipartite_nodes
from deepgraph.sparse.module import BiasColumn, GraphModule, Size, SlopeColumn, flat_size, float_dtype
from deepgraph.sparse.normed import NormedEngine
from deepgraph.sparse.randomness import Seed, root_seed, torch_stream
from deepgraph.sparse.structure import Structure, assemble
from deepgraph.sparse.values import Addresses

__all__ = ["MaskedDeepDAN"]

DEEP = 100
# Up to this many pairs what surrounds a dense product takes longer than going edge by edge.
_SMALL = 2**14
_SLOPED = [activation_of("prelu").code]


def dag_addresses(structure: Structure) -> Addresses:
    """Return the addresses of pairs in the flat masked layout: one (stage width, earlier nodes) block a stage."""
    order = np.argsort(structure.stage, kind="stable")
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    starts = np.searchsorted(structure.stage[order], np.unique(structure.stage))
    begin = starts[np.searchsorted(starts, rank, side="right") - 1]
    width = np.diff(np.append(starts, len(order)))
    block = np.concatenate([[0], np.cumsum(width * starts)])
    row = block[np.searchsorted(starts, rank, side="right") - 1] + (rank - begin) * begin
    return Addresses(row, rank, (int(block[-1]),))


class MaskedDeepDAN(GraphModule):
    """A network on a directed acyclic graph: `a_v = act(b_v + sum over edges (u, v) of w_uv a_u)`.

    A stem joins the input to the structure's inputs and a head joins its outputs to the output. To compile a graph as
    it is, without stem and head, use `MaskedDeepDAN.from_graph`.

    Parameters
    ----------
    size_input, size_output : int or shape
        Shapes are flattened.
    structure : CachedLayeredGraph or nx.DiGraph
        Copied. An undirected graph is an error: orient it with `deepgraph.from_networkx`.
    use_layer_norm : bool
        Normalise the sums of each stage of the structure before the activation.
    activation : str
        Of every neuron without an own `activation`; the output is linear.
    stem_density, head_density : float
        Edges over pairs of the stem and the head, in (0, 1].
    init : {"fan_in", "xavier", "torch"}
        For the edges, unless the structure has a column `weight`.
    storage : {"auto", "csr", "coo", "masked"}
        Of the structure. Where it is "auto", stem and head choose by their density, and take edge values if small.
    batch : int
        Rows of a pass that "auto" chooses for; few rows are taken to be inference. Every batch computes.
    seed : int, Generator or None
    device, dtype
        As in torch.

    Raises
    ------
    StructureError, CycleError
        If the structure is empty, has a cycle, weights that are not finite, or a role or reduction unknown here.
    ArgumentError
        If a size, a density, `init` or `activation` is not valid.

    Warns
    -----
    UserWarning
        If the structure has fewer inputs or outputs than `size_output`, or more than 100 layers: it is a bottleneck.

    Examples
    --------
    >>> import deepgraph as dg
    >>> model = MaskedDeepDAN(4, 2, dg.priors.random_layered([5, 6, 4], 0.5, seed=0), seed=0)
    >>> model(torch.zeros(5, 4)).shape, model.graph.number_of_edges(), model.num_edges
    (torch.Size([5, 2]), 27, 55)
    """

    def __init__(
        self,
        size_input: Size,
        size_output: Size,
        structure: nx.DiGraph[Any],
        use_layer_norm: bool = False,
        *,
        activation: str = "relu",
        bias: bool = True,
        stem_density: float = 1.0,
        head_density: float = 1.0,
        init: str = "fan_in",
        storage: str = "auto",
        batch: int = NOMINAL_BATCH,
        seed: Seed = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        n_in, n_out = flat_size(size_input, "size_input"), flat_size(size_output, "size_output")
        facts = Structure.of(structure, activation, linear_outputs=False)
        _warn_bottleneck(facts, n_out)
        root, dtype = root_seed(seed), float_dtype(dtype)
        options: dict[str, Any] = {
            "bias": bias, "init": init, "dtype": dtype, "device": device, "seed": root, "batch": check_batch(batch)
        }  # fmt: skip
        first, last = facts.distinct("inputs"), facts.distinct("outputs")
        stem = edge_budget(n_in * len(first), check_density(stem_density, "stem_density"))
        head = edge_budget(len(last) * n_out, check_density(head_density, "head_density"))
        self._check_storage(storage)
        outer = {"storage": _outer_storage(storage, n_in * len(first)), **options}
        slope = facts.slope[first[np.isin(facts.activation[first], _SLOPED)]]
        self.stem: EdgeLayer | None = random_layer(
            (n_in, len(first)), stem, activation, "stem", path=0, slope=slope, **outer
        )
        self.core = _core(facts, storage="csr" if use_layer_norm else storage, path=1, **options)
        outer["storage"] = _outer_storage(storage, len(last) * n_out)
        self.head: EdgeLayer | None = random_layer((len(last), n_out), head, "identity", "head", path=2, **outer)
        self._finish(facts, {
            "size_input": n_in, "size_output": n_out, "use_layer_norm": bool(use_layer_norm), "bias": bool(bias),
            "stem_density": float(stem_density), "head_density": float(head_density), "init": init,
            "batch": batch,
        }, activation, storage, dtype)  # fmt: skip
        if use_layer_norm:
            stages, widths = np.unique(facts.stage[~facts.is_input], return_counts=True)
            self.norms = torch.nn.ModuleDict({
                str(k): torch.nn.LayerNorm(int(n), device=device, dtype=dtype)
                for k, n in zip(stages.tolist(), widths.tolist(), strict=True)
            })  # fmt: skip
        self._compile()

    def _finish(self, facts: Structure, config: dict[str, Any], act: str, storage: str, dtype: torch.dtype) -> None:
        self.structure_facts = facts
        self.norms = torch.nn.ModuleDict()
        self._config = {**config, "activation": act, "storage": storage, "dtype": str(dtype).removeprefix("torch.")}

    @overload
    @classmethod
    def from_graph(
        cls,
        g: nx.DiGraph[Any],
        *,
        cell: None = None,
        activation: str = "relu",
        bias: bool = True,
        init: str = "fan_in",
        storage: str = "auto",
        batch: int = NOMINAL_BATCH,
        seed: Seed = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> MaskedDeepDAN: ...
    @overload
    @classmethod
    def from_graph(
        cls,
        g: nx.DiGraph[Any],
        *,
        cell: Cell,
        activation: str = "relu",
        bias: bool = True,
        init: str = "fan_in",
        storage: str = "auto",
        batch: int = NOMINAL_BATCH,
        seed: Seed = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> CellNetwork: ...
    @classmethod
    def from_graph(
        cls,
        g: nx.DiGraph[Any],
        *,
        cell: Cell | None = None,
        activation: str = "relu",
        bias: bool = True,
        init: str = "fan_in",
        storage: str = "auto",
        batch: int = NOMINAL_BATCH,
        seed: Seed = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> MaskedDeepDAN | CellNetwork:
        """Return the module that computes the graph `g` itself: its inputs take x, its outputs are the result.

        Parameters
        ----------
        g : CachedLayeredGraph or nx.DiGraph
            Copied. Read where present: node columns `stage`, `role`, `bias`, `activation`, `slope` (of a "prelu", .25
            by default, learned), `reduce` ("sum", or "max" or "prod" of the weighted inputs, to which the bias is
            added); edge column `weight`;
            graph attributes `inputs`, `outputs` (positions, repeats allowed) and `output_shape`. Without roles,
            sources are inputs and sinks outputs. Outputs without an `activation` are linear. A node named twice in
            `inputs` takes the sum of its columns.
        cell : deepgraph.cells.Cell, optional
            Makes nodes groups of channels and edges kernels, and the result a `CellNetwork`; needed where nodes are
            channels or module calls (order 1 or 2).
        activation, bias, init, storage, batch, seed, device, dtype
            As for the class. Weights are drawn only where `g` has none. With a cell there is one storage.

        Raises
        ------
        StructureError, CycleError, MissingColumnError
            If the graph is empty, has a cycle, lacks inputs or outputs, has weights on some edges only, weights
            that are not finite, an edge into an input, or a role or reduction that is unknown.

        Examples
        --------
        >>> g = CachedLayeredGraph.from_arrays([0, 1], [2, 2], weight=[2.0, -1.0])
        >>> MaskedDeepDAN.from_graph(g)(torch.tensor([[3.0, 1.0]]))
        tensor([[5.]], grad_fn=...)
        """
        if cell is not None:
            cls._check_storage(storage)
            return CellNetwork.from_graph(
                g, cell, activation=activation, bias=bias, init=init, seed=seed, device=device, dtype=dtype
            )
        self = cls.__new__(cls)
        GraphModule.__init__(self)
        facts = Structure.of(g, activation, linear_outputs=True)
        dtype = float_dtype(dtype)
        self.stem, self.head = None, None
        self.core = _core(
            facts, storage=cls._check_storage(storage), path=1, bias=bias, init=init, dtype=dtype, device=device,
            seed=root_seed(seed), batch=check_batch(batch),
        )  # fmt: skip
        self._finish(facts, {"bias": bool(bias), "init": init, "batch": batch}, activation, storage, dtype)
        self._compile()
        return self

    # -- computing --------------------------------------------------------------------------------------------------

    def _make_engines(self) -> dict[str, Any]:
        facts, core, automatic = self.structure_facts, self.core, self._config["storage"] == "auto"
        nodes = facts.nodes()
        if self.stem is None or self.head is None:
            return {"graph": Engine([(core, 0, 0)], nodes, core.storage, automatic)}
        first, last = facts.distinct("inputs"), facts.distinct("outputs")
        stem = bipartite_nodes(self.stem.edge_set.num_sources, len(first), 0)
        stem["activation"][-len(first) :] = facts.activation[first]
        head = bipartite_nodes(len(last), self.head.edge_set.num_targets, 0)
        nodes.update(inputs=first, outputs=last)
        return {
            "stem": Engine([(self.stem, 0, self.stem.edge_set.num_sources)], stem, self.stem.storage, automatic),
            "structure": (
                NormedEngine(core, facts, self.norms)
                if len(self.norms)
                else Engine([(core, 0, 0)], nodes, core.storage, automatic)
            ),
            "head": Engine([(self.head, 0, len(last))], head, self.head.storage, automatic),
        }

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, size_output) for x (B, *size_input); of a compiled graph (B, *output_shape) for (B, I)."""
        engines = list(self._engines.values())
        width = engines[0].width
        x = self._input(x, width, "x")
        engines[0].check(x)
        for engine in engines:
            x = engine(x)
        shape = self.structure_facts.output_shape
        return x if shape is None or self.stem is not None else x.reshape(len(x), *shape)

    # -- the graph --------------------------------------------------------------------------------------------------

    def _graph_parts(self) -> tuple[NodeTable, list[Part], dict[str, Any]]:
        facts = self.structure_facts
        table = facts.table.copy()
        columns = table.sync()
        columns.arrays.pop("bias", None)
        columns.present.pop("bias", None)
        targets = [(self.core, np.flatnonzero(~facts.is_input))]
        if self.stem is not None:
            targets.append((self.stem, facts.distinct("inputs")))
        columns.bound["bias"] = BiasColumn(table.count, targets)
        sloped = np.isin(facts.activation, _SLOPED)
        SlopeColumn.bind(table, [(layer, which[sloped[which]]) for layer, which in targets])
        return table, [(self.core, 0, 0)], dict(facts.attributes)

    def generate_structure(self, include_input: bool = False, include_output: bool = False) -> CachedLayeredGraph:
        """Return a free copy of the structure, on request with the input and output neurons and their edges.

        Parameters
        ----------
        include_input : bool
            Put the input neurons and the stem's edges before the structure.
        include_output : bool
            Put the head's edges and the output neurons behind it.

        Returns
        -------
        CachedLayeredGraph
            Nodes in the order input, structure, output, numbered from 0 where one of them was added; columns
            `stage`, `role`, `bias`, `activation`, edge column `weight`.

        Raises
        ------
        ArgumentError
            If the model was compiled from a graph, which has its inputs and outputs already.

        Examples
        --------
        >>> import deepgraph as dg
        >>> model = MaskedDeepDAN(4, 2, dg.priors.random_layered([5, 6, 4], 0.5, seed=0), seed=0)
        >>> model.generate_structure(include_input=True, include_output=True).number_of_edges()
        55
        """
        if not (include_input or include_output):
            return self.graph.copy()
        if self.stem is None or self.head is None:
            raise ArgumentError(
                "generate_structure: expected a model with stem and head, got one compiled by from_graph, whose graph "
                "has its inputs and outputs already; use model.graph"
            )
        facts = self.structure_facts
        before = (self.stem, facts.distinct("inputs")) if include_input else None
        behind = (self.head, facts.distinct("outputs")) if include_output else None
        return assemble(self.graph, facts, before, behind)

    def config(self) -> dict[str, Any]:
        """Return what `from_config` needs to build the module: JSON values, and the graph under "structure"."""
        return {**super().config(), "structure": self.graph.copy()}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> MaskedDeepDAN:
        """Return a model of the shape that `config()` described, with weights still to be loaded."""
        options = dict(config)
        graph, dtype = options.pop("structure"), getattr(torch, options.pop("dtype"))
        with kept_plan(options.pop("storages", []), options.pop("calibration", "")), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            if "size_input" not in options:
                made: MaskedDeepDAN = cls.from_graph(graph, seed=0, dtype=dtype, **options)
                return made
            return cls(options.pop("size_input"), options.pop("size_output"), graph, seed=0, dtype=dtype, **options)


def _outer_storage(storage: str, pairs: int) -> str:
    """Return the storage of a stem or head."""
    fixed = not calibration_in_use()
    return "csr" if storage == "auto" and pairs <= _SMALL and fixed and has_numba() else storage


def _core(
    facts: Structure,
    *,
    storage: str,
    path: int,
    bias: bool,
    init: str,
    seed: int,
    dtype: torch.dtype,
    device: torch.device | str | None,
    batch: int,
) -> EdgeLayer:
    """Return the layer of the structure's own edges; weights and biases are the graph's where it has them."""
    edges = EdgeSet.from_pairs(
        facts.src, facts.dst, facts.num_nodes, facts.num_nodes, name="graph", stage=facts.stage, closed=facts.is_input
    )
    drawn = draw_weights(edges, facts.activation, init, torch_stream(seed, path), dtype)
    weight = drawn if facts.weight is None else torch.from_numpy(np.array(facts.weight)).to(dtype)
    biases = torch.from_numpy(facts.bias[~facts.is_input]).to(device=device, dtype=dtype) if bias else None
    if not bias and facts.bias.any():
        raise ArgumentError("bias: expected True for a graph with biases, got False; set the node column 'bias' to 0")
    addresses = None
    if storage == "masked" and facts.reduce.any():
        raise UnsupportedOperationError(
            f"storage='masked': expected nodes that sum, got {np.count_nonzero(facts.reduce)} that reduce by 'max' or "
            "'prod'; use storage='csr'"
        )
    wanted = storage_of(storage, lambda: "csr" if facts.reduce.any() else chosen_storage(edges, batch))
    if wanted == "masked":
        addresses = dag_addresses(facts)
        size = addresses.shape[0] * torch.empty((), dtype=dtype).element_size()
        if size > MASKED_LIMIT:
            raise TooLargeError(
                f"storage='masked': expected at most {MASKED_LIMIT / 2**30:.0f} GB of matrices, got "
                f"{size / 2**30:.1f} GB for {facts.num_nodes} nodes; use storage='csr', "
                f"which takes {8 * edges.num_edges / 2**20:.1f} MB"
            )
    slope = slope_tensor(facts.slope[facts.has_slope], dtype, device)
    return EdgeLayer(edges, weight.to(device), biases, addresses, wanted == "coo", slope)


def _warn_bottleneck(facts: Structure, size_output: int) -> None:
    narrow = min(len(facts.distinct("inputs")), len(facts.distinct("outputs")))
    depth = len(np.unique(facts.stage))
    if narrow < size_output or depth > DEEP:
        warnings.warn(
            f"the structure has {len(facts.distinct('inputs'))} inputs, {len(facts.distinct('outputs'))} outputs and "
            f"{depth} stages for {size_output} outputs of the model: such a net is a bottleneck and learns badly; "
            "orient an undirected graph at random with deepgraph.from_networkx(G, seed=...)",
            UserWarning,
            stacklevel=3,
        )
