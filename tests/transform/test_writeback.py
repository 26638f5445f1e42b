"""Write-back: edits of an extracted graph in the model, persistent, all or nothing."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

from deepgraph.errors import ArgumentError, EditRefusedError
from deepgraph.sparse import MaskedDeepDAN, MaskedDeepFFN, SparseLinear
from deepgraph.transform import apply_edits, extract


def drop(graph, which):
    src, dst = graph.edge_arrays()
    graph.edit(drop=(src[which].copy(), dst[which].copy()))


def same_edges(a, b):
    return np.array_equal(np.stack(a.edge_arrays()), np.stack(b.edge_arrays()))


def train(model, x, steps=5):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        model(x).square().sum().backward()
        optimizer.step()


@given(seed=st.integers(0, 1000), share=st.floats(0, 1))
@settings(max_examples=30, deadline=None)
def test_an_edited_graph_and_its_model_agree_and_stay_so_in_training(evaluate, seed, share):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 2)).eval()
    nn.init.normal_(model[1].weight)
    x = torch.randn(6, 4)
    graph = extract(model, x)
    random = np.random.default_rng(seed)
    drop(graph, random.random(graph.number_of_edges()) < share)
    graph.set_column("weight", (graph.column("weight") * random.normal(size=graph.number_of_edges())).astype("f4"))
    assert apply_edits(model, graph) is model
    assert np.allclose(evaluate(graph, x), model(x).detach(), atol=1e-5)
    assert same_edges(extract(model, x), graph)
    train(model, x)
    assert same_edges(extract(model, x), graph)


def test_a_convolution_loses_entries_and_keeps_the_rest(evaluate):
    model = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(12, 2))
    x = torch.randn(3, 2, 4, 4)
    graph = extract(model, x)
    entry, parameter = graph.column("entry"), graph.column("parameter")
    names = graph.graph["parameters"]
    small = np.zeros(graph.number_of_edges(), dtype=bool)
    for index, name in enumerate(names):
        weight = dict(model.named_parameters())[name].detach().abs().reshape(-1)
        low = (weight < weight.median()).numpy()
        mine = parameter == index
        small[mine] = low[entry[mine]]
    before = copy.deepcopy(model)
    drop(graph, small)
    apply_edits(model, graph)
    assert np.allclose(evaluate(graph, x), model(x).detach(), atol=1e-6)
    assert 0 < int((model[0].weight == 0).sum()) < 54
    kept = model[0].weight != 0
    assert torch.equal(model[0].weight[kept], before[0].weight[kept])
    assert torch.equal(model[0].bias, before[0].bias)
    again = copy.deepcopy(model)
    assert torch.equal(again(x), model(x))
    again.load_state_dict(model.state_dict())
    # A second round finds the entries under their new names.
    graph = extract(model, x)
    drop(graph, (graph.column("parameter") >= 0) & (graph.column("entry") == 1))
    apply_edits(model, graph)
    assert np.allclose(evaluate(graph, x), model(x).detach(), atol=1e-6)
    assert len(model[0].parametrizations.weight) == 1


@pytest.mark.parametrize("fuse", [True, False])
def test_what_an_entry_adds_to_a_sum_goes_with_its_edge(evaluate, fuse):
    class Shifted(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.layer = nn.BatchNorm1d(2), nn.Linear(6, 3)
            self.norm.running_mean.fill_(0.7)
            self.conv = nn.Conv1d(1, 1, 2)

        def forward(self, x):
            x = torch.cat([self.norm(x), 1 - x, torch.full((len(x), 2), 0.5)], dim=1)
            x = nn.functional.pad(self.layer(x)[:, None], (1, 1), value=2.0)
            return self.conv(x)[:, 0]

    model = Shifted().eval()
    x = torch.randn(5, 2)
    graph = extract(model, x, fuse=fuse)
    assert np.allclose(evaluate(graph, x), model(x).detach(), atol=1e-6)
    names = graph.graph["parameters"]
    parameter, entry = graph.column("parameter"), graph.column("entry")
    gone = (parameter == names.index("layer.weight")) & np.isin(entry, [0, 3, 4, 8, 17])
    drop(graph, gone | ((parameter == names.index("conv.weight")) & (entry == 0)))
    apply_edits(model, graph)
    assert int((model.layer.weight == 0).sum()) == 5
    assert model.conv.weight[0, 0, 0] == 0
    assert np.allclose(evaluate(graph, x), model(x).detach(), atol=1e-6)


def test_the_graph_may_be_applied_twice():
    model = nn.Linear(3, 2)
    graph = extract(model, torch.randn(1, 3))
    drop(graph, np.array([True] + [False] * 5))
    apply_edits(model, graph)
    drop(graph, np.array([True] + [False] * 4))
    apply_edits(model, graph)
    assert model.weight.detach()[:, 0].tolist() == [0, 0]
    assert same_edges(extract(model, torch.randn(1, 3)), graph)


def unchanged(model, graph, message):
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(EditRefusedError, match=message):
        apply_edits(model, graph)
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_one_copy_of_a_shared_weight_is_refused_by_name():
    model = nn.Conv1d(1, 1, 2, bias=False)
    graph = extract(model, torch.randn(1, 1, 4))
    graph.remove_edge(0, 4)
    unchanged(model, graph, r"all or none of the 3 edges of weight\[0, 0, 0\], got 2")
    graph = extract(model, torch.randn(1, 1, 4))
    graph[0][4]["weight"] = 9.0
    unchanged(model, graph, r"one value for the 3 edges of weight\[0, 0, 0\], got values from .* to 9")
    for edge in ((0, 4), (1, 5), (2, 6)):
        graph.edges[edge]["weight"] = 9.0
    apply_edits(model, graph)
    assert model.weight[0, 0, 0] == 9


def test_added_edges_are_refused():
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
    graph = extract(model, torch.randn(1, 2))
    graph.add_edge(0, 4, weight=1.0)
    unchanged(model, graph, r"got 1 that were added, first \(0, 4\)")


def test_edges_that_are_no_weights_are_refused():
    class Skip(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(2, 2)

        def forward(self, x):
            return x + torch.relu(self.layer(x))

    model = Skip()
    graph = extract(model, torch.randn(1, 2))
    graph.remove_edge(0, 4)
    unchanged(model, graph, r"expected all 4 edges without a parameter entry .* got 3")
    graph = extract(model, torch.randn(1, 2))
    graph[0][4]["weight"] = 3.0
    unchanged(model, graph, r"weight of edge \(0, 4\), without a parameter entry, to stay 1, got 3 there")


class Sum(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(2, 1, bias=False), nn.Linear(2, 1, bias=False)

    def forward(self, x):
        return self.a(x) + self.b(x)


def test_an_edge_of_several_entries_is_removed_with_all_of_them():
    model = Sum()
    graph = extract(model, torch.randn(1, 2))
    graph[0][2]["weight"] = 7.0
    unchanged(model, graph, r"edge \(0, 2\), which is the sum of several parameter entries, to stay .*, got 7 there")
    graph = extract(model, torch.randn(1, 2))
    graph.remove_edge(0, 2)
    apply_edits(model, graph)
    assert (model.a.weight[0, 0], model.b.weight[0, 0]) == (0, 0)
    assert model.a.weight[0, 1] != 0


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)
        self.second.weight = self.first.weight

    def forward(self, x):
        return self.second(torch.relu(self.first(x)))


def test_tied_weights_are_one_entry_and_stay_tied():
    model, x = Tied(), torch.randn(4, 3)
    graph = extract(model, x)
    graph.remove_edge(0, 3)
    unchanged(model, graph, r"all or none of the 2 edges of first.weight\[0, 0\], got 1")
    graph.remove_edge(3, 6)
    apply_edits(model, graph)
    train(model, x)
    assert model.first.parametrizations.weight.original is model.second.parametrizations.weight.original
    assert (model.first.weight[0, 0], model.second.weight[0, 0]) == (0, 0)
    assert int((model.first.weight != 0).sum()) == 8


def test_pruned_parametrized_and_recurrent_weights():
    model, x = nn.Linear(3, 2), torch.randn(4, 3)
    prune.random_unstructured(model, "weight", 2)
    graph = extract(model, x)
    drop(graph, np.arange(4) == 0)
    apply_edits(model, graph)
    model(x)
    assert int((model.weight != 0).sum()) == 3
    assert same_edges(extract(model, x), graph)

    class Half(nn.Module):
        def forward(self, weight):
            return weight / 2

    model = nn.Linear(3, 2)
    parametrize.register_parametrization(model, "weight", Half())
    graph = extract(model, x)
    assert set(graph.column("scale").tolist()) == {0.5}
    drop(graph, np.arange(6) == 0)
    graph[1][3]["weight"] = 4.0
    apply_edits(model, graph)
    assert (model.weight[0, 0], model.weight[0, 1]) == (0, 4)
    assert model.parametrizations.weight.original[0, 1] == 8

    model = nn.RNN(2, 2, batch_first=True)
    graph = extract(Output(model), torch.randn(1, 1, 2))
    drop(graph, np.flatnonzero(graph.column("parameter") >= 0)[:1])
    apply_edits(Output(model), graph)
    sequence = torch.randn(4, 3, 2)
    train(Output(model), sequence)
    model(sequence)
    assert model.weight_ih_l0[0, 0] == 0


class Output(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x)[0]


@pytest.mark.parametrize("storage", ["csr", "masked"])
def test_our_own_modules_lose_edges(storage):
    model = MaskedDeepFFN(5, 3, [4], density=0.5, storage=storage, seed=0)
    graph = extract(model, torch.randn(1, 5))
    drop(graph, np.arange(graph.number_of_edges()) % 3 == 0)
    graph.set_column("weight", graph.column("weight") * np.float32(2))
    apply_edits(model, graph)
    assert same_edges(model.graph, graph)
    assert np.allclose(model.graph.column("weight"), graph.column("weight"))
    dan = MaskedDeepDAN.from_graph(graph, storage=storage)
    edited = extract(dan, torch.randn(1, 5))
    drop(edited, np.arange(edited.number_of_edges()) == 1)
    apply_edits(dan, edited)
    assert same_edges(dan.graph, edited)
    layer = SparseLinear(4, 3, density=0.5, seed=0)
    pending = layer(torch.randn(2, 4))
    graph = extract(layer, torch.randn(1, 4))
    drop(graph, np.arange(graph.number_of_edges()) == 0)
    with pytest.raises(EditRefusedError, match="no forward that waits for its backward"):
        apply_edits(layer, graph)
    pending.sum().backward()
    apply_edits(layer, graph)
    assert same_edges(extract(layer, torch.randn(1, 4)), graph)


def test_a_parametrization_that_mixes_entries_is_refused():
    class Transposed(nn.Module):
        def forward(self, weight):
            return weight.t().contiguous()

    class Flat(nn.Module):
        def forward(self, weight):
            return weight.view(3, 3)

    x = torch.randn(2, 3)
    for make in (Transposed, Flat):
        model = nn.Linear(3, 3)
        if make is Flat:
            model.weight = nn.Parameter(torch.randn(9))
        parametrize.register_parametrization(model, "weight", make(), unsafe=True)
        graph = extract(model, x)
        assert set(graph.column("parameter").tolist()) == {1}
        graph.remove_edge(0, 4)
        unchanged(model, graph, rf"acts entry by entry, got 'weight' of ParametrizedLinear with {make.__name__}")
    model = parametrizations.weight_norm(nn.Linear(3, 3))
    graph = extract(model, x)
    graph.remove_edge(0, 3)
    unchanged(model, graph, "edges without a parameter entry")


def test_attention_weights_are_masked():
    torch.manual_seed(0)
    model = nn.TransformerEncoderLayer(4, 2, 6, batch_first=True, dropout=0.0)
    x = torch.randn(1, 1, 4)
    graph = extract(model, x)
    names = graph.graph["parameters"]
    mine = graph.column("parameter") == names.index("self_attn.in_proj_weight")
    drop(graph, mine & (graph.column("entry") % 3 == 0))
    apply_edits(model, graph)
    train(model, torch.randn(2, 3, 4))
    zero = (model.self_attn.in_proj_weight.reshape(-1) == 0).nonzero().squeeze(1)
    assert zero.tolist() == list(range(0, 48, 3))
    assert torch.isfinite(model.eval()(torch.randn(2, 3, 4))).all()


def test_a_graph_of_another_model_is_refused():
    graph = extract(nn.Linear(2, 1), torch.randn(1, 2))
    with pytest.raises(ArgumentError, match="got one without the parameter 'weight'"):
        apply_edits(nn.Sequential(nn.Linear(2, 1)), graph)
    with pytest.raises(ArgumentError, match="with 3 parameter entries, got one with 4"):
        apply_edits(nn.Linear(3, 1), graph)
    with pytest.raises(ArgumentError, match="order 0 from extract, got one without parameter entries"):
        apply_edits(nn.Linear(2, 1), extract(nn.Linear(2, 1), torch.randn(1, 2), order=1))


def test_a_sum_that_shares_a_changed_entry_is_refused():
    class Mixed(Sum):
        def forward(self, x):
            return torch.cat([super().forward(x), self.a(x)], 1)

    model = Mixed()
    graph = extract(model, torch.randn(1, 2))
    graph[0][3]["weight"] = 5.0
    unchanged(model, graph, r"expected a.weight\[0, 0\] to keep its value")


def test_a_weight_whose_factor_is_not_known_cannot_be_changed():
    model = nn.Sequential(nn.Linear(1, 2, bias=False), nn.BatchNorm1d(2)).eval()
    prune.custom_from_mask(model[0], "weight", torch.ones(2, 1))
    prune.custom_from_mask(model[0], "weight", torch.tensor([[1.0], [1.0]]))
    model[0].weight_orig.data[0] = 0
    model[1].weight.data.fill_(3.0)
    model[0].weight_mask = model[0].weight_mask.bool()
    graph = extract(model, torch.randn(1, 1))
    apply_edits(model, graph)
    graph[0][1]["weight"] = 2.0
    unchanged(
        model, graph, r"expected weight 0 at edge \(0, 1\), whose factor on its parameter entry is not known, got 2"
    )
