"""Order 1: a node per channel, found without the neurons; edges count weights and carry their norm."""

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F  # noqa: N812

from deepgraph.errors import ArgumentError, TooLargeError
from deepgraph.sparse import MaskedDeepFFN
from deepgraph.transform import estimate, extract
from deepgraph.transform.channel_classes import by_set, by_tuple


def names(graph):
    return [graph.graph["results"][index][0].removeprefix("aten::") for index in graph.node_column("result")]


def table(graph, column):
    return {(u, v): value for (u, v), value in zip(graph.edges, graph.column(column).tolist(), strict=True)}


def test_a_linear_layer_has_the_same_nodes_as_at_order_zero():
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    x = torch.randn(2, 4)
    channels, neurons = extract(model, x, order=1), extract(model, x)
    assert list(channels.edges) == list(neurons.edges)
    assert np.allclose(channels.column("weight"), np.abs(neurons.column("weight")))
    assert set(channels.column("count").tolist()) == {1}
    assert channels.node_column("activation").tolist() == neurons.node_column("activation").tolist()
    assert np.array_equal(channels.role_array(), neurons.role_array())
    assert channels.graph["order"] == 1
    assert not channels.graph["exact"]


def test_tokens_do_not_make_nodes():
    model = nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3), nn.Linear(3, 2))
    assert len(extract(model, torch.randn(1, 7, 4), order=1)) == 4 + 3 + 3 + 2


def test_an_edge_of_a_convolution_stands_for_its_kernel():
    layer = nn.Conv2d(3, 4, (3, 5), padding=2, stride=2)
    graph = extract(layer, torch.randn(1, 3, 9, 9), order=1)
    assert (len(graph), graph.number_of_edges()) == (7, 12)
    assert set(graph.column("count").tolist()) == {15}
    norm = layer.weight.detach().flatten(2).norm(dim=2)
    assert graph.column("weight").tolist() == pytest.approx(norm.t().reshape(-1).tolist())
    assert graph.node_column("channel").tolist() == [0, 1, 2, 0, 1, 2, 3]


def test_groups_and_transposed_convolutions():
    graph = extract(nn.Conv1d(4, 6, 3, groups=2), torch.randn(1, 4, 8), order=1)
    expected = [(u, 4 + v) for u in range(4) for v in range(6) if u // 2 == v // 3]
    assert sorted(graph.edges) == expected
    graph = extract(nn.ConvTranspose2d(2, 3, 2, stride=2), torch.randn(1, 2, 4, 4), order=1)
    assert (graph.number_of_edges(), set(graph.column("count").tolist())) == (6, {4})


def test_batch_norm_and_activation_are_merged_and_kept_apart_on_request():
    model = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2), nn.ReLU(), nn.MaxPool2d(2)).eval()
    model[1].weight.data = torch.tensor([-3.0, 0.5])
    x = torch.randn(1, 1, 6, 6)
    fused, whole = extract(model, x, order=1), extract(model, x, order=1, fuse=False)
    assert (
        names(whole)
        == ["input"] + ["convolution"] * 2 + ["native_batch_norm"] * 2 + ["relu"] * 2 + ["max_pool2d_with_indices"] * 2
    )
    assert names(fused) == ["input"] + ["relu"] * 2 + ["max_pool2d_with_indices"] * 2
    scale = (model[1].weight / torch.sqrt(1 + torch.tensor(model[1].eps))).abs()
    norm = scale * model[0].weight.flatten(1).norm(dim=1)
    assert [table(fused, "weight")[0, v] for v in (1, 2)] == pytest.approx(norm.tolist(), rel=1e-5)
    assert [table(fused, "count")[0, v] for v in (1, 2)] == [9, 9]
    assert fused.node_column("reduce").tolist() == ["sum"] * 3 + ["max"] * 2


def test_a_flattened_image_is_read_by_channel():
    model = nn.Sequential(nn.Conv2d(1, 3, 2), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, 5))
    graph = extract(model, torch.randn(1, 1, 5, 5), order=1)
    counts = table(graph, "count")
    assert counts[4, 7] == 4
    assert (names(graph)[4], names(graph)[7]) == ("_adaptive_avg_pool2d", "addmm")
    weight = model[3].weight.detach().view(5, 3, 4)
    assert table(graph, "weight")[4, 7] == pytest.approx(float(weight[0, 0].norm()))


def test_means_sums_and_mixers_act_on_positions():
    mean = extract(lambda x: x.mean((2, 3)), torch.randn(1, 3, 4, 5), order=1)
    assert sorted(mean.edges) == [(0, 3), (1, 4), (2, 5)]
    assert mean.column("count").tolist() == [20] * 3
    assert mean.column("weight").tolist() == pytest.approx([20**-0.5] * 3)
    weight = torch.randn(6, 8)
    mixer = extract(lambda x: F.linear(x.transpose(1, 2), weight).transpose(1, 2), torch.randn(1, 8, 3), order=1)
    assert sorted(mixer.edges) == [(0, 3), (1, 4), (2, 5)]
    assert mixer.column("count").tolist() == [48] * 3
    assert mixer.column("weight").tolist() == pytest.approx([float(weight.norm())] * 3)


def test_residuals_of_padded_and_whole_tensors_are_one_channel():
    def model(x):
        y = F.pad(x[:, :, :3], (0, 2))
        return torch.relu(x + y * 2)

    graph = extract(model, torch.randn(1, 2, 5), order=1, fuse=False, channel_dim=1)
    assert [names(graph).count(name) for name in ("input", "mul", "add", "relu")] == [2, 2, 2, 2]


def test_a_factor_per_position_counts_its_entries():
    factor = torch.arange(1.0, 9.0).view(2, 4)
    graph = extract(lambda x: x * factor, torch.randn(1, 2, 4), order=1, channel_dim=1)
    assert graph.column("count").tolist() == [4, 4]
    assert graph.column("weight").tolist() == pytest.approx(factor.norm(dim=1).tolist())
    per_channel = extract(lambda x: x * factor[:, :1], torch.randn(1, 2, 4), order=1, channel_dim=1)
    assert per_channel.column("count").tolist() == [1, 1]


def test_attention_has_a_node_per_head_and_one_per_value_channel():
    layer = nn.MultiheadAttention(8, 2, batch_first=True, bias=False)
    graph = extract(lambda x: layer(x, x, x, need_weights=False)[0], torch.randn(1, 5, 8), order=1)
    made = names(graph)
    assert made.count("_softmax") + made.count("_safe_softmax") == 2
    assert made.count("bmm") == 2 + 8
    assert nx.is_directed_acyclic_graph(graph)
    # q, k and v of a head, 4 channels each, and nothing of the other head.
    head = next(v for v in graph if made[v] == "bmm")
    assert graph.in_degree(head) == 8


def test_an_embedding_stands_for_its_table():
    model = nn.Sequential(nn.Embedding(50, 3), nn.Linear(3, 2))
    graph = extract(model, torch.randint(0, 50, (1, 6)), order=1)
    assert (len(graph), graph.number_of_edges()) == (6, 9)
    assert table(graph, "count")[0, 2] == 50
    assert table(graph, "weight")[0, 2] == pytest.approx(float(model[0].weight.detach()[:, 1].norm()))


def test_the_channels_of_an_input():
    shapes = {
        (1, 3): 3, (1, 3, 8, 8): 3, (1, 3, 4, 4, 4): 3, (1, 5, 7): 7, (1,): 1,
    }  # fmt: skip
    for shape, count in shapes.items():
        assert len(extract(torch.relu, torch.randn(shape), order=1).graph["inputs"]) == count
    assert len(extract(nn.Conv1d(5, 2, 3), torch.randn(1, 5, 7), order=1).graph["inputs"]) == 5
    assert len(extract(torch.relu, torch.randn(1, 4, 4, 3), order=1, channel_dim=-1).graph["inputs"]) == 3
    with pytest.raises(ArgumentError, match=r"channel_dim=2, got a tensor of shape \(1, 3\)"):
        extract(torch.relu, torch.randn(1, 3), order=1, channel_dim=2)


def test_our_own_modules_run_once_per_token_are_one_set_of_channels():
    model = MaskedDeepFFN(4, 2, [5], density=0.5, seed=0)
    graph = extract(lambda x: model(x.flatten(0, 1)).view(len(x), 3, 2), torch.randn(1, 3, 4), order=1)
    neurons = extract(model, torch.randn(1, 4))
    assert list(graph.edges) == list(neurons.edges)
    assert graph.column("weight").tolist() == pytest.approx(np.abs(neurons.column("weight")).tolist())


def test_sizes_are_estimated_and_refused():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3))
    x = torch.randn(1, 3, 8, 8)
    size = estimate(model, x, order=1)
    assert (size.nodes, size.edges, size.order) == (3 + 8 + 8 + 4, 24 + 8 + 32, 1)
    with pytest.raises(TooLargeError, match=r"got a model of order 1: 23 nodes, 64 edges"):
        extract(model, x, order=1, max_edges=10)


def test_constants_among_the_results():
    graph = extract(lambda x: torch.cat([x, torch.ones(len(x), 4)], 1), torch.randn(1, 2), order=1)
    assert (len(graph), graph.graph["outputs"]) == (3, [0, 1, 2])


def shrink(reach, neurons, of_inputs, of_outputs):
    """Return whether any output of a channel is reached by any input of a channel."""
    small = np.zeros((max(of_outputs) + 1, max(of_inputs) + 1), dtype=bool)
    rows, columns = reach(neurons).nonzero()
    small[np.array(of_outputs)[rows], np.array(of_inputs)[columns]] = True
    return small


@given(
    steps=st.lists(st.sampled_from(["conv", "grouped", "norm", "relu", "skip", "pool", "cat", "shuffle"]), max_size=6),
    seed=st.integers(0, 1000),
)
@settings(max_examples=40, deadline=None)
def test_channels_reach_what_their_neurons_reach(reach, steps, seed):
    torch.manual_seed(seed)
    layers, width = [], 4
    for step in steps:
        layer = {
            "conv": lambda w: nn.Conv1d(w, 4, 3, padding=1),
            "grouped": lambda w: nn.Conv1d(w, w, 3, padding=1, groups=2),
            "norm": nn.BatchNorm1d,
            "shuffle": lambda w: nn.ChannelShuffle(2),
        }.get(step, lambda w: None)(width)
        if isinstance(layer, nn.Conv1d):
            layer.weight.data[torch.rand_like(layer.weight[:, :, :1]).expand_as(layer.weight) < 0.5] = 0
        layers.append((step, layer))
        width = 4 if step == "conv" else 2 * width if step == "cat" else width

    def model(x):
        for step, layer in layers:
            if layer is not None:
                x = layer.eval()(x)
            elif step == "relu":
                x = torch.relu(x)
            elif step == "skip":
                x = x + torch.tanh(x)
            elif step == "pool":
                x = F.avg_pool1d(x, 3, 1, padding=1)
            elif step == "cat":
                x = torch.cat([x, -x], 1)
        return x

    x = torch.randn(1, 4, 6)
    neurons = extract(model, x)
    channels = extract(model, x, order=1, channel_dim=1)
    found = reach(channels)
    outputs = channels.output_positions().tolist()
    wanted = shrink(reach, neurons, np.repeat(np.arange(4), 6), np.repeat(np.arange(width), 6))
    if len(outputs) == width:
        assert np.array_equal(found, wanted)


def test_classes_of_what_elements_read():
    assert by_tuple([np.array([1, 1, -1]), np.array([2, 3, 2])], 9).of.tolist() == [0, 1, 0]
    # A constant that could belong to two channels stays apart.
    assert by_tuple([np.array([1, 4, -1]), np.array([2, 2, 2])], 9).of.tolist() == [0, 1, 2]
    three = [np.array([1, 1]), np.array([2, 2]), np.array([3, 4])]
    assert by_tuple(three, 9).count == 2
    assert by_set(np.zeros((3, 0), dtype=np.int64)).count == 1
    assert by_set(np.array([[5, -1], [-1, 5], [-1, -1]])).of.tolist() == [0, 0, 1]
