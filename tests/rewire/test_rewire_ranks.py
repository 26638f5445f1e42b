"""Under DistributedDataParallel all processes hold the same edges, chosen by gradients summed over them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from rewire_models import OPTIMIZERS, batch, make_model, make_rewirer, pairs_of, train
from torch.nn.parallel import DistributedDataParallel

from deepgraph.errors import StructureError
from deepgraph.rewire import DEEPR, SET, RigL


def train_rank(rank: int, folder: str, results: Any) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    for name in ("rigl", "rigl-target", "set", "deepr"):
        model = make_model("ffn", "csr")
        wrapped = DistributedDataParallel(model)
        torch.manual_seed(100 + rank)  # seeds differ between processes, the first one's is taken
        if name == "deepr":
            optimizer: Any = DEEPR(wrapped, lr=0.2, l1=0.5, temperature=1e-4)
        elif name == "set":
            optimizer = SET(wrapped, OPTIMIZERS["sgd"](wrapped), every=2)
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
    for name in ("set", "deepr"):
        assert results[name, 0] == results[name, 1]
        assert results[name, 0] != pairs_of(make_model("ffn", "csr"))
    for rank in (0, 1):
        assert results["error", rank].startswith(f"rank {rank}: expected the same edges in all 2 processes")
