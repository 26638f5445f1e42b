"""`MaskedDeepFFN`: a feed-forward network of sparse layers, computed as one graph."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from deepgraph.errors import ShapeError
from deepgraph.graph import CachedLayeredGraph
from deepgraph.graph.arrays import Array
from deepgraph.graph.node_table import NodeTable
from deepgraph.kernels.activations import PRELU_SLOPE, activation
from deepgraph.kernels.plan import NOMINAL_BATCH, check_batch
from deepgraph.priors.densities import edge_budget, edge_counts
from deepgraph.sparse.build import check_density, random_layer
from deepgraph.sparse.engine import Engine, Part
from deepgraph.sparse.layer import EdgeLayer
from deepgraph.sparse.module import BiasColumn, GraphModule, Size, SlopeColumn, flat_size, float_dtype
from deepgraph.sparse.randomness import Seed, root_seed

__all__ = ["MaskedDeepFFN"]


class MaskedDeepFFN(GraphModule):
    """A feed-forward network whose layers hold edges only.

    Parameters
    ----------
    size_input, size_output : int or shape
        Shapes are flattened.
    hidden_layers : sequence of int
        Widths of the hidden layers; empty for a linear model.
    use_layer_norm : bool
        Normalise the sums of each hidden layer before its activation.
    density : float or sequence of float
        Edges over pairs, in (0, 1]: of the whole network, shared among layers by `distribution`, or one a layer.
    distribution : {"uniform", "er", "erk"}
        How one density is shared; see `deepgraph.priors.edge_counts`.
    bias : bool
    init : {"fan_in", "xavier", "torch"}
    activation : str
        Of the hidden layers; the output is linear. "prelu" gives each hidden neuron a slope that is learned, .25 at
        the start, in `layers[k].slope`.
    storage : {"auto", "csr", "coo", "masked"}
        "auto" chooses for each layer by its shape, its density and `batch`; `print(model.plan)` says what and why.
    batch : int
        Rows of a pass that "auto" chooses for; few rows are taken to be inference. Every batch computes.
    seed : int, Generator or None
        None draws from torch's global generator.
    device, dtype
        As in torch.

    Raises
    ------
    ArgumentError, ShapeError
        If a size, a density, `distribution`, `init` or `activation` is not valid.

    Examples
    --------
    >>> model = MaskedDeepFFN((28, 28), 10, [300, 100], density=0.05, seed=0)
    >>> model(torch.zeros(2, 28, 28)).shape, model.num_edges, model.graph
    (torch.Size([2, 10]), 13310, <deepgraph.graph.cached_layered.CachedLayeredGraph object at 0x...>)
    """

    def __init__(
        self,
        size_input: Size,
        size_output: Size,
        hidden_layers: Sequence[int],
        use_layer_norm: bool = False,
        *,
        density: float | Sequence[float] = 1.0,
        distribution: str = "uniform",
        bias: bool = True,
        init: str = "fan_in",
        activation: str = "relu",
        storage: str = "auto",
        batch: int = NOMINAL_BATCH,
        seed: Seed = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        hidden = [flat_size(width, "hidden_layers") for width in hidden_layers]
        self.sizes = [flat_size(size_input, "size_input"), *hidden, flat_size(size_output, "size_output")]
        self.activation = activation
        counts = self._counts(density, distribution)
        dtype, root = float_dtype(dtype), root_seed(seed)
        last = len(counts) - 1
        self.layers = nn.ModuleList(
            random_layer(
                (n_in, n_out), count, activation if k < last else "identity", f"layer {k}", seed=root, path=k,
                bias=bias, init=init, storage=self._check_storage(storage), dtype=dtype, device=device,
                batch=check_batch(batch), slope=np.full(n_out, PRELU_SLOPE) if k < last and self._has_slope else None,
            )
            for k, ((n_in, n_out), count) in enumerate(zip(pairwise(self.sizes), counts, strict=True))
        )  # fmt: skip
        self.norms = nn.ModuleList(nn.LayerNorm(n, device=device, dtype=dtype) for n in hidden if use_layer_norm)
        self._config = {
            "size_input": self.sizes[0], "size_output": self.sizes[-1], "hidden_layers": hidden,
            "use_layer_norm": bool(use_layer_norm), "bias": bool(bias), "activation": activation, "init": init,
            "density": density if isinstance(density, (int, float)) else [float(d) for d in density],
            "distribution": distribution, "storage": storage, "batch": batch,
            "dtype": str(dtype).removeprefix("torch."),
        }  # fmt: skip
        self._compile()

    @property
    def _has_slope(self) -> bool:
        return bool(activation(self.activation).has_slope)

    def _counts(self, density: float | Sequence[float], distribution: str) -> list[int]:
        pairs = list(pairwise(self.sizes))
        if isinstance(density, (int, float, np.number)):
            shapes = [(n_out, n_in) for n_in, n_out in pairs]
            return [int(c) for c in edge_counts(shapes, check_density(density), distribution)]  # type: ignore[arg-type]
        given = list(density)
        if len(given) != len(pairs):
            raise ShapeError(f"density: expected one number or one for each of {len(pairs)} layers, got {len(given)}")
        return [
            edge_budget(a * b, check_density(d, f"density[{k}]"))
            for k, ((a, b), d) in enumerate(zip(pairs, given, strict=True))
        ]

    # -- computing --------------------------------------------------------------------------------------------------

    def _segments(self) -> list[list[int]]:
        """Return runs of layers that one operator computes: of one storage, and broken by layer norms."""
        runs: list[list[int]] = []
        for k, layer in enumerate(self._edge_layers):
            same = runs and not len(self.norms) and self._edge_layers[runs[-1][-1]].storage == layer.storage
            if same:
                runs[-1].append(k)
            else:
                runs.append([k])
        return runs

    @property
    def _edge_layers(self) -> list[EdgeLayer]:
        return list(self.layers)  # type: ignore[arg-type]

    def _make_engines(self) -> dict[str, Engine]:
        engines, automatic = {}, self._config["storage"] == "auto"
        for run in self._segments():
            sizes = self.sizes[run[0] : run[-1] + 2]
            starts = np.concatenate([[0], np.cumsum(sizes)])
            parts = [(self._edge_layers[k], int(starts[i]), int(starts[i + 1])) for i, k in enumerate(run)]
            name = f"layer {run[0]}" if len(run) == 1 else f"layers {run[0]} to {run[-1]}"
            engines[name] = Engine(parts, self._nodes(sizes, starts, run), parts[0][0].storage, automatic)
        return engines

    def _nodes(self, sizes: list[int], starts: Array, run: list[int]) -> dict[str, Any]:
        final = run[-1] == len(self.layers) - 1
        code = activation(self.activation).code
        codes = np.repeat([0] + [code] * len(run), sizes).astype(np.uint8)
        if final or len(self.norms):
            codes[starts[-2] :] = 0
        return {
            "num_nodes": int(starts[-1]),
            "stage": np.repeat(np.arange(len(sizes)), sizes).astype(np.int32),
            "inputs": np.arange(sizes[0]),
            "outputs": np.arange(starts[-2], starts[-1]),
            "activation": codes,
        }

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, size_output) for x (B, *size_input)."""
        x = self._input(x, self.sizes[0], "x")
        engines, layers = self._engines.values(), self._edge_layers if self._config["use_layer_norm"] else []
        for k, engine in enumerate(engines):
            engine.check(x)
            x = engine(x)
            # Looked at last: lists of modules cost more to look at than a small layer to compute.
            if k + 1 < len(layers):
                slope = (layers[k].slope,) if self._has_slope else ()
                x = activation(self.activation).forward(self.norms[k](x), *slope)
        return x

    # -- the graph --------------------------------------------------------------------------------------------------

    def _graph_parts(self) -> tuple[NodeTable, list[Part], dict[str, Any]]:
        starts = np.concatenate([[0], np.cumsum(self.sizes)])
        n, last = int(starts[-1]), len(self.sizes) - 1
        stage = np.repeat(np.arange(last + 1), self.sizes).astype(np.int32)
        table = NodeTable(n)
        table.columns.put("stage", stage)
        table.columns.put("role", np.where(stage == 0, "input", np.where(stage == last, "output", "hidden")))
        table.columns.put("activation", np.where((stage == 0) | (stage == last), "identity", self.activation))
        layers = self._edge_layers
        targets = [(layer, np.arange(starts[k + 1], starts[k + 2])) for k, layer in enumerate(layers)]
        table.columns.bound["bias"] = BiasColumn(n, targets)
        SlopeColumn.bind(table, [pair for pair in targets if pair[0].slope is not None])
        parts = [(layer, int(starts[k]), int(starts[k + 1])) for k, layer in enumerate(layers)]
        return table, parts, {"inputs": list(range(self.sizes[0])), "outputs": list(range(int(starts[-2]), n))}

    def generate_structure(self, include_input: bool = False, include_output: bool = False) -> CachedLayeredGraph:
        """Return a free copy of the graph, by default of its hidden neurons only.

        Parameters
        ----------
        include_input, include_output : bool
            Keep the input and the output neurons with their edges.

        Returns
        -------
        CachedLayeredGraph
            Labels are those of `graph`.

        Examples
        --------
        >>> model = MaskedDeepFFN(4, 2, [3, 3], seed=0)
        >>> model.generate_structure().number_of_edges(), model.generate_structure(True, True).number_of_edges()
        (9, 27)
        """
        result = self.graph.copy()
        role = result.role_array()
        left_out = {"input": not include_input, "output": not include_output}
        for name in [name for name, out in left_out.items() if out]:
            del result.graph[name + "s"]
        gone = np.isin(role, [name for name, out in left_out.items() if out])
        result.remove_nodes_from(result.labels(np.flatnonzero(gone)))
        return result
