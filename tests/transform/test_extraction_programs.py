"""Laws 2 and 3 through our own modules: structure and function go round, edits and zero weights included."""

import copy

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from deepgraph.graph import CachedLayeredGraph
from deepgraph.rewire import RigL
from deepgraph.sparse import MaskedDeepDAN, MaskedDeepFFN
from deepgraph.transform import extract

COLUMNS = ("role", "stage", "bias", "activation")
NAMES = ["identity", "relu", "tanh", "sigmoid", "gelu", "silu", "elu", "leaky_relu", "softplus"]


def random_graph(seed, labelled):
    """A DAG whose positions are no topological order, with roles, repeated outputs and an activation per node."""
    generator = np.random.default_rng(seed)
    n = int(generator.integers(1, 10))
    rank = generator.permutation(n)
    src, dst = (rank[:, None] < rank[None]).nonzero()
    keep = generator.random(len(src)) < generator.random()
    src, dst = src[keep], dst[keep]
    weight = np.where(generator.random(len(src)) < 0.2, 0, generator.normal(size=len(src)))
    graph = CachedLayeredGraph.from_arrays(src, dst, n, weight=weight.astype(np.float32))
    bias = generator.normal(size=n).astype(np.float32)
    sources = graph.layer_array() == 0
    bias[sources] = 0
    graph.set_node_column("bias", bias)
    graph.set_node_column("activation", np.where(sources, "identity", generator.choice(NAMES, n)))
    graph.graph["outputs"] = generator.integers(0, n, 3)
    if labelled:
        names = {position: f"n{position}" for position in range(n)}
        plain = nx.relabel_nodes(nx.DiGraph(graph), names)
        graph = CachedLayeredGraph(plain)
    return graph


def same(extracted, original):
    assert list(extracted) == list(original)
    assert list(extracted.edges) == list(original.edges)
    assert np.array_equal(extracted.column("weight"), original.column("weight"))
    assert np.array_equal(extracted.stage_array(), original.stage_array())
    assert np.array_equal(extracted.role_array(), original.role_array())
    for name in ("bias", "activation"):
        assert np.array_equal(extracted.node_column(name), original.node_column(name))
    assert np.array_equal(extracted.input_positions(), original.input_positions())
    assert np.array_equal(extracted.output_positions(), original.output_positions())


@given(seed=st.integers(0, 10_000), labelled=st.booleans(), storage=st.sampled_from(["csr", "masked"]))
@settings(max_examples=60, deadline=None)
def test_a_compiled_graph_comes_back_as_it_was(seed, labelled, storage):
    graph = random_graph(seed, labelled)
    model = MaskedDeepDAN.from_graph(graph, storage=storage, seed=0)
    extracted = extract(model, torch.randn(3, len(graph.input_positions())))
    same(extracted, model.graph)
    assert list(extracted) == list(graph)
    assert list(extracted.edges) == list(graph.edges)
    if graph.number_of_edges():
        assert np.array_equal(extracted.column("weight"), graph.column("weight"))
    assert extracted.graph["support"] == "declared"
    assert extracted.graph["exact"]


@given(seed=st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_it_also_comes_back_after_an_edit_and_with_all_weights_zero(seed):
    graph = random_graph(seed, labelled=False)
    model = MaskedDeepDAN.from_graph(graph, storage="csr", seed=0)
    x = torch.randn(1, len(graph.input_positions()))
    extract(model, x)
    if model.graph.number_of_edges():
        src, dst = (array[:1].copy() for array in model.graph.edge_arrays())
        model.graph.edit(drop=(src, dst))
        same(extract(model, x), model.graph)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    same(extract(model, x), model.graph)


@pytest.mark.parametrize("storage", ["csr", "masked"])
def test_it_comes_back_right_after_a_step_of_rigl(storage):
    model = MaskedDeepFFN(6, 3, [8, 7], density=0.4, storage=storage, seed=0)
    optimizer = RigL(model, torch.optim.Adam(model.parameters()), drop_fraction=0.5, every=2, until=100, seed=0)
    x, edits = torch.randn(16, 6), 0
    for _ in range(8):
        optimizer.zero_grad()
        model(x).square().sum().backward()
        optimizer.step()
        if optimizer.edited:
            edits += 1
            same(extract(model, x), model.graph)
    assert edits > 1


@given(seed=st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_a_graph_with_inputs_that_are_fed_twice_comes_back(seed):
    graph = random_graph(seed, labelled=False)
    sources = np.flatnonzero(graph.layer_array() == 0)
    graph.graph["inputs"] = np.concatenate([sources, sources[:1], sources[::-1]])
    model = MaskedDeepDAN.from_graph(graph, storage="csr", seed=0)
    same(extract(model, torch.randn(1, len(graph.graph["inputs"]))), model.graph)


@pytest.mark.parametrize("storage", ["csr", "masked", "auto"])
@pytest.mark.parametrize("density", [1.0, 0.3, [0.1, 0.9, 0.2]])
def test_a_feed_forward_network_gives_its_graph_in_natural_order(storage, density):
    model = MaskedDeepFFN((3, 3), 4, [8, 6], density=density, storage=storage, seed=0)
    extracted = extract(model, torch.randn(2, 3, 3))
    assert np.array_equal(np.stack(extracted.edge_arrays()), np.stack(model.graph.edge_arrays()))
    assert np.array_equal(extracted.column("weight"), model.graph.column("weight"))
    for name in COLUMNS:
        assert np.array_equal(extracted.node_column(name), model.graph.node_column(name))


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("storage", ["csr", "masked"])
@pytest.mark.filterwarnings("ignore:.*:UserWarning")
def test_a_network_with_stem_and_head_gives_its_whole_structure(seed, storage):
    graph = random_graph(seed, labelled=False)
    del graph.graph["outputs"]
    model = MaskedDeepDAN(6, 4, graph, stem_density=0.7, head_density=0.5, storage=storage, seed=0)
    extracted = extract(model, torch.randn(1, 6))
    whole = model.generate_structure(include_input=True, include_output=True)
    assert np.array_equal(np.stack(extracted.edge_arrays()), np.stack(whole.edge_arrays()))
    assert np.array_equal(extracted.column("weight"), whole.column("weight"))
    for name in ("role", "bias", "activation"):
        assert np.array_equal(extracted.node_column(name), whole.node_column(name))


def test_entries_of_programs_lead_back_to_their_parameters():
    for storage in ("csr", "masked"):
        model = MaskedDeepFFN(5, 3, [4], density=0.5, storage=storage, seed=0)
        extracted = extract(model, torch.randn(1, 5))
        parameters = [dict(model.named_parameters())[name] for name in extracted.graph["parameters"]]
        for weight, parameter, entry in zip(
            *(extracted.column(name).tolist() for name in ("weight", "parameter", "entry")), strict=True
        ):
            assert parameters[parameter].detach().reshape(-1)[entry] == weight


class Around(nn.Module):
    """A compiled graph inside a model of torch modules, run once per token."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(2, 3)
        self.core = MaskedDeepFFN(4, 2, [5], density=0.5, seed=0)
        self.norm = nn.BatchNorm1d(6)
        self.norm.running_mean.uniform_()

    def forward(self, x):
        tokens = torch.tanh(self.embed(x))
        tokens = torch.cat([tokens, torch.ones_like(tokens[..., :1]) * 0.5], dim=-1)
        return torch.relu(self.norm(self.core(tokens.flatten(0, 1)).reshape(len(x), -1)))


def test_a_program_inside_another_model(evaluate, reach):
    model = Around().eval()
    x = torch.randn(4, 3, 2)
    graph = extract(model, x)
    assert np.allclose(evaluate(graph, x), model(x).detach().numpy(), atol=1e-5)
    jacobian = torch.autograd.functional.jacobian(model, x[:1]).reshape(6, 6).numpy()
    assert not ((jacobian != 0) & ~reach(graph)).any()
    assert graph.graph["support"] == "value != 0; declared"


MODELS = {
    "mlp": (lambda: nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.BatchNorm1d(5), nn.Linear(5, 3), nn.Tanh()), (6,)),
    "conv": (
        lambda: nn.Sequential(
            nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3), nn.GELU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(12, 3)
        ),
        (1, 4, 4),
    ),
    "selu": (lambda: nn.Sequential(nn.Linear(4, 4), nn.SELU(), nn.Unflatten(1, (2, 2))), (4,)),
    "own": (lambda: MaskedDeepFFN(6, 3, [5, 5], density=0.5, activation="silu", seed=0), (6,)),
    "around": (Around, (3, 2)),
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("fuse", [True, False])
def test_the_compiled_extraction_computes_the_model_on_new_inputs(name, fuse):
    make, shape = MODELS[name]
    model = make()
    graph = extract(model, torch.randn(1, *shape), fuse=fuse)
    compiled = MaskedDeepDAN.from_graph(graph, seed=0)
    x = torch.randn(20, *shape)
    expected = copy.deepcopy(model).eval()(x).detach()
    found = compiled(x.flatten(1)).detach()
    assert found.shape == expected.shape
    scale = expected.abs().amax(0).clamp(min=1.0)
    assert float(((found - expected).abs() / scale).max()) < 1e-5


def test_a_trace_leaves_nothing_that_holds_up_an_edit():
    model = MaskedDeepFFN(5, 3, [4], density=0.5, seed=0)
    extracted = extract(model, torch.randn(1, 5))
    src, dst = (array[:1].copy() for array in model.graph.edge_arrays())
    model.graph.edit(drop=(src, dst))
    assert extracted.number_of_edges() == model.graph.number_of_edges() + 1
