"""A distributed training that writes the digest of its edges after every step.

    torchrun --nproc-per-node 3 ranks_run.py FOLDER [off | dies | stops]

Every process trains on its own share of each batch and seeds itself differently. "off" switches off what keeps the
edges alike; with "dies" the last process ends before its third edit, and with "stops" it waits there for ever.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import torch
from rewire_models import ALGORITHMS, OPTIMIZERS, batch, make_model
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from deepgraph.errors import DeepGraphError
from deepgraph.rewire import DEEPR, SoftDEEPR
from deepgraph.sparse import edge_values, sparsify

NAMES = [
    "rigl",
    "rigl-graph",
    "rigl-sparsified",
    "set",
    "snfs",
    "gmp",
    "cht",
    "chts",
    "mest",
    "granet",
    "srigl",
    "srigl-sparsified",
    "deepr",
    "softdeepr",
]
STEPS = 8


def model_of(name: str) -> nn.Module:
    """Return the model of a run, alike in all processes, with room for what its edge sets may become."""
    if name.endswith("sparsified"):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model: nn.Module = nn.Sequential(nn.Linear(6, 7), nn.Tanh(), nn.Linear(7, 4)).double()
        return sparsify(model, 0.4, seed=0)
    model = make_model("graph" if name.endswith("graph") else "ffn", "csr")
    for one in edge_values(model):
        one.reserve(one.edge_set.num_admissible)
    return model


def rewirer_of(name: str, model: nn.Module) -> Any:
    """Return the rewirer of a run, with a seed that differs between processes unless they agree on one."""
    if name in ("deepr", "softdeepr"):
        kind = DEEPR if name == "deepr" else SoftDEEPR
        return kind(model, lr=0.2, l1=0.3, temperature=1e-3)
    options: Any = {"every": 2, "until": 40}
    if name in ("gmp", "granet"):
        options["density"] = 0.1
    return ALGORITHMS[name.split("-")[0]](model, OPTIMIZERS["sgd"](model), **options)


def digest(model: nn.Module) -> str:
    """Return a hash of all edges."""
    sha = hashlib.sha256()
    for one in edge_values(model):
        for side in one.edge_set.pairs():
            sha.update(side.tobytes())
    return sha.hexdigest()[:16]


def train(name: str, rank: int, size: int, how: str) -> list[str]:
    """Return the digests of a run after every step."""
    model = model_of(name)
    wrapped = DistributedDataParallel(model)
    torch.manual_seed(100 + rank)
    rewirer = rewirer_of(name, wrapped)
    rewirer.ranks.timeout = 3.0 if how == "stops" else 60.0
    if how == "off":
        rewirer.generator.manual_seed(100 + rank)
        rewirer.ranks.sum = None
        rewirer.ranks.check = lambda edge_sets: None
    found = []
    for step in range(STEPS):
        x, y = (side[rank::size] for side in batch(step))
        rewirer.zero_grad()
        (wrapped(x) - y).square().mean().backward()
        if step == 5 and rank == size - 1 and how == "dies":
            os._exit(1)
        if step == 5 and rank == size - 1 and how == "stops":
            time.sleep(3600)
        rewirer.step()
        found.append(digest(model))
    return found


def run(rank: int, size: int, folder: str, how: str = "", names: list[str] = NAMES) -> None:
    """Train all, and write digests or the message of an error to `<folder>/<rank>.json`."""
    torch.set_num_threads(1)
    found: dict[str, Any] = {}
    try:
        for name in names:
            found[name] = train(name, rank, size, how)
    except DeepGraphError as error:
        found["error"] = f"{type(error).__name__}: {error}"
    Path(folder, f"{rank}.json").write_text(json.dumps(found))
    if "error" in found:
        # Whoever waits for the others at the end of a process would wait for one that is gone.
        os._exit(3)
    # A process that takes its connections down while others still use them can abort these at their end.
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    torch.distributed.init_process_group("gloo")
    run(torch.distributed.get_rank(), torch.distributed.get_world_size(), *sys.argv[1:])
