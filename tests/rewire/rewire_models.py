"""Small models, data and optimizers for the suite that all rewirers share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from deepgraph.graph import CachedLayeredGraph
from deepgraph.rewire import CHT, DEEPR, GMP, MEST, SET, SNFS, CHTs, GraNet, Rewirer, RigL, SoftDEEPR, SRigL, Static
from deepgraph.sparse import MaskedDeepDAN, MaskedDeepFFN, SparseConv2d, cells, edge_values

INPUTS, OUTPUTS, BATCH = 6, 4, 16

OPTIMIZERS: dict[str, Callable[[nn.Module], torch.optim.Optimizer]] = {
    "sgd": lambda m: torch.optim.SGD(m.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-2, foreach=False),
    "sgd-fused": lambda m: torch.optim.SGD(m.parameters(), lr=0.05, momentum=0.9, nesterov=True, fused=True),
    "adam-foreach": lambda m: torch.optim.Adam(m.parameters(), lr=0.02, amsgrad=True, foreach=True),
    "adam-fused": lambda m: torch.optim.Adam(m.parameters(), lr=0.02, weight_decay=1e-2, fused=True),
    "adamw": lambda m: torch.optim.AdamW(m.parameters(), lr=0.02, weight_decay=0.1, foreach=False),
    "rmsprop": lambda m: torch.optim.RMSprop(m.parameters(), lr=0.01, momentum=0.5, centered=True),
}

ALGORITHMS: dict[str, Any] = {
    "static": Static, "set": SET, "rigl": RigL, "snfs": SNFS, "gmp": GMP, "cht": CHT, "chts": CHTs,
    "mest": MEST, "granet": GraNet, "srigl": SRigL,
}  # fmt: skip


def layered_dag(
    seed: int, widths: tuple[int, ...] = (INPUTS, 5, 5, OUTPUTS), density: float = 0.4
) -> CachedLayeredGraph:
    """Return a random DAG with skip edges between declared stages, some of them dead ends."""
    rng = np.random.default_rng(seed)
    stage = np.repeat(np.arange(len(widths)), widths)
    u, v = np.nonzero((stage[:, None] < stage[None, :]) & (rng.random((len(stage), len(stage))) < density))
    g = CachedLayeredGraph.from_arrays(u, v, num_nodes=len(stage))
    g.set_node_column("stage", stage.astype(np.int32))
    role = np.where(stage == 0, "input", np.where(stage == len(widths) - 1, "output", "hidden"))
    g.set_node_column("role", role)
    return g


class Convolved(SparseConv2d):
    """A convolution of images (2, 3), averaged over the image: 6 inputs and 4 outputs."""

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, 4) for (B, 6)."""
        return torch.tanh(super().forward(x.view(-1, 1, 2, 3))).mean((2, 3))


def make_model(kind: str, storage: str, seed: int = 0, dtype: torch.dtype = torch.float64) -> nn.Module:
    """Return a model of 6 inputs and 4 outputs: an FFN, a DAG plain, with stem and head or of cells, a convolution."""
    if kind == "cells":
        return MaskedDeepDAN.from_graph(
            layered_dag(seed), cell=cells.Linear(1), activation="tanh", seed=seed, dtype=dtype
        )  # fmt: skip
    if kind == "conv":
        return Convolved(1, OUTPUTS, 3, 0.4, padding=1, storage=storage, seed=seed, dtype=dtype)
    if kind == "ffn":
        return MaskedDeepFFN(
            INPUTS, OUTPUTS, [7, 5], density=0.4, activation="tanh", storage=storage, seed=seed, dtype=dtype
        )
    if kind == "graph":
        return MaskedDeepDAN.from_graph(layered_dag(seed), activation="tanh", storage=storage, seed=seed, dtype=dtype)
    return MaskedDeepDAN(INPUTS, OUTPUTS, layered_dag(seed), activation="tanh", storage=storage, seed=seed, dtype=dtype)


def make_rewirer(name: str, model: nn.Module, optimizer: str = "sgd", seed: int | None = 0, **options: Any) -> Rewirer:
    """Return a rewirer that edits every second step, or at every step for DEEPR and SoftDEEPR."""
    if name == "softdeepr":
        return SoftDEEPR(model, lr=0.05, l1=0.01, temperature=1e-2, seed=seed, **options)
    if name == "deepr":
        return DEEPR(model, lr=0.05, l1=0.05, temperature=1e-4, seed=seed, **options)
    options = {"every": 2, "until": 40, "drop_fraction": 0.3, "seed": seed, **options}
    if name in ("gmp", "granet"):
        options = {"density": 0.1, **{key: options[key] for key in options if key != "drop_fraction"}}
    return ALGORITHMS[name](model, OPTIMIZERS[optimizer](model), **options)


def batch(step: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Return inputs (16, 6) and targets (16, 4) of one step."""
    generator = torch.Generator().manual_seed(1000 + step)
    x = torch.randn(BATCH, INPUTS, generator=generator, dtype=torch.float64)
    y = torch.sin(x[:, :OUTPUTS] * 2) + 0.1 * torch.randn(BATCH, OUTPUTS, generator=generator, dtype=torch.float64)
    return x.to(dtype), y.to(dtype)


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: range | int) -> None:
    """Train for some steps on `batch`."""
    dtype = next(model.parameters()).dtype
    for step in range(steps) if isinstance(steps, int) else steps:
        x, y = batch(step, dtype)
        optimizer.zero_grad()
        (model(x) - y).square().mean().backward()
        optimizer.step()


def pairs_of(model: nn.Module) -> list[set[tuple[int, int]]]:
    """Return the edges of each edge set as sets of pairs."""
    sets = [one.edge_set for one in edge_values(model)]
    return [set(zip(*(side.tolist() for side in edges.pairs()), strict=True)) for edges in sets]
