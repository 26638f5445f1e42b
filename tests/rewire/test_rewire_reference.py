"""SET, RigL and DEEPR against plain-loop dense matrices, edge for edge over at least five updates."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from dense_reference import DenseDAG, Layers, Pair, deepr_step, rigl_update, set_drop
from rewire_models import INPUTS, OUTPUTS, batch, make_model, train
from torch import nn

from deepgraph.graph.history import EdgeEdit
from deepgraph.rewire import DEEPR, SET, RigL
from deepgraph.rewire.groups import Grouping

LR, MOMENTUM = 0.1, 0.9


class Pairing:
    """A model and its dense twin, whose positions are those of `model.graph`."""

    def __init__(self, kind: str, storage: str, pooled: bool = False):
        self.model = make_model(kind, storage, seed=3)
        graph = self.model.graph
        n = graph.number_of_nodes()
        W, mask = np.zeros((n, n)), np.zeros((n, n), bool)
        src, dst = graph.edge_arrays()
        W[src, dst], mask[src, dst] = graph.column("weight"), True
        stage = graph.stage_array()
        assert (np.diff(stage) >= 0).all()
        self.net = DenseDAG(W, mask, graph.node_column("bias").copy(), stage, INPUTS, OUTPUTS)
        self.velocity, self.bias_velocity = np.zeros((n, n)), np.zeros(n)
        if kind == "ffn":
            layers = Layers(self.model.sizes)
            self.candidates = [layers.pairs(i) for i in range(len(self.model.edge_sets))]
            self.offsets = [(int(a), int(c)) for a, _, c, _ in layers.blocks]
            if pooled:
                self.candidates = [[one for block in self.candidates for one in block]]
        else:
            self.candidates = [[(u, v) for u in range(n) for v in range(n) if self.net.allowed(u, v)]]
            self.offsets = [(0, 0)]

    def edges(self) -> set[Pair]:
        src, dst = self.model.graph.edge_arrays()
        return set(zip(src.tolist(), dst.tolist(), strict=True))

    def twin_edges(self) -> set[Pair]:
        return set(zip(*(side.tolist() for side in np.nonzero(self.net.mask)), strict=True))

    def grown(self, index: int, step: int) -> set[Pair]:
        edits: list[EdgeEdit] = [e for e in self.model.edge_sets[index].history if e.step == step]
        row, column = self.offsets[index]
        return {(int(u) + row, int(v) + column) for e in edits for u, v in zip(*e.grown, strict=True)}

    def sgd(self, dW: np.ndarray, dbias: np.ndarray) -> None:
        net, computed = self.net, np.arange(self.net.n) >= INPUTS
        self.velocity = np.where(net.mask, MOMENTUM * self.velocity + dW, 0)
        self.bias_velocity = np.where(computed, MOMENTUM * self.bias_velocity + dbias, 0)
        net.W -= LR * self.velocity
        net.bias -= LR * self.bias_velocity

    def gradients(self, step: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        x, y = batch(step)
        return self.net.gradients(x.numpy(), y.numpy())

    def check(self) -> None:
        assert self.edges() == self.twin_edges()
        src, dst = self.model.graph.edge_arrays()
        np.testing.assert_allclose(self.model.graph.column("weight"), self.net.W[src, dst], rtol=1e-7, atol=1e-10)
        np.testing.assert_allclose(self.model.graph.node_column("bias"), self.net.bias, rtol=1e-7, atol=1e-10)


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=LR, momentum=MOMENTUM)


@pytest.mark.parametrize(
    ("kind", "group"),
    [("ffn", "set"), ("ffn", "graph"), ("ffn", "target"), ("graph", "set"), ("graph", "graph"), ("graph", "target")],
)
@pytest.mark.parametrize("average", [1, 2])
def test_rigl(kind: str, storage: str, group: Grouping, average: int) -> None:
    pair = Pairing(kind, storage, pooled=group == "graph")
    optimizer = RigL(pair.model, sgd(pair.model), every=3, until=30, drop_fraction=0.5, group=group, average=average)
    changed = 0
    for step in range(1, 19):
        dW, dbias, dz = pair.gradients(step)
        train(pair.model, optimizer, range(step, step + 1))
        assert optimizer.edited == (step % 3 == 0)
        if step % 3:
            pair.sgd(dW, dbias)
            earlier, earlier_dz = dW, dz
        else:
            score, all_dz = dW, dz
            if average == 2:
                score, all_dz = dW + earlier, np.concatenate([dz, earlier_dz], 1)
            if group == "graph":
                rms = np.sqrt((all_dz**2).mean(1))
                score = np.divide(score, rms, out=np.zeros_like(score), where=rms > 0)
            for candidates in pair.candidates:
                went, came = rigl_update(pair.net, candidates, score, step, 0.5, 30, per_target=group == "target")
                changed += len(went)
                for lost in went | came:
                    pair.velocity[lost] = 0
        pair.check()
    assert changed > 20


@pytest.mark.parametrize("kind", ["ffn", "graph"])
def test_set(kind: str, storage: str) -> None:
    pair = Pairing(kind, storage)
    optimizer = SET(pair.model, sgd(pair.model), every=2, until=12, drop_fraction=0.3, seed=1)
    for step in range(1, 15):
        dW, dbias, _ = pair.gradients(step)
        train(pair.model, optimizer, range(step, step + 1))
        pair.sgd(dW, dbias)
        assert optimizer.edited == (step % 2 == 0 and step < 12)
        for index, candidates in enumerate(pair.candidates if optimizer.edited else ()):
            gone = set_drop(pair.net, candidates, 0.3)
            grown = pair.grown(index, step)
            stays = {one for one in candidates if pair.net.mask[one]} - gone
            assert len(grown) == len(gone) > 0
            assert not grown & stays
            assert grown <= set(candidates)
            for one in gone | grown:
                pair.net.mask[one] = one in grown
                pair.net.W[one] = pair.velocity[one] = 0
        pair.check()


@pytest.mark.parametrize("kind", ["ffn", "graph"])
def test_deepr(kind: str, storage: str) -> None:
    pair = Pairing(kind, storage)
    lr, l1 = 0.3, 0.05
    optimizer = DEEPR(pair.model, lr=lr, l1=l1, temperature=0.0, seed=2)
    net = pair.net
    theta, sign = np.abs(net.W), np.sign(net.W)
    first = sign.copy()
    count = [edges.num_edges for edges in pair.model.edge_sets]
    replaced = 0
    for step in range(1, 25):
        dW, dbias, _ = pair.gradients(step)
        train(pair.model, optimizer, range(step, step + 1))
        for index, candidates in enumerate(pair.candidates):
            active = [one for one in candidates if net.mask[one]]
            dormant = deepr_step(net, active, theta, sign, dW, lr, l1)
            grown = pair.grown(index, step)
            assert len(grown) == len(dormant)
            assert not grown & (set(active) - dormant)
            assert grown <= set(candidates)
            row, column = pair.offsets[index]
            for one in sorted(grown):
                u, v = np.array([one[0] - row]), np.array([one[1] - column])
                sign[one] = optimizer.signs(optimizer.values[index], u, v)[0]
                assert first[one] in (0, sign[one])
                theta[one], net.mask[one], net.W[one] = 1e-12, True, sign[one] * 1e-12
            replaced += len(grown)
        net.bias -= lr * np.where(np.arange(net.n) >= INPUTS, dbias, 0)
        net.W[~net.mask] = 0
        assert [edges.num_edges for edges in pair.model.edge_sets] == count
        pair.check()
    assert replaced > 10
