"""Convolutions and pools: windows come out right for every stride, padding, dilation and group."""

import numpy as np
import pytest
import torch
from torch import nn

from deepgraph.checkpoint import load, save
from deepgraph.errors import ArgumentError, EditRefusedError
from deepgraph.sparse import MaskedDeepFFN
from deepgraph.transform import apply_edits, extract


def computes_the_same(evaluate, reach, model, x):
    model = model.double().eval()
    x = x.double()
    graph = extract(model, x)
    other = torch.randn(3, *x.shape[1:], dtype=torch.float64)
    assert np.allclose(evaluate(graph, other), model(other).detach().numpy(), atol=1e-10)
    jacobian = torch.autograd.functional.jacobian(model, x)
    assert not ((jacobian.reshape(len(graph.graph["outputs"]), -1).numpy() != 0) & ~reach(graph)).any()
    return graph


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv1d(4, 6, 3, stride=2, padding=1, groups=2),
        nn.Conv1d(4, 4, 3, dilation=2, padding="same", groups=4, bias=False),
        nn.ConvTranspose1d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2),
        nn.AvgPool1d(3, 2, padding=1),
        nn.AvgPool1d(2, ceil_mode=True),
        nn.AvgPool1d(3, 2, padding=1, count_include_pad=False, ceil_mode=True),
        nn.AdaptiveAvgPool1d(3),
        nn.ReflectionPad1d(2),
        nn.ReplicationPad1d(1),
        nn.CircularPad1d(2),
        nn.Upsample(scale_factor=2),
        nn.Upsample(scale_factor=1.7, mode="linear"),
        nn.Upsample(size=11, mode="linear", align_corners=True),
        nn.MaxPool1d(3, 2, padding=1),
        nn.AdaptiveMaxPool1d(2),
        nn.Conv1d(4, 2, 3, padding=2, padding_mode="reflect"),
        nn.Conv1d(4, 2, 3, padding=2, padding_mode="replicate"),
        nn.Conv1d(4, 2, 3, padding="same", padding_mode="circular"),
    ],
    ids=repr,
)
def test_one_dimension(evaluate, reach, layer):
    computes_the_same(evaluate, reach, layer, torch.randn(1, 4, 7))


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2), groups=2),
        nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular", groups=4),
        nn.Conv2d(4, 2, 4, padding="same", dilation=2),
        nn.ConvTranspose2d(4, 4, 3, stride=2, dilation=2, groups=4, bias=False),
        nn.ConvTranspose2d(4, 3, 2, stride=3, padding=1),
        nn.AvgPool2d(2, 2, ceil_mode=True),
        nn.AvgPool2d(3, 2, padding=1, divisor_override=5),
        nn.AdaptiveAvgPool2d((2, 3)),
        nn.AdaptiveAvgPool2d(1),
        nn.AdaptiveMaxPool2d((2, 3)),
        nn.MaxPool2d(3, 2, padding=1, dilation=1, ceil_mode=True),
        nn.MaxPool2d(2, dilation=2),
        nn.BatchNorm2d(4),
        nn.PReLU(4),
        nn.PixelShuffle(2),
        nn.ChannelShuffle(2),
        nn.ZeroPad2d((1, 0, 2, 1)),
        nn.Unfold(2, padding=1),
        nn.Upsample(scale_factor=2),
        nn.Upsample(scale_factor=(2, 1.3), mode="bilinear"),
        nn.Upsample(size=(3, 9), mode="bicubic", align_corners=True),
        nn.Upsample(scale_factor=1.5, mode="nearest-exact"),
        nn.Conv2d(4, 2, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(4, 2, 3, padding=(1, 2), padding_mode="replicate"),
        nn.Conv2d(4, 2, 3, padding="same", padding_mode="reflect", dilation=2),
        nn.RReLU(),
    ],
    ids=repr,
)
def test_two_dimensions(evaluate, reach, layer):
    computes_the_same(evaluate, reach, layer, torch.randn(1, 4, 5, 5))


def test_three_dimensions(evaluate, reach):
    model = nn.Sequential(nn.Conv3d(2, 2, 2, stride=(1, 2, 1)), nn.AvgPool3d(2, 1), nn.AdaptiveAvgPool3d(1))
    computes_the_same(evaluate, reach, model, torch.randn(1, 2, 4, 4, 4))


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv3d(1, 1, 2, padding=1, padding_mode="reflect"),
        nn.Conv3d(1, 1, 2, padding=1, padding_mode="replicate"),
        nn.Conv3d(1, 1, 2, padding=1, padding_mode="circular"),
        nn.ConvTranspose3d(1, 1, 2, stride=2, output_padding=1),
        nn.MaxPool3d(2, padding=1),
        nn.AdaptiveMaxPool3d(2),
        nn.Upsample(scale_factor=2, mode="trilinear"),
        nn.Upsample(scale_factor=2),
    ],
    ids=repr,
)
def test_other_layers_in_three_dimensions(evaluate, reach, layer):
    computes_the_same(evaluate, reach, layer, torch.randn(1, 1, 3, 2, 3))


def test_antialiased_interpolation_and_fold(evaluate, reach):
    class Smaller(nn.Module):
        def forward(self, x):
            return nn.functional.interpolate(x, scale_factor=0.6, mode="bilinear", antialias=True)

    computes_the_same(evaluate, reach, Smaller(), torch.randn(1, 2, 6, 5))
    computes_the_same(evaluate, reach, nn.Fold((4, 4), 3, padding=1, stride=2), torch.randn(1, 18, 4))


class ResidualNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.pointwise = nn.Conv2d(8, 4, 1)
        self.branch = nn.Conv2d(8, 4, 3, padding=2, dilation=2)
        self.head = nn.Linear(8, 5)
        for buffer in (self.norm.running_mean, self.norm.running_var):
            buffer.uniform_(0.5, 1.5)

    def forward(self, x):
        x = torch.relu(self.norm(self.stem(x)))
        x = torch.relu(x + self.depthwise(x))
        x = torch.cat([torch.relu(self.pointwise(x)), self.branch(x)], dim=1)
        return self.head(nn.functional.avg_pool2d(x, 2).mean((2, 3)))


def test_a_strided_grouped_residual_concatenating_net(evaluate, reach):
    graph = computes_the_same(evaluate, reach, ResidualNet(), torch.randn(1, 3, 8, 8))
    # Linear + batch norm + ReLU is one neuron: 192 inputs; stem, depthwise sum, pointwise, branch, pools, means, head.
    # Neither the stem (read twice) nor anything else leaves a node of a pointwise operation behind.
    assert len(graph) == 192 + 8 * 16 + 8 * 16 + 4 * 16 + 4 * 16 + 8 * 4 + 8 + 5
    assert set(np.unique(graph.node_column("module"))) == {"", "stem", "depthwise", "pointwise", "branch", "head"}


def test_maxima_are_nodes_of_their_own(evaluate, reach):
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.MaxPool2d(2, padding=1), nn.Flatten(), nn.Linear(8, 2))
    x = torch.randn(1, 1, 4, 4)
    graph = extract(model, x)
    assert graph.graph["exact"]
    other = torch.randn(4, 1, 4, 4)
    assert np.allclose(evaluate(graph, other), model(other).detach(), atol=1e-6)
    assert sorted(set(graph.node_column("reduce").tolist())) == ["max", "sum"]
    jacobian = torch.autograd.functional.jacobian(model, x).reshape(2, -1).numpy()
    assert not ((jacobian != 0) & ~reach(graph)).any()


def test_convolved_weights_are_known_by_their_entries():
    model = nn.Conv1d(1, 1, 2, bias=False)
    graph = extract(model, torch.randn(1, 1, 4))
    assert graph.graph["parameters"] == ["weight"]
    assert graph.column("parameter").tolist() == [0] * 6
    assert graph.column("entry").tolist() == [0, 1, 0, 1, 0, 1]
    flat = model.weight.detach().reshape(-1).numpy()
    assert np.array_equal(graph.column("weight"), flat[graph.column("entry")])


def test_neurons_have_coordinates():
    layer = nn.Conv2d(1, 2, 3)
    model = nn.Sequential(layer, nn.Tanh(), nn.Flatten(), nn.Linear(8, 3))
    graph = extract(model, torch.randn(2, 1, 4, 4))
    result, element = graph.node_column("result"), graph.node_column("element")
    assert graph.graph["results"] == [
        ("input", (1, 4, 4)), ("aten::convolution", (2, 2, 2)), ("aten::tanh", (2, 2, 2)), ("aten::addmm", (3,))
    ]  # fmt: skip
    assert result.tolist() == [0] * 16 + [2] * 8 + [3] * 3
    for node in np.flatnonzero(result == 2):
        channel, row, column = np.unravel_index(element[node], (2, 2, 2))
        read = [np.unravel_index(element[u], (1, 4, 4))[1:] for u in graph.predecessors(int(node))]
        assert sorted(read) == [(row + i, column + j) for i in range(3) for j in range(3)]
        entries = graph.column("entry")[graph.edge_arrays()[1] == node]
        assert set(entries // 9) == {channel}


class Grids(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.line, self.fc = nn.Conv2d(1, 2, 3), nn.Conv1d(2, 2, 2), nn.Linear(4, 2)

    def forward(self, x):
        x = torch.relu(self.conv(x))
        x = self.line(self.line(x.flatten(2)))[:, :, ::2]
        return self.fc(x.flatten(1)), x.mean((1, 2))


def test_neurons_can_be_labelled_by_module_and_place(tmp_path):
    model, x = Grids(), torch.randn(1, 1, 4, 5)
    plain, graph = extract(model, x), extract(model, x, labels="grid")
    assert graph.nbytes == plain.nbytes
    assert graph.graph["grids"][:2] == [("input", 1, 4, 5), ("conv", 2, 2, 3)]
    # Of the second call only the even places are left, of the results none is a grid of its own.
    assert graph.graph["grids"][2:] == [
        ("line", 2, 1, 5),
        ("line#2", 2, 1, 4),
        ("fc", 2, 1, 1),
        ("aten::mean", 1, 1, 1),
    ]
    assert ("input", 0, 3, 4) in graph
    assert ("conv", 1, 1, 2) in graph
    assert set(graph.predecessors(("conv", 1, 1, 2))) == {
        ("input", 0, 1 + i, 2 + j) for i in range(3) for j in range(3)
    }
    assert np.array_equal(np.stack(graph.edge_arrays()), np.stack(plain.edge_arrays()))
    save(graph, tmp_path / "graph.dg")
    graph = load(tmp_path / "graph.dg")
    assert ("line#2", 1, 0, 2) in graph
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(12, 2))
    graph = extract(model, x, labels="grid")
    graph.remove_node(("0", 0, 0, 0))
    with pytest.raises(EditRefusedError, match=r"edges of 0.weight\[0, 0, 0, 0\]"):
        apply_edits(model, graph)
    for label in [label for label in graph if label[:2] == ("0", 0)]:
        graph.remove_node(label)
    apply_edits(model, graph)
    assert not model[0].weight[0].any()
    with pytest.raises(ArgumentError, match="""labels="number" or "grid", got 'places'"""):
        extract(model, x, labels="places")
    with pytest.raises(ArgumentError, match='order=0 with labels="grid", which name neurons, got order=1'):
        extract(model, x, order=1, labels="grid")
    with pytest.raises(ArgumentError, match="no compiled graph, got one whose nodes have no coordinates"):
        extract(MaskedDeepFFN(3, 2, [4], seed=0), torch.randn(1, 3), labels="grid")


def test_a_weight_that_depends_on_the_input_is_refused():
    from deepgraph.errors import UnsupportedOperationError

    class Hyper(nn.Module):
        def forward(self, x):
            return nn.functional.conv1d(x, x.view(1, 1, -1)[:, :, :2])

    with pytest.raises(UnsupportedOperationError, match="not to depend on the input, got an aten::conv"):
        extract(Hyper(), torch.randn(1, 1, 4), batch_dim=None)
