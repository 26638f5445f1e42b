"""What follows an edit: gradients and every state tensor of a parameter's shape, for every optimizer of torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from rewire_models import make_model, train
from torch import Tensor

from deepgraph.rewire import SET, Replay
from deepgraph.sparse import edge_values, follow

OTHERS = {
    "adagrad": torch.optim.Adagrad, "adadelta": torch.optim.Adadelta, "adamax": torch.optim.Adamax,
    "asgd": torch.optim.ASGD, "nadam": torch.optim.NAdam, "radam": torch.optim.RAdam, "rprop": torch.optim.Rprop,
}  # fmt: skip


@pytest.mark.parametrize("storage", ["csr", "masked"])
@pytest.mark.parametrize("kind", ["ffn", "graph"])
def test_kept_edges_keep_and_grown_ones_start_at_zero(kind: str, storage: str) -> None:
    """State and gradient are numbered by pair, absent ones included: after the edit every number is at its pair."""
    model = make_model(kind, storage)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    follow(model, optimizer)
    one = edge_values(model)[0]
    edges, parameter = one.edge_set, one.parameter
    parameter.grad = torch.ones_like(parameter)
    buffer = torch.ones_like(parameter)
    optimizer.state[parameter] = {"momentum_buffer": buffer, "step": torch.tensor(3.0)}
    src, dst = (side.astype(np.int64) for side in edges.pairs())
    marks = (1 + src * edges.num_targets + dst).astype(float)
    for entry in (parameter.grad, buffer):
        entry.view(-1)[one.index()] = torch.from_numpy(marks)
    lowest = 0 if edges.stage is None else int(np.flatnonzero(edges.stage == edges.stage.min())[0])
    u, v = np.full(edges.num_targets, lowest), np.arange(edges.num_targets)
    free = (edges.find(u, v) < 0) & (True if edges.stage is None else edges.stage[lowest] < edges.stage[v])
    assert free.any()
    edges.edit(drop=(src[1:3], dst[1:3]), grow=(u[free], v[free]))
    src, dst = (side.astype(np.int64) for side in edges.pairs())
    expected = (1 + src * edges.num_targets + dst).astype(float)
    expected[edges.find(u[free], v[free])] = 0.0
    state: dict[str, Any] = optimizer.state[parameter]
    for entry in (parameter.grad, state["momentum_buffer"]):
        assert entry.reshape(-1)[one.index()].tolist() == expected.tolist()
    assert float(state["step"]) == 3.0


@pytest.mark.parametrize("storage", ["csr", "masked"])
@pytest.mark.parametrize("name", OTHERS)
def test_other_optimizers_of_torch(name: str, storage: str) -> None:
    """One step as dense PyTorch would make it from the same weights and state, on edges; nothing off them."""
    model = make_model("ffn", storage)
    rewirer = SET(model, OTHERS[name](model.parameters(), lr=0.02), every=2, seed=0)
    for _ in range(5):
        rewirer.zero_grad()
        model(torch.ones(3, 6, dtype=torch.float64)).square().sum().backward()
        rewirer.step()
    assert len(rewirer.log) == 2
    for one in edge_values(model):
        flat = one.parameter.detach().reshape(-1)
        assert bool(torch.isfinite(flat).all())
        if storage == "masked":
            assert not flat[~one.mask().reshape(-1)].any()
        for entry in rewirer.state[one.parameter].values():
            assert not isinstance(entry, Tensor) or entry.dim() == 0 or entry.shape == one.parameter.shape


def test_a_replayed_run_has_the_weights_that_edges_were_grown_with() -> None:
    """The same start, steps and edits: the same weights to the last bit, drawn ones of grown edges among them."""
    models = [make_model("ffn", "csr"), make_model("ffn", "csr")]
    first: Any = None
    for model in models:
        sgd = torch.optim.SGD(model.parameters(), lr=0.1)
        rewirer = Replay(model, sgd, first) if first else SET(model, sgd, every=2, grown_std=0.5, seed=0)
        train(model, rewirer, 6)
        first = rewirer
    for mine, theirs in zip(*(model.parameters() for model in models), strict=True):
        assert torch.equal(mine, theirs)
