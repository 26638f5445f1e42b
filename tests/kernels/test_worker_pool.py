"""A pool of spawned processes computes what this process computes, after it used its own threads."""

from __future__ import annotations

import multiprocessing

import pytest
import torch

import deepgraph as dg


def trained(seed: int) -> list[float]:
    """Return some weights of a model after a few steps."""
    torch.set_num_threads(1)
    model = dg.MaskedDeepFFN(64, 4, [128, 128], density=0.3, storage="csr", seed=seed)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x = torch.randn(256, 64, generator=torch.Generator().manual_seed(seed))
    for _ in range(3):
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()
    return model.layers[0].weight.detach()[:20].tolist()


@pytest.mark.slow
def test_spawned_workers_compute_the_same() -> None:
    before = torch.get_num_threads()
    try:
        expected = [trained(seed) for seed in range(3)]
        with multiprocessing.get_context("spawn").Pool(2) as pool:
            assert pool.map(trained, range(3)) == expected
    finally:
        torch.set_num_threads(before)
