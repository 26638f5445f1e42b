"""DistributedDataParallel over two processes (gloo): gradients are averaged, also after an edit in both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import deepgraph as dg
from deepgraph.sparse import edge_values


def graph() -> dg.CachedLayeredGraph:
    """Return a small DAG of 6 inputs and 4 outputs."""
    return dg.priors.random_layered([6, 5, 4], 0.5, seed=0, skip=1)


def make(kind: str) -> nn.Module:
    """Return a model of 6 inputs, the same in every process."""
    options: dict[str, Any] = {"seed": 0, "dtype": torch.float64}
    if kind == "convolution":
        return nn.Sequential(nn.Unflatten(1, (2, 3)), dg.SparseConv1d(2, 4, 2, 0.5, storage="csr", **options))
    if kind == "cells":
        return dg.MaskedDeepDAN.from_graph(graph(), cell=dg.cells.Linear(1), activation="tanh", **options)
    if kind == "graph":
        return dg.MaskedDeepDAN.from_graph(graph(), activation="tanh", **options)
    return dg.MaskedDeepFFN(6, 4, [7], density=0.5, storage=kind, activation="tanh", **options)


KINDS = ("csr", "masked", "graph", "convolution", "cells")


def halves(rank: int) -> torch.Tensor:
    """Return the inputs (8, 6) of one process."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(16, 6, generator=generator, dtype=torch.float64)[8 * rank : 8 * rank + 8]


def passes(model: nn.Module, x: torch.Tensor, call: Any) -> list[list[torch.Tensor]]:
    """Return the gradients of three steps with an edit after each."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    dg.follow(model, optimizer)
    found = []
    for _ in range(3):
        optimizer.zero_grad()
        call(x).square().mean().backward()
        found.append([p.grad.clone() for p in model.parameters()])
        optimizer.step()
        for values in edge_values(model):
            src, dst = values.edge_set.pairs()
            values.edge_set.edit(drop=(src[:1].copy(), dst[:1].copy()))
    return found


def run_rank(rank: int, folder: str, results: Any) -> None:
    """Train every kind of model in one process of two."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    for kind in KINDS:
        model = make(kind)
        results[kind, rank] = passes(model, halves(rank), DistributedDataParallel(model))
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_gradients_are_averaged_also_after_edits_in_all_processes(tmp_path: Path) -> None:
    results = torch.multiprocessing.Manager().dict()
    torch.multiprocessing.spawn(run_rank, (str(tmp_path), results), nprocs=2)
    for kind in KINDS:
        model = make(kind)
        alone = passes(model, torch.cat([halves(0), halves(1)]), model)
        for mine, first, second in zip(alone, results[kind, 0], results[kind, 1], strict=True):
            for wanted, one, other in zip(mine, first, second, strict=True):
                assert torch.equal(one, other)
                torch.testing.assert_close(one, wanted)
