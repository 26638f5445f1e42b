"""A training run that saves itself every few steps and resumes from what it finds: `python resumable_run.py FILE`."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import torch

import deepgraph as dg
from deepgraph.checkpoint import rng_state

STEPS = 60


def build():
    """Return everything that a run consists of."""
    model = dg.MaskedDeepFFN(12, 3, [20, 16], density=0.2, seed=1)
    optimizer = dg.RigL(model, torch.optim.Adam(model.parameters(), lr=0.01), every=4, until=50, seed=2)
    return {"model": model, "optimizer": optimizer, "schedule": torch.optim.lr_scheduler.StepLR(optimizer, 10, 0.9)}


def digest(run):
    """Return one hash of weights, edges, optimizer, schedule and history."""
    sha = hashlib.sha256()
    for value in run["model"].state_dict().values():
        sha.update(value.numpy().tobytes())
    for state in run["optimizer"].state.values():
        for name in sorted(state):
            sha.update(torch.as_tensor(state[name]).numpy().tobytes())
    for edit in run["model"].graph.history:
        sha.update(repr((edit.step, edit.num_dropped, edit.num_grown)).encode())
        sha.update(edit.grown[0].tobytes() + edit.grown[1].tobytes())
    sha.update(repr(run["schedule"].state_dict()).encode())
    sha.update(torch.get_rng_state().numpy().tobytes())
    return sha.hexdigest()


def train(path=None, every=2):
    """Run to the end, from the beginning or from what `path` holds, and return the digest."""
    run, first = build(), 0
    if path is None or not Path(path).exists():
        torch.manual_seed(7)
    else:
        first = dg.load(path, into={**run, "rng": rng_state()})["step"]
    model, optimizer = run["model"], run["optimizer"]
    for step in range(first, STEPS):
        x = torch.randn(16, 12)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x), torch.randint(3, (16,))).backward()
        optimizer.step()
        run["schedule"].step()
        if path is not None and step % every == every - 1:
            dg.save({**run, "step": step + 1, "rng": rng_state()}, path)
            print(step + 1, flush=True)
    return digest(run)


if __name__ == "__main__":
    torch.set_num_threads(1)
    print("digest", train(sys.argv[1]), flush=True)
