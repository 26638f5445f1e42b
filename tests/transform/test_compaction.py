"""Compaction: dead channels go, the function stays."""

import copy

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import prune

from deepgraph.errors import ArgumentError, EditRefusedError
from deepgraph.transform import apply_edits, compact, extract


def same_function(a, b, x):
    a, b = copy.deepcopy(a).eval(), b.eval()
    with torch.no_grad():
        expected = a(x)
        assert torch.allclose(b(x), expected, atol=1e-4 * max(1, float(expected.abs().max())))


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())


@given(
    widths=st.lists(st.integers(1, 6), min_size=2, max_size=4),
    share=st.floats(0, 1),
    seed=st.integers(0, 1000),
    bias=st.booleans(),
)
@example(widths=[1, 1, 5, 4], share=0.4375, seed=867, bias=False)  # Equal numbers whose tanh differ in the last bit.
@settings(max_examples=60, deadline=None)
def test_a_feed_forward_net_keeps_its_function(widths, share, seed, bias):
    torch.manual_seed(seed)
    layers = []
    for fan_in, fan_out in zip(widths, [*widths[1:], 3], strict=True):
        layer = nn.Linear(fan_in, fan_out, bias=bias)
        layer.weight.data[torch.rand_like(layer.weight) < share] = 0
        norm = nn.BatchNorm1d(fan_out)
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
        layers += [layer, norm, nn.Tanh()]
    model = nn.Sequential(*layers[:-2]).eval()
    small = compact(model)
    same_function(model, small, torch.randn(7, widths[0]))
    assert count(small) <= count(model)
    again = compact(small)
    assert count(again) == count(small)


def test_what_nothing_reads_and_what_nothing_reaches_goes():
    model = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 2, bias=False))
    model[4].weight.data[:, 0] = 0
    model[2].weight.data[1:, 2] = 0
    model[2].weight.data[0, 2] = 1
    model[0].weight.data[4] = 0
    model[0].bias.data[4] = 3
    small = compact(model)
    assert [tuple(small[i].weight.shape) for i in (0, 2, 4)] == [(3, 3), (3, 3), (2, 3)]
    same_function(model, small, torch.randn(5, 3))
    assert torch.allclose(small[2].bias, (model[2].bias + 3 * model[2].weight[:, 4])[1:])
    assert (small[0].out_features, small[2].in_features) == (3, 3)


def test_a_constant_is_folded_into_a_bias_that_was_not_there():
    model = nn.Sequential(nn.Linear(2, 2), nn.Sigmoid(), nn.Linear(2, 1, bias=False))
    model[0].weight.data[1] = 0
    small = compact(model)
    assert small[2].bias.shape == (1,)
    same_function(model, small, torch.randn(5, 2))


class Cnn(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(2, 6, 3, padding=1), nn.BatchNorm2d(6), nn.PReLU(6), nn.MaxPool2d(2), nn.Conv2d(6, 5, 3), nn.ELU()
        )
        self.drop = nn.Dropout()
        self.head = nn.Sequential(nn.Linear(20, 7), nn.ReLU(), nn.Linear(7, 3))

    def forward(self, x):
        return self.head(self.drop(torch.flatten(self.features(x), 1)))


def test_a_convolutional_net_keeps_its_function():
    torch.manual_seed(0)
    model = Cnn()
    model.features[1].running_mean.normal_()
    with torch.no_grad():
        model.features[4].weight[:, [0, 3]] = 0
        model.features[0].weight[5] = 0
        model.head[0].weight[:, 4:8] = 0
        model.head[0].weight[2] = 0
        model.head[2].weight[:, 6] = 0
    x = torch.randn(3, 2, 8, 8)
    before = copy.deepcopy(model.state_dict())
    small = compact(model, x)
    assert small.training
    same_function(model, small, torch.randn(4, 2, 8, 8))
    shapes = [tuple(layer.weight.shape) for layer in (*small.features[:3:1], small.features[4], *small.head[::2])]
    assert shapes == [(3, 2, 3, 3), (3,), (3,), (4, 3, 3, 3), (5, 16), (3, 5)]
    assert small.features[1].num_features == 3
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_global_pools_functional_calls_and_tokens():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.head = nn.Conv2d(1, 4, 3, bias=False), nn.Linear(4, 2)
            self.up, self.down = nn.Linear(2, 6), nn.Linear(6, 2)

        def forward(self, x):
            x = self.head(torch.relu(self.conv(x)).mean((2, 3)))
            tokens = torch.stack([x, 2 * x], dim=1)
            return self.down(nn.functional.gelu(self.up(tokens)))

    model = Net()
    model.conv.weight.data[1] = 0
    model.down.weight.data[:, 2:4] = 0
    x = torch.randn(3, 1, 6, 6)
    small = compact(model, x)
    assert [tuple(p.shape) for p in (small.conv.weight, small.head.weight, small.up.weight, small.down.weight)] == [
        (3, 1, 3, 3), (2, 3), (4, 2), (2, 4)
    ]  # fmt: skip
    same_function(model, small, torch.randn(5, 1, 6, 6))


def test_a_norm_over_something_else_ends_the_chain():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.norm, self.b = nn.Linear(3, 4), nn.BatchNorm1d(2), nn.Linear(4, 1)

        def forward(self, x):
            return self.b(self.norm(self.a(x)))

    model = Net().eval()
    model.b.weight.data[:, 0] = 0
    assert compact(model, torch.randn(2, 2, 3)).a.out_features == 4


def test_padding_keeps_a_constant_that_is_not_zero():
    model = nn.Sequential(nn.Conv1d(1, 2, 1), nn.Sigmoid(), nn.Conv1d(2, 1, 3, padding=1))
    model[0].weight.data[1] = 0
    assert compact(model, torch.randn(2, 1, 5))[0].out_channels == 2
    model[2].padding_mode, model[2]._reversed_padding_repeated_twice = "circular", [1, 1]
    small = compact(model, torch.randn(2, 1, 5))
    assert small[0].out_channels == 1
    same_function(model, small, torch.randn(3, 1, 5))


def test_masks_are_cut_along():
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))
    x = torch.randn(6, 4)
    graph = extract(model, x)
    edges = list(graph.edges)
    # Neuron 4 of the hidden layer is read by nobody; one entry more goes.
    graph.remove_edges_from([edge for edge in edges if edge[0] == 4] + [(0, 5), (6, 9)])
    apply_edits(model, graph)
    small = compact(model, x)
    assert (small[0].out_features, small[2].in_features) == (4, 4)
    same_function(model, small, x)
    optimizer = torch.optim.SGD(small.parameters(), lr=0.1)
    small(x).square().sum().backward()
    optimizer.step()
    assert int((small[0].weight == 0).sum() + (small[2].weight == 0).sum()) == 2
    pruned = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))
    prune.ln_structured(pruned[2], "weight", 2, n=2, dim=1)
    assert compact(pruned)[0].out_features == 3


def test_other_layers_stay():
    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 2)

        def forward(self, x):
            return self.c(x + torch.relu(self.b(torch.relu(self.a(x)))))

    model = Residual()
    model.a.weight.data[0] = 0
    model.b.weight.data[1] = 0
    x = torch.randn(4, 3)
    small = compact(model, x)
    assert [tuple(layer.weight.shape) for layer in (small.a, small.b, small.c)] == [(2, 3), (3, 2), (2, 3)]
    same_function(model, small, x)
    tied = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3))
    tied[2].weight = tied[0].weight
    tied[0].weight.data[0] = 0
    assert tuple(compact(tied)[0].weight.shape) == (3, 3)


def test_a_layer_never_loses_its_last_channel():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    model[0].weight.data.zero_()
    small = compact(model)
    assert small[0].out_features == 1
    same_function(model, small, torch.randn(3, 3))


def test_inputs_are_asked_for():
    with pytest.raises(
        ArgumentError, match=r"first layer with a weight is Conv1d, no Linear: call compact\(model, x\)"
    ):
        compact(nn.Sequential(nn.Conv1d(1, 1, 1)))


class Shuffled(nn.Module):
    def __init__(self, groups):
        super().__init__()
        self.groups = groups
        self.a, self.b = nn.Conv1d(1, 6, 1), nn.Linear(18, 2)

    def forward(self, x):
        x = self.a(x)
        if self.groups:
            x = x.unflatten(1, (self.groups, -1)).transpose(1, 2).flatten(1, 2)
        return self.b(x.transpose(1, 2).flatten(1))


def test_a_flattened_transpose_is_followed_and_a_shuffle_refused():
    for groups in (0, 2):
        model = Shuffled(groups)
        model.a.weight.data[[0, 2]] = 0
        x = torch.randn(2, 1, 3)
        if groups:
            with pytest.raises(EditRefusedError, match=r"got a difference of .* starts in module 'b' \(Linear\)"):
                compact(model, x)
        else:
            small = compact(model, x)
            assert (small.a.out_channels, small.b.in_features) == (4, 12)
            same_function(model, small, torch.randn(4, 1, 3))
