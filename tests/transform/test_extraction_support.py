"""Which weights are edges: declared masks with their zeros, foreign weights by value, threshold and density."""

import networkx as nx
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812
from torch.nn.utils import parametrize, prune

from deepgraph.errors import ArgumentError
from deepgraph.transform import extract


class Masked(nn.Module):
    def __init__(self, form, mask):
        super().__init__()
        self.form = form
        self.weight = nn.Parameter(torch.zeros(mask.shape))
        if form == "constant":
            self.plain = mask.float()
        else:
            self.register_buffer("weight_mask", mask.bool() if "bool" in form else mask.float())

    def effective(self):
        forms = {
            "product": lambda: self.weight * self.weight_mask,
            "constant": lambda: self.weight * self.plain,
            "bool": lambda: self.weight_mask * self.weight,
            "bool_cast": lambda: self.weight * self.weight_mask.float(),
            "bool_fill": lambda: self.weight.masked_fill(~self.weight_mask, 0),
            "bool_where": lambda: torch.where(self.weight_mask, self.weight, 0.0),
            "scaled": lambda: (2 * self.weight / 3) * self.weight_mask,
            "scaled_after": lambda: -(self.weight * self.weight_mask) * 0.5,
            "copied": lambda: (self.weight.t().contiguous() * self.weight_mask.t()).t().clone(),
            "parts": lambda: torch.cat([self.weight[:1] * self.weight_mask[:1], (self.weight * self.weight_mask)[1:]]),
        }
        return forms[self.form]()

    def forward(self, x):
        return F.linear(x, self.effective())


FORMS = [
    "product",
    "constant",
    "bool",
    "bool_cast",
    "bool_fill",
    "bool_where",
    "scaled",
    "scaled_after",
    "copied",
    "parts",
]


@pytest.mark.parametrize("form", FORMS)
def test_a_declared_mask_is_the_support_although_all_weights_are_zero(form):
    mask = torch.tensor([[1, 0, 1], [0, 0, 1]])
    graph = extract(Masked(form, mask), torch.randn(1, 3))
    assert sorted(graph.edges) == [(0, 3), (2, 3), (2, 4)]
    assert graph.graph["support"] == "declared"
    assert graph.column("entry").tolist() == [0, 2, 5]
    assert not graph.column("weight").any()


@pytest.mark.parametrize("form", FORMS)
def test_entries_lead_back_to_the_parameter(form):
    mask = torch.tensor([[1, 0, 1], [0, 0, 1]])
    model = Masked(form, mask)
    nn.init.normal_(model.weight)
    graph = extract(model, torch.randn(1, 3))
    factor = {"scaled": 2 / 3, "scaled_after": -0.5}.get(form, 1.0)
    assert np.allclose(
        graph.column("weight"), factor * model.weight.detach().numpy().reshape(-1)[graph.column("entry")]
    )


def test_pruned_modules_keep_the_zeros_of_their_mask():
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2))
    for layer in (model[0], model[2]):
        prune.random_unstructured(layer, "weight", 0.5)
    expected = int(model[0].weight_mask.sum() + model[2].weight_mask.sum())
    for layer in (model[0], model[2]):
        layer.weight_orig.data.zero_()
    kept = model[0].weight
    graph = extract(model, torch.randn(1, 6))
    assert graph.number_of_edges() == expected
    assert model[0].weight is kept
    assert graph.graph["parameters"] == ["0.bias", "0.weight_orig", "2.bias", "2.weight_orig"]


def test_pruned_convolutions_keep_the_zeros_of_their_mask():
    model = nn.Conv2d(2, 3, 2)
    prune.random_unstructured(model, "weight", 0.5)
    model.weight_orig.data.zero_()
    graph = extract(model, torch.randn(1, 2, 3, 3))
    assert graph.number_of_edges() == 4 * int(model.weight_mask.sum())


def test_a_parametrization_with_a_mask_declares_the_support():
    class Mask(nn.Module):
        def __init__(self, mask):
            super().__init__()
            self.register_buffer("mask", mask)

        def forward(self, weight):
            return weight * self.mask

    model = nn.Linear(3, 3)
    parametrize.register_parametrization(model, "weight", Mask(torch.tril(torch.ones(3, 3))))
    model.parametrizations.weight.original.data.zero_()
    assert extract(model, torch.randn(1, 3)).number_of_edges() == 6


def test_a_sparse_weight_is_its_pattern():
    pattern = torch.tensor([[1.0, 0, 2.0], [0, 3.0, 0]])

    class Sparse(nn.Module):
        def __init__(self, weight):
            super().__init__()
            self.weight = weight

        def forward(self, x):
            return torch.sparse.mm(self.weight, x.t()).t()

    coo = pattern.to_sparse_coo()
    values = coo.values() * torch.tensor([1.0, 0.0, 1.0])
    stored_zero = torch.sparse_coo_tensor(coo.indices(), values, pattern.shape, check_invariants=True)
    graph = extract(Sparse(stored_zero.coalesce()), torch.randn(1, 3))
    assert sorted(graph.edges(data="weight")) == [(0, 3, 1.0), (1, 4, 3.0), (2, 3, 0.0)]


def test_foreign_weights_are_edges_where_they_are_not_zero():
    model = nn.Linear(3, 1, bias=False)
    model.weight.data = torch.tensor([[0.0, 0.001, -2.0]])
    x = torch.randn(1, 3)
    graph = extract(model, x)
    assert graph.graph["support"] == "value != 0"
    assert sorted(graph.edges) == [(1, 3), (2, 3)]
    cut = extract(model, x, threshold=0.001)
    assert sorted(cut.edges) == [(2, 3)]
    assert cut.graph["support"] == "|w| > 0.001"


def test_density_keeps_the_largest_of_each_weight():
    model = nn.Sequential(nn.Linear(10, 8), nn.Linear(8, 5))
    model[1].weight.data *= 100
    graph = extract(model, torch.randn(1, 10), density=0.25)
    first = np.sort(np.abs(model[0].weight.detach().numpy()).reshape(-1))[-20:]
    source, _ = graph.edge_arrays()
    assert np.array_equal(np.sort(np.abs(graph.column("weight")[source < 10])), first)
    assert graph.number_of_edges() == 20 + 10
    assert graph.graph["support"] == "the largest |w| of each weight, density 0.25"


def test_threshold_and_density_do_not_cut_a_declared_support():
    mask = torch.tensor([[1, 0, 1], [0, 0, 1]])
    for cut in ({"threshold": 10.0}, {"density": 0.1}):
        assert extract(Masked("product", mask), torch.randn(1, 3), **cut).number_of_edges() == 3


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"threshold": -1.0}, "expected threshold from 0, a magnitude of weights, got -1.0"),
        ({"threshold": float("nan")}, "expected threshold from 0, a magnitude of weights, got nan"),
        ({"density": 0.0}, r"expected density in \(0, 1\], the fraction of each weight to keep, got 0.0"),
        ({"density": 1.5}, r"expected density in \(0, 1\], the fraction of each weight to keep, got 1.5"),
        ({"density": 0.5, "threshold": 0.1}, "expected threshold or density, got both"),
        ({"unknown": "ignore"}, 'expected unknown="error" or "dense", got \'ignore\''),
        ({"max_edges": 0}, "expected max_edges from 1, got 0"),
        ({"order": 3}, "expected order 0 .* or 2 .*, got 3"),
    ],
)
def test_arguments_out_of_range(wrong, message):
    with pytest.raises(ArgumentError, match=message):
        extract(nn.Linear(2, 2), torch.randn(1, 2), **wrong)


class Products(nn.Module):
    """A DAG in stages, computed by one dense product per pair of stages and sums: the same products, nothing else."""

    def __init__(self, stage, src, dst, weight, bias, masked):
        super().__init__()
        self.starts = np.searchsorted(stage, np.arange(stage.max() + 2)).tolist()
        n = len(stage)
        dense = torch.zeros(n, n)
        dense[dst, src] = torch.from_numpy(weight)
        self.register_buffer("dense", dense)
        mask = torch.zeros(n, n)
        mask[dst, src] = 1
        self.register_buffer("mask", mask)
        self.bias = nn.Parameter(torch.from_numpy(bias))
        self.masked = masked

    def forward(self, x):
        weight = self.dense * self.mask if self.masked else self.dense
        parts = [x]
        for stage in range(1, len(self.starts) - 1):
            mine = slice(self.starts[stage], self.starts[stage + 1])
            total = self.bias[mine]
            for earlier, a in enumerate(parts):
                theirs = slice(self.starts[earlier], self.starts[earlier + 1])
                total = total + a @ weight[mine, theirs].t()
            parts.append(torch.relu(total) if stage < len(self.starts) - 2 else total)
        return parts[-1]


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("zero", [False, True])
def test_the_structure_survives_a_plain_module_that_does_the_same_products(seed, zero):
    generator = np.random.default_rng(seed)
    stage = np.repeat(np.arange(4), generator.integers(1, 5, 4))
    n = len(stage)
    src, dst = (stage[:, None] < stage[None]).nonzero()
    keep = generator.random(len(src)) < 0.6
    src, dst = src[keep], dst[keep]
    weight = np.zeros(len(src), np.float32) if zero else generator.normal(size=len(src)).astype(np.float32)
    bias = generator.normal(size=n).astype(np.float32)
    model = Products(stage, src, dst, weight, bias, masked=zero)
    graph = extract(model, torch.randn(1, int((stage == 0).sum())))
    assert np.array_equal(np.stack(graph.edge_arrays()), np.stack([src, dst]))
    assert len(graph) == n
    assert np.array_equal(graph.column("weight"), weight)
    assert np.array_equal(graph.node_column("bias")[stage > 0], bias[stage > 0])
    wanted = np.where(stage == 0, "input", np.where(stage == 3, "output", "hidden"))
    assert graph.node_column("role").tolist() == wanted.tolist()
    relu = (stage > 0) & (stage < 3)
    assert graph.node_column("activation").tolist() == np.where(relu, "relu", "identity").tolist()
    assert nx.is_directed_acyclic_graph(graph)
