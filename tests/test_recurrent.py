"""Masked recurrent cells against torch's own, and stacks of them in layers and on graphs."""

from __future__ import annotations

import copy

import networkx as nx
import pytest
import torch
from torch import nn

import deepgraph as dg
from deepgraph.recurrent import MaskedDeepRNN, MaskedGRULayer, MaskedLSTMLayer, MaskedRecurrentLayer
from deepgraph.sparse import edge_values

CELLS = [MaskedRecurrentLayer, MaskedGRULayer, MaskedLSTMLayer]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(MaskedRecurrentLayer, nn.RNNCell), (MaskedGRULayer, nn.GRUCell), (MaskedLSTMLayer, nn.LSTMCell)],
)
def test_cells_compute_what_torchs_cells_do_with_masked_weights(ours, theirs) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    layer, cell = ours(4, 3), theirs(4, 3)
    assert repr(layer)
    into, within = torch.rand(3, 4) > 0.5, torch.eye(3)
    assert layer.set_i2h_mask(into).set_h2h_mask(within) is layer
    gates = layer.gates
    assert torch.equal(layer.mask_i2h, into.repeat(gates, 1))
    assert torch.equal(layer.mask_h2h, within.bool().repeat(gates, 1))
    with torch.no_grad():
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            getattr(cell, name).copy_(getattr(layer, name))
    x, h = torch.randn(5, 4), torch.randn(5, 3)
    state = (h, torch.randn(5, 3)) if ours is MaskedLSTMLayer else h
    torch.testing.assert_close(layer(x, state), cell(x, state))
    torch.testing.assert_close(layer(x), cell(x))


def test_any_nonlinearity() -> None:
    layer = MaskedRecurrentLayer(4, 3, nonlinearity=nn.LogSigmoid())
    assert (layer(torch.randn(5, 4), torch.zeros(5, 3)) < 0).all()
    with pytest.raises(TypeError, match="expected a function or a module, got 'relu'"):
        MaskedRecurrentLayer(4, 3, nonlinearity="relu")  # type: ignore[arg-type]


@pytest.mark.parametrize("cell", CELLS)
def test_masks_and_shapes_are_checked(cell) -> None:  # type: ignore[no-untyped-def]
    layer = cell(4, 3)
    with pytest.raises(ValueError, match="mask_i2h: expected shape"):
        layer.set_i2h_mask(torch.ones(4, 3))
    with pytest.raises(ValueError, match="mask_h2h: expected zeros and ones"):
        layer.set_h2h_mask(torch.full((3, 3), 0.5))
    with pytest.raises(ValueError, match=r"input: expected shape \(batch, 4\), got \(5, 3\)"):
        layer(torch.zeros(5, 3))
    state = torch.zeros(2, 3)
    with pytest.raises(ValueError, match=r"hidden: expected shape \(5, 3\), got \(2, 3\)"):
        layer(torch.zeros(5, 4), (state, state) if cell is MaskedLSTMLayer else state)


@pytest.mark.parametrize("cell", CELLS)
def test_deep_networks_learn_and_masked_weights_stay_zero(cell) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    model = MaskedDeepRNN(1, [12, 4], build_recurrent_layer=cell, batch_first=True)
    net = nn.Sequential(model, nn.Linear(4, 1))
    assert model.apply_mask(threshold=0.1, i2h=True, h2h=True) is model
    off = [~values.mask() for values in edge_values(model)]
    assert sum(int(mask.sum()) for mask in off) > 0
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.02, weight_decay=0.1)
    x = torch.randn(64, 6, 1)
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        loss = (net(x) - x.sum(1)).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2
    for values, mask in zip(edge_values(model), off, strict=True):
        assert (values.parameter[mask] == 0).all()


def test_the_threshold_goes_where_it_is_asked_to() -> None:
    model = MaskedDeepRNN(3, [5, 2])
    inside = model.layers[0].mask_h2h.sum()
    model.apply_mask(10.0, i2h=True)
    assert model.layers[1].mask_i2h.sum() == 0
    assert model.layers[0].mask_h2h.sum() == inside
    with pytest.raises(ValueError, match="theta: expected a finite number >= 0, got nan"):
        model.apply_mask(float("nan"), i2h=True)
    assert model.reset_parameters().layers[1].mask_i2h.all()


def test_batch_first_and_time_first_agree() -> None:
    torch.manual_seed(0)
    model = MaskedDeepRNN(3, [5, 2])
    twin = copy.deepcopy(model)
    twin.batch_first = True
    x = torch.randn(7, 4, 3)
    assert torch.equal(model(x), twin(x.transpose(0, 1)))
    with pytest.raises(ValueError, match=r"expected shape \(time, batch, 3\), got \(7, 3\)"):
        model(torch.zeros(7, 3))
    with pytest.raises(ValueError, match=r"expected shape \(batch, time, 3\)"):
        twin(torch.zeros(2, 0, 3))


@pytest.mark.parametrize("cell", CELLS)
def test_structure_comes_from_a_graph(cell) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    # "early" is a sink before the last stage: its state is a result and learns.
    g = nx.DiGraph([("a", "c"), ("b", "c"), ("a", "early"), ("c", "d"), ("b", "d")])
    model = MaskedDeepRNN(2, g, build_recurrent_layer=cell)
    assert model.widths == [2, 2, 1]
    layered = dg.CachedLayeredGraph(g)
    assert layered.labels(layered.output_positions()) == ["early", "d"]
    gates = model.layers[1].gates
    assert model.layers[1].mask_i2h[:2].int().tolist() == [[1, 1], [1, 0]]
    assert model.layers[2].mask_i2h.int().tolist() == [[0, 1, 1, 0]] * gates
    model.layers[1].set_h2h_mask(torch.eye(2))
    y = model(torch.randn(3, 5, 2))
    assert y.shape == (5, 2)
    y[:, 0].sum().backward()
    gradient = model.layers[1].weight_ih.grad
    assert gradient[1].abs().sum() > 0
    assert (gradient[0] == 0).all()


def test_a_cycle_is_refused() -> None:
    with pytest.raises(ValueError, match="cycle"):
        MaskedDeepRNN(2, nx.DiGraph([(0, 1), (1, 0)]))
