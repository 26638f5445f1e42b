"""Under DistributedDataParallel all processes hold the same edges, chosen by gradients summed over them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from rewire_models import OPTIMIZERS, batch, make_model, make_rewirer, pairs_of, train
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from deepgraph.errors import ArgumentError, StructureError
from deepgraph.rewire import DEEPR, SET, SNFS, RigL
from deepgraph.sparse import edge_values, sparsify


def sparsified() -> nn.Module:
    """Return PyTorch's own modules, the same in every process."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 7), nn.Tanh(), nn.Linear(7, 4)).double()
    return sparsify(model, 0.4, seed=0)


def refusal(model: nn.Module) -> str:
    """Return what SNFS says of a model whose edge sets have no room for each other's edges."""
    wrapped = DistributedDataParallel(model)
    try:
        SNFS(wrapped, OPTIMIZERS["sgd"](wrapped))
    except ArgumentError as error:
        return str(error)
    return ""


def train_rank(rank: int, folder: str, results: Any) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    for name in ("rigl", "rigl-target", "rigl-sparsified", "snfs", "set", "deepr"):
        model = sparsified() if name == "rigl-sparsified" else make_model("ffn", "csr")
        if name == "snfs":
            results["room", rank] = refusal(model)
            for one in edge_values(model):
                one.reserve(min(model.num_edges, one.edge_set.num_admissible))
        wrapped = DistributedDataParallel(model)
        torch.manual_seed(100 + rank)  # seeds differ between processes, the first one's is taken
        if name == "deepr":
            optimizer: Any = DEEPR(wrapped, lr=0.2, l1=0.5, temperature=1e-4)
        elif name == "set":
            optimizer = SET(wrapped, OPTIMIZERS["sgd"](wrapped), every=2)
        elif name == "snfs":
            optimizer = SNFS(wrapped, OPTIMIZERS["sgd"](wrapped), every=2, until=40)
        else:
            group: Any = "target" if name == "rigl-target" else "auto"
            optimizer = RigL(wrapped, OPTIMIZERS["sgd"](wrapped), every=2, until=40, group=group)
        for step in range(6):
            x, y = (side[rank * 8 : rank * 8 + 8] for side in batch(step))
            optimizer.zero_grad()
            (wrapped(x) - y).square().mean().backward()
            optimizer.step()
        results[name, rank] = pairs_of(model)
    if rank == 1:
        src, dst = model.edge_sets[0].pairs()
        model.edge_sets[0].edit(drop=(src[:1], dst[:1]))
    try:
        optimizer.ranks.check(model.edge_sets)
    except StructureError as error:
        results["error", rank] = str(error)
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_make_the_same_edits(tmp_path: Path) -> None:
    results = torch.multiprocessing.Manager().dict()
    torch.multiprocessing.spawn(train_rank, (str(tmp_path), results), nprocs=2)
    for name, group in (("rigl", "auto"), ("rigl-target", "target")):
        alone = make_model("ffn", "csr")
        train(alone, make_rewirer("rigl", alone, group=group), 6)
        assert results[name, 0] == results[name, 1] == pairs_of(alone)
    alone = sparsified()
    train(alone, make_rewirer("rigl", alone), 6)
    assert results["rigl-sparsified", 0] == results["rigl-sparsified", 1] == pairs_of(alone)
    alone = make_model("ffn", "csr")
    train(alone, make_rewirer("snfs", alone, drop_fraction=0.5), 6)
    assert results["room", 0].startswith("model: expected room for")
    assert results["snfs", 0] == results["snfs", 1] == pairs_of(alone)
    for name in ("set", "deepr"):
        assert results[name, 0] == results[name, 1]
        assert results[name, 0] != pairs_of(make_model("ffn", "csr"))
    for rank in (0, 1):
        assert results["error", rank].startswith(f"rank {rank}: expected the same edges in all 2 processes")
