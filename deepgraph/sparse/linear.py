"""`SparseLinear`: a linear layer whose connections are an edge set, for use in any `nn.Module`."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from deepgraph.graph.node_table import NodeTable
from deepgraph.kernels.plan import NOMINAL_BATCH, check_batch
from deepgraph.priors.densities import edge_budget
from deepgraph.sparse.build import check_density, random_layer
from deepgraph.sparse.engine import Engine, Part
from deepgraph.sparse.module import BiasColumn, GraphModule, flat_size, float_dtype
from deepgraph.sparse.randomness import Seed, root_seed

__all__ = ["SparseLinear", "bipartite_nodes"]


def bipartite_nodes(num_sources: int, num_targets: int, code: int) -> dict[str, Any]:
    """Return what a topology takes of the nodes of one layer: sources first, then targets."""
    n = num_sources + num_targets
    return {
        "num_nodes": n,
        "stage": np.repeat([0, 1], [num_sources, num_targets]).astype(np.int32),
        "inputs": np.arange(num_sources),
        "outputs": np.arange(num_sources, n),
        "activation": np.full(n, code, np.uint8),
    }


class SparseLinear(GraphModule):
    """A linear layer y = x W^T + b of which only the edges exist.

    Parameters
    ----------
    in_features, out_features : int
        R and C.
    density : float
        Edges over R * C, in (0, 1].
    bias : bool
    init : {"fan_in", "xavier", "torch"}
    storage : {"auto", "csr", "coo", "masked"}
    batch : int
        Rows of a pass that "auto" chooses for.
    seed : int, Generator or None
    device, dtype
        As in torch.

    Raises
    ------
    ArgumentError
        If a size, the density or `init` is not valid.

    Examples
    --------
    >>> layer = SparseLinear(6, 4, density=0.25, seed=0)
    >>> layer(torch.ones(2, 6)).shape, layer.num_edges
    (torch.Size([2, 4]), 6)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        density: float = 1.0,
        bias: bool = True,
        *,
        init: str = "fan_in",
        storage: str = "auto",
        batch: int = NOMINAL_BATCH,
        seed: Seed = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.in_features, self.out_features = (
            flat_size(in_features, "in_features"),
            flat_size(out_features, "out_features"),
        )
        count = edge_budget(self.in_features * self.out_features, check_density(density))
        dtype = float_dtype(dtype)
        self.layer = random_layer(
            (self.in_features, self.out_features), count, "identity", "linear", seed=root_seed(seed), path=0, bias=bias,
            init=init, storage=self._check_storage(storage), dtype=dtype, device=device, batch=check_batch(batch),
        )  # fmt: skip
        self._config = {
            "in_features": self.in_features, "out_features": self.out_features, "density": float(density), "bias": bias,
            "init": init, "storage": storage, "batch": batch, "dtype": str(dtype).removeprefix("torch."),
        }  # fmt: skip
        self._compile()

    def _make_engines(self) -> dict[str, Engine]:
        nodes = bipartite_nodes(self.in_features, self.out_features, 0)
        return {
            "linear": Engine(
                [(self.layer, 0, self.in_features)], nodes, self.layer.storage, self._config["storage"] == "auto"
            )
        }

    def _graph_parts(self) -> tuple[NodeTable, list[Part], dict[str, Any]]:
        n = self.in_features + self.out_features
        table = NodeTable(n)
        roles = np.repeat(["input", "output"], [self.in_features, self.out_features])
        table.columns.put("stage", np.repeat([0, 1], [self.in_features, self.out_features]).astype(np.int32))
        table.columns.put("role", roles)
        table.columns.bound["bias"] = BiasColumn(n, [(self.layer, np.arange(self.in_features, n))])
        return table, [(self.layer, 0, self.in_features)], {}

    def forward(self, x: Tensor) -> Tensor:
        """Return (..., C) for x (..., R)."""
        flat = x.reshape(-1, x.shape[-1]) if x.dim() != 2 else x
        engine = self._engines["linear"]
        engine.check(flat)
        y = engine(flat)
        # A view, even one of the same shape, would be one more node of autograd's graph.
        return y if x.dim() == 2 else y.reshape(*x.shape[:-1], self.out_features)
