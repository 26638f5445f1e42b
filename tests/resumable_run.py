"""A training run that saves itself every few steps and resumes from what it finds: `python resumable_run.py FILE`."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import deepgraph as dg
from deepgraph.checkpoint import rng_state

STEPS = 60


def build() -> dict[str, Any]:
    """Return everything that a run consists of."""
    model = dg.MaskedDeepFFN(12, 3, [20, 16], density=0.2, seed=1)
    optimizer = dg.RigL(model, torch.optim.Adam(model.parameters(), lr=0.01), every=4, until=50, seed=2)
    return {"model": model, "optimizer": optimizer, "schedule": torch.optim.lr_scheduler.StepLR(optimizer, 10, 0.9)}


def digests(run: dict[str, Any]) -> dict[str, str]:
    """Return hashes of weights, edges with their history, optimizer and schedule, and random state."""
    parts: dict[str, list[bytes]] = {"weights": [], "edges": [], "optimizer": [], "random": []}
    parts["weights"] += [value.numpy().tobytes() for value in run["model"].state_dict().values()]
    for values in run["model"].edge_sets:
        parts["edges"].append(values.digest().encode())
    for edit in run["model"].graph.history:
        parts["edges"].append(repr((edit.step, edit.num_dropped, edit.num_grown)).encode())
        parts["edges"] += [edit.grown[0].tobytes(), edit.grown[1].tobytes()]
    for state in run["optimizer"].state.values():
        parts["optimizer"] += [torch.as_tensor(state[name]).numpy().tobytes() for name in sorted(state)]
    parts["optimizer"].append(repr((run["optimizer"].steps, run["schedule"].state_dict())).encode())
    parts["random"] += [
        torch.get_rng_state().numpy().tobytes(),
        run["optimizer"].generator.get_state().numpy().tobytes(),
    ]
    return {name: hashlib.sha256(b"|".join(some)).hexdigest() for name, some in parts.items()}


def train(path: Path | None = None, every: int = 2, say: Callable[[str], Any] = lambda text: None) -> dict[str, str]:
    """Run to the end, from the beginning or from what `path` holds, and return the digests."""
    run, first = build(), 0
    if path is None or not path.exists():
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
            say(f"saving {step + 1}")
            dg.save({**run, "step": step + 1, "rng": rng_state()}, path)
            say(f"saved {step + 1}")
    return digests(run)


if __name__ == "__main__":
    torch.set_num_threads(1)
    for part, value in train(Path(sys.argv[1]), say=lambda text: print(text, flush=True)).items():
        print(part, value, flush=True)
