"""DEEPR has exactly as many edges as it began with, after each of thousands of steps, whatever the gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import deepgraph as dg
from deepgraph.optim import train_step

DENSITIES = [0.02, 0.05, 0.3]


def counts_of(model: dg.MaskedDeepFFN) -> list[int]:
    return [edges.num_edges for edges in model.edge_sets]


def run(steps: int, gradients: str, **options: float) -> tuple[int, int, list[int]]:
    """Return steps after which a count was off, edges replaced, and the counts, which storage and graph agree on."""
    model = dg.MaskedDeepFFN(40, 10, [30, 20], density=DENSITIES, bias=False, storage="csr", seed=0)
    optimizer = dg.DEEPR(model, seed=0, **options)
    draw = torch.Generator().manual_seed(0)
    first, wrong = counts_of(model), 0
    step = train_step(model, "cross_entropy", optimizer)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    for _ in range(steps):
        if gradients == "zero":
            optimizer.step()
        else:
            step(torch.randn(4, 40, generator=draw), torch.randint(0, 10, (4,), generator=draw))
        live = [int((one.values() != 0).sum()) for one in dg.sparse.edge_values(model)]
        wrong += counts_of(model) != first or live != first
    assert optimizer.steps == steps
    assert model.graph.number_of_edges() == sum(first)
    return wrong, sum(row["dropped"] for row in optimizer.log), first


@pytest.mark.parametrize("gradients", ["zero", "random"])
def test_counts_are_exact_for_some_hundred_steps(gradients: str) -> None:
    wrong, replaced, first = run(300, gradients, lr=0.5, l1=1e-3)
    assert (wrong, first) == (0, [24, 30, 60])
    assert replaced > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("gradients", "options"),
    [
        ("zero", {"lr": 0.5}),
        ("zero", {"lr": 0.5, "l1": 1e-2, "temperature": 1e-4}),
        ("zero", {"lr": 0.5, "l1": 0.0, "temperature": 0.0}),
        ("random", {"lr": 0.5}),
    ],
)
def test_counts_are_exact_after_each_of_ten_thousand_steps(gradients: str, options: dict[str, float]) -> None:
    wrong, replaced, first = run(10_000, gradients, **options)
    assert (wrong, first) == (0, [24, 30, 60])
    if gradients == "random" or options.get("l1"):
        assert replaced > 0


def test_a_theta_of_exactly_0_is_dormant() -> None:
    """With the pull alone theta goes .25, 0: strictly above 0 is active, or edges of weight 0 would stay for ever."""
    model = dg.SparseLinear(20, 10, density=0.25, bias=False, seed=0)
    (edges,) = model.edge_sets
    sign = torch.where(torch.arange(edges.num_edges) % 2 == 0, 0.25, -0.25)
    model.layer.edges.set_values(sign)
    before = {tuple(pair) for pair in zip(*(side.tolist() for side in edges.pairs()), strict=True)}
    optimizer = dg.DEEPR(model, lr=1.0, l1=0.25, temperature=0.0, seed=0)
    model.layer.weight.grad = torch.zeros_like(model.layer.weight)
    optimizer.step()
    assert optimizer.edited
    assert edges.num_edges == len(before) == 50
    assert bool((model.layer.edges.values() != 0).all())
    # Dropped edges may be drawn again; each then starts at 1e-12.
    assert float(model.layer.edges.values().abs().max()) == pytest.approx(1e-12)


def test_edges_that_others_drop_or_grow_are_made_up_for_at_the_next_step() -> None:
    model = dg.SparseLinear(20, 10, density=0.25, bias=False, seed=0)
    (edges,) = model.edge_sets
    optimizer = dg.DEEPR(model, lr=0.1, l1=0.0, temperature=0.0, seed=0)

    def step() -> None:
        model.layer.weight.grad = torch.zeros_like(model.layer.weight)
        optimizer.step()

    src, dst = edges.pairs()
    edges.edit(drop=(src[:7], dst[:7]))
    step()
    assert edges.num_edges == 50
    u, v = np.divmod(np.arange(200), 10)
    free = np.flatnonzero(edges.find(u, v) < 0)[:4]
    u, v = u[free], v[free]
    edges.edit(grow=(u, v), weight=np.full(4, 1e-15))
    step()
    assert edges.num_edges == 50
    # The lowest theta goes: what was grown with the least, and neither an edge of before nor one of DEEPR.
    assert bool((edges.find(u, v) < 0).all())
