"""Slopes of nn.PReLU in extracted graphs: nodes carry them, compile with them, and write them back."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

import deepgraph as dg
from deepgraph.errors import EditRefusedError


def drawn(model, seed=0):
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.PReLU):
            module.weight.data.uniform_(-1, 1, generator=generator)
    return model.double().eval()


def perceptron():
    return drawn(nn.Sequential(nn.Linear(4, 6), nn.PReLU(6), nn.Linear(6, 3), nn.PReLU()))


def convolutional():
    layers = nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.PReLU(3), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(12, 2)
    return drawn(nn.Sequential(*layers))


def ours():
    model = dg.MaskedDeepDAN(4, 2, dg.priors.random_layered([3, 4, 3], 0.8, seed=0), activation="prelu", seed=0)
    for layer in (model.stem, model.core):
        layer.slope.data.uniform_(-1, 1)
    return model.double()


@pytest.mark.parametrize(("make", "shape"), [(perceptron, (4,)), (convolutional, (2, 6, 6)), (ours, (4,))])
def test_function_round_trip(make, shape):
    model = make()
    x = torch.randn(9, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    graph = dg.extract(model, x[:1])
    assert graph.graph["exact"]
    assert set(graph.node_column("activation").tolist()) == {"identity", "prelu"}
    back = dg.MaskedDeepDAN.from_graph(graph, dtype=torch.float64)
    assert back.core.slope.numel() == np.count_nonzero(graph.node_column("activation") == "prelu")
    torch.testing.assert_close(back(x.flatten(1)), model(x))
    again = dg.extract(back, x[:1].flatten(1))
    for name in ("slope", "activation", "bias", "role"):
        assert np.array_equal(again.node_column(name), graph.node_column(name)), name


def test_pieces_of_a_program_in_a_model_keep_their_slopes():
    model = nn.Sequential(nn.Linear(3, 4), ours(), nn.PReLU()).double()
    x = torch.randn(5, 3, dtype=torch.float64)
    back = dg.MaskedDeepDAN.from_graph(dg.extract(model, x[:1]), dtype=torch.float64)
    torch.testing.assert_close(back(x), model(x))


@pytest.mark.parametrize("make", [perceptron, ours])
def test_slopes_are_written_back(make):
    model = make()
    x = torch.randn(5, 4, dtype=torch.float64)
    graph = dg.extract(model, x[:1])
    bent = graph.node_column("activation") == "prelu"
    slope = graph.node_column("slope").copy()
    slope[bent] *= 2
    graph.set_node_column("slope", slope)
    wanted = copy.deepcopy(model)
    for name, parameter in wanted.named_parameters():
        if name.endswith("slope") or name in ("1.weight", "3.weight"):
            parameter.data *= 2
    dg.apply_edits(model, graph)
    torch.testing.assert_close(model(x), wanted(x))


def test_slopes_without_a_place_are_refused():
    model = perceptron()
    graph = dg.extract(model, torch.zeros(1, 4, dtype=torch.float64))
    slope = graph.node_column("slope").copy()
    slope[-1] += 1
    graph.set_node_column("slope", slope)
    with pytest.raises(EditRefusedError, match=r"one slope for the nodes that share 3.weight\[0\], got .* change all"):
        dg.apply_edits(model, graph)

    class Fixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(2, 2)

        def forward(self, x):
            return nn.functional.prelu(self.layer(x), torch.tensor(0.5))

    model = Fixed()
    graph = dg.extract(model, torch.zeros(1, 2))
    graph.set_node_column("slope", graph.node_column("slope") + 1)
    with pytest.raises(EditRefusedError, match=r"slope of node 2 to stay 0.5, got 1.5: no parameter entry"):
        dg.apply_edits(model, graph)
