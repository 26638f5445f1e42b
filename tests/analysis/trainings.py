"""Trainings at the top of a module, as other processes need them."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import torch

import deepgraph as dg


def largest_fan_out(graph, seed):
    """Return a score that only the degrees decide."""
    return int(max(dict(graph.out_degree).values())) + 0.01 * seed


def initial_loss(graph, seed):
    """Return what a new model of the graph computes on fixed data: it depends on pattern, place and draw."""
    model = dg.MaskedDeepDAN.from_graph(graph, seed=seed)
    x = torch.linspace(-1, 1, 5 * len(graph.input_positions())).view(5, -1)
    assert torch.get_num_threads() == 1
    return float(model(x).detach().square().mean())


def odd_seeds_fail(graph, seed):
    """Return NaN for odd seeds."""
    return float("nan") if seed % 2 else float(graph.number_of_edges())


def words(graph, seed):
    """Return what is no score."""
    return "good"


def counted(graph, seed):
    """Return a score and leave a mark in the folder that the environment names; the fourth call is interrupted."""
    folder = Path(os.environ["COUNTED_CALLS"])
    calls = len(list(folder.iterdir()))
    (folder / f"{calls}").touch()
    if calls == 3:
        raise KeyboardInterrupt
    return float(np.sum(graph.edge_arrays()[1])) + seed


def slow_score(graph, seed):
    """Return a score after a while, and leave the number of this process in the folder that the environment names."""
    (Path(os.environ["COUNTED_CALLS"]) / f"{os.getpid()}-{time.time_ns()}").touch()
    time.sleep(0.4)
    return float(np.sum(graph.edge_arrays()[1])) + seed


def thread_count():
    """Return the threads of this process."""
    return torch.get_num_threads(), os.environ.get("OMP_NUM_THREADS")


def dies():
    """End this process at once, as when memory runs out."""
    os._exit(1)
