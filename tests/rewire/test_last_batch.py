"""What an edit reads from the last batch: gradients since `zero_grad`, of edges in MEST, of absent pairs in RigL."""

from __future__ import annotations

import numpy as np
import pytest
from rewire_models import OPTIMIZERS, batch, make_model, make_rewirer, pairs_of
from torch import nn

from deepgraph.rewire import MEST, Rewirer


def backward(model: nn.Module, rewirer: Rewirer, number: int, factor: float = 1.0) -> None:
    x, y = batch(number)
    rewirer.zero_grad()
    ((model(x) - y).square().mean() * factor).backward()


@pytest.mark.parametrize("name", ["rigl", "snfs", "granet", "srigl"])
@pytest.mark.parametrize("kind", ["ffn", "graph"])
def test_gradients_that_were_set_to_zero_are_forgotten(name: str, kind: str) -> None:
    found = []
    for batches in ([(1, 1000.0), (2, 1.0)], [(2, 1.0)]):
        model = make_model(kind, "csr")
        rewirer = make_rewirer(name, model, every=1)
        for each in batches:
            backward(model, rewirer, *each)
        rewirer.step()
        found.append(pairs_of(model))
    assert found[0] == found[1]


@pytest.mark.parametrize("weight", [0.0, 0.01, 30.0])
def test_mest_drops_the_smallest_weights_plus_a_share_of_their_gradients(weight: float) -> None:
    model = make_model("ffn", "csr")
    rewirer = MEST(model, OPTIMIZERS["sgd"](model), every=1, gradient_weight=weight, seed=0)
    backward(model, rewirer, 0)
    gradients = [one.gradient().numpy() for one in rewirer.values]
    pairs = [list(zip(*(side.tolist() for side in edges.pairs()), strict=True)) for edges in rewirer.edge_sets]
    rewirer.optimizer.step()
    dropped = []
    for one, gradient, own in zip(rewirer.values, gradients, pairs, strict=True):
        score = np.abs(one.values().numpy()) + weight * np.abs(gradient)
        dropped.append({own[i] for i in np.argsort(score)[: int(0.3 * len(own))]})
    # The edit comes after a step, which moves nothing more.
    for group in rewirer.param_groups:
        group["lr"] = group["weight_decay"] = 0.0
    rewirer.step()
    found = [set(zip(*(side.tolist() for side in edit.dropped), strict=True)) for edit in rewirer.history]
    assert found == dropped
