"""Write-back of biases and activations: into the entry and the module they came from, or refused by name."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from deepgraph.checkpoint import load, save
from deepgraph.errors import EditRefusedError
from deepgraph.sparse import MaskedDeepDAN, MaskedDeepFFN
from deepgraph.transform import apply_edits, extract


def shift(graph, by):
    """Add to the biases of a graph: by (N,)."""
    graph.set_node_column("bias", (graph.node_column("bias") + by).astype(graph.node_column("bias").dtype))


def normed(layer, norm):
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    return nn.Sequential(layer, norm)


def unchanged(model, graph, message):
    before = copy.deepcopy(model.state_dict())
    shape = repr(model)
    with pytest.raises(EditRefusedError, match=message):
        apply_edits(model, graph)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert repr(model) == shape


MODELS = {
    "linear": (lambda: nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)), (3,)),
    "norm": (lambda: nn.Sequential(*normed(nn.Linear(3, 4), nn.BatchNorm1d(4)), nn.ReLU(), nn.Linear(4, 2)), (3,)),
    "norm alone": (lambda: nn.Sequential(*normed(nn.Linear(3, 4, bias=False), nn.BatchNorm1d(4)), nn.Tanh()), (3,)),
    "conv": (lambda: nn.Sequential(nn.Conv1d(2, 3, 2), nn.GELU(), nn.MaxPool1d(2), nn.Flatten()), (2, 4)),
    "tokens": (lambda: nn.Sequential(nn.Linear(2, 3), nn.SiLU(), nn.Flatten(), nn.Linear(9, 2)), (3, 2)),
    "transposed": (lambda: nn.Sequential(nn.ConvTranspose1d(1, 2, 2), nn.Flatten(), nn.Linear(6, 1)), (1, 2)),
    "ours": (lambda: MaskedDeepFFN(3, 2, [4], density=0.7, seed=0), (3,)),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("fuse", [True, False])
def test_biases_are_written_into_their_entries(evaluate, name, fuse):
    torch.manual_seed(0)
    make, shape = MODELS[name]
    model = make().double().eval() if name != "ours" else make()
    x = torch.randn(5, *shape, dtype=next(model.parameters()).dtype)
    graph = extract(model, x, fuse=fuse)
    recorded = graph.graph["written_nodes"]
    by = np.zeros(len(graph))
    # What a step of each bias entry adds to the nodes that hold it.
    entries = np.unique(recorded["entry"])
    for entry, step in zip(entries, np.random.default_rng(0).normal(size=len(entries)), strict=True):
        mine = recorded["entry"] == entry
        np.add.at(by, recorded["node"][mine], step * recorded["factor"][mine])
    if name == "norm" and fuse:
        # Two entries in one bias: one of them takes it all.
        assert len(entries) == 4 + 4 + 2
    shift(graph, by)
    before = model(x).detach()
    apply_edits(model, graph)
    found = model(x).detach()
    assert not torch.allclose(found, before, atol=1e-3)
    assert np.allclose(evaluate(graph, x), found, atol=1e-9 if name != "ours" else 1e-5)
    again = extract(model, x, fuse=fuse)
    assert np.allclose(again.node_column("bias"), graph.node_column("bias"), atol=1e-9 if name != "ours" else 1e-5)
    apply_edits(model, graph)
    assert torch.allclose(model(x), found)


@given(seed=st.integers(0, 500))
@settings(max_examples=25, deadline=None)
def test_weights_biases_and_removed_edges_together(evaluate, seed):
    torch.manual_seed(seed)
    model = nn.Sequential(*normed(nn.Linear(3, 4), nn.BatchNorm1d(4)), nn.Tanh(), nn.Linear(4, 2)).eval()
    x = torch.randn(6, 3)
    graph = extract(model, x)
    random = np.random.default_rng(seed)
    gone = random.random(graph.number_of_edges()) < 0.3
    src, dst = graph.edge_arrays()
    graph.edit(drop=(src[gone].copy(), dst[gone].copy()))
    graph.set_column("weight", (graph.column("weight") * random.normal(size=graph.number_of_edges())).astype("f4"))
    shift(graph, np.where(np.arange(9) < 3, 0, random.normal(size=9)))
    apply_edits(model, graph)
    assert np.allclose(evaluate(graph, x), model(x).detach(), atol=1e-4)


def test_biases_of_a_channel_change_together():
    model = nn.Conv1d(1, 2, 2)
    graph = extract(model, torch.randn(1, 1, 4))
    shift(graph, np.array([0] * 4 + [1, 0, 0, 0, 0, 0]))
    unchanged(model, graph, r"one change for all biases that hold bias\[0\], got .* at node 5, where the others give")
    graph = extract(model, torch.randn(1, 1, 4))
    shift(graph, np.array([0] * 4 + [1.5, 1.5, 1.5, 0, 0, 0]))
    before = model.bias.detach().clone()
    apply_edits(model, graph)
    assert torch.allclose(model.bias - before, torch.tensor([1.5, 0]))


def test_a_bias_that_no_entry_gives_is_refused():
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU())
    graph = extract(model, torch.randn(1, 2))
    shift(graph, np.array([0, 0, 0.5, 0]))
    unchanged(model, graph, r"bias of node 2 to stay 0, got 0.5 there and changes at 0 more: no parameter entry")


def test_of_a_shared_layer_and_norms_of_their_own_the_norms_take_the_change(evaluate):
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(2, 2)
            self.norms = nn.ModuleList(nn.BatchNorm1d(2) for _ in range(2))

        def forward(self, x):
            return torch.cat([norm(self.layer(x * (k + 1))) for k, norm in enumerate(self.norms)], 1)

    model = Shared().eval()
    x = torch.randn(4, 2)
    graph = extract(model, x)
    shift(graph, np.array([0, 0, 0.25, 0, 0, 0]))
    apply_edits(model, graph)
    assert np.allclose(evaluate(graph, x), model(x).detach(), atol=1e-6)
    assert model.norms[0].bias.tolist() == pytest.approx([0.25, 0])


def test_an_activation_module_is_replaced(evaluate, tmp_path):
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(inplace=True), nn.Linear(4, 3), nn.Softplus(), nn.Linear(3, 1))
    x = torch.randn(5, 3)
    graph = extract(model, x)
    names = graph.node_column("activation").astype("U12").copy()
    names[3:7], names[7:10] = "tanh", "leaky_relu"
    graph.set_node_column("activation", names)
    graph.remove_node(3)
    graph.remove_edge(4, 8)
    save(graph, tmp_path / "graph.dg")
    graph = load(tmp_path / "graph.dg")
    apply_edits(model, graph)
    assert [type(module).__name__ for module in (model[1], model[3])] == ["Tanh", "LeakyReLU"]
    assert np.allclose(evaluate(graph, x), model(x).detach(), atol=1e-6)


def test_an_activation_of_no_module_of_its_own_is_refused():
    class Functional(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.bent, self.steep = nn.Linear(2, 2), nn.LeakyReLU(0.3), nn.CELU(0.5)

        def forward(self, x):
            return self.steep(self.bent(torch.relu(self.layer(x))))

    model = Functional()
    graph = extract(model, torch.randn(1, 2))
    applied = graph.graph["written_nodes"]
    for path, message in (
        ("", r"node 2 to keep its activation 'relu', got 'tanh': the model \(Functional\) applies it"),
        ("bent", r"node \d to keep its activation 'relu', got 'tanh': module 'bent' \(LeakyReLU\) applies it"),
        ("steep", r"activation 'celu', got 'tanh': module 'steep' \(CELU\) applies it, and only plain activation"),
    ):
        mine = np.array(applied["modules"])[applied["applied"]] == path
        names = graph.node_column("activation").astype("U12").copy()
        names[mine & (names != "identity")] = "tanh"
        other = copy.deepcopy(graph)
        other.set_node_column("activation", names)
        unchanged(model, other, message)
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    graph = extract(model, torch.randn(1, 2))
    names = graph.node_column("activation").astype("U12").copy()
    names[2] = "sigmoid"
    graph.set_node_column("activation", names)
    unchanged(
        model, graph, r"one activation for the 2 nodes of module '1', got 'sigmoid' at node 2 and 'relu' at node 3"
    )
    names[2:] = "swish"
    graph.set_node_column("activation", names)
    unchanged(model, graph, r"activation 'relu', got 'swish': module '1' \(ReLU\) applies it")


def test_added_nodes_and_other_reductions_are_refused():
    model = nn.Linear(2, 2)
    graph = extract(model, torch.randn(1, 2))
    graph.add_node("new")
    unchanged(model, graph, r"expected the 4 nodes of the extracted graph or some of them, got node 'new'")
    graph = extract(model, torch.randn(1, 2))
    graph.set_node_column("reduce", np.array(["sum", "sum", "sum", "max"]))
    unchanged(model, graph, r"expected node 3 to join its inputs as before, got another reduce there and at 0 more")


def test_nodes_that_were_removed_are_left_alone():
    model = MaskedDeepDAN.from_graph(
        extract(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)), torch.ones(1, 2))
    )
    graph = extract(model, torch.ones(1, 2))
    graph.remove_node(2)
    shift(graph, np.array([0, 0, 0, 0, 1.0]))
    apply_edits(model, graph)
    assert model.graph.number_of_edges() == 6
    assert extract(model, torch.ones(1, 2)).node_column("bias")[5] == pytest.approx(graph.node_column("bias")[4])


class Elsewhere(nn.Module):
    """Computes with its parameters where no activation is: on a constant state, and as factors."""

    def __init__(self, how):
        super().__init__()
        self.how = how
        self.a, self.b = nn.Linear(2, 2), nn.Linear(2, 2)

    def forward(self, x):
        state = torch.ones_like(x)
        if self.how == "state":
            return self.a(x) * self.a(state) + self.b(x)
        if self.how == "factor":
            return self.a(x) + self.b(x) * self.a.bias
        if self.how == "shift":
            return self.a(x) + self.b(x * 2 + self.a.bias * 3)
        return self.a(x) + self.b(torch.zeros_like(x)) * x + torch.maximum(self.b(x), self.b.bias)


def test_entries_that_act_elsewhere_too_are_kept():
    for how, parameter in (("state", "a.bias"), ("factor", "a.bias"), ("shift", "a.bias"), ("maximum", "b.bias")):
        model = Elsewhere(how)
        graph = extract(model, torch.randn(1, 2), fuse=False)
        names, sizes = graph.graph["parameters"], [p.numel() for p in model.parameters()]
        start = sum(sizes[: names.index(parameter)])
        assert {start, start + 1} <= set(graph.graph["used_entries"].tolist())
        recorded = graph.graph["written_nodes"]
        node = recorded["node"][recorded["entry"] == start][:1]
        shift(graph, np.isin(np.arange(len(graph)), node) * 1.0)
        unchanged(model, graph, "no parameter entry stands behind it that could be changed")
    model = Elsewhere("state")
    graph = extract(model, torch.randn(1, 2), fuse=False)
    graph.set_column("weight", graph.column("weight") * np.where(graph.column("parameter") == 0, 2, 1).astype("f4"))
    unchanged(
        model, graph, r"expected a.weight\[0, 0\] to keep its value, got another there and at 3 more: the model also"
    )
