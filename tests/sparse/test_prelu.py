"""Learnable slopes (prelu): modules against torch.nn.PReLU, state, edits, optimizers, growing, and the live graph."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from torch import nn

import deepgraph as dg
from deepgraph.errors import ArgumentError, StructureError, UnsupportedOperationError
from deepgraph.kernels.activations import activation

STORAGES = ["csr", "coo", "masked"]


def ffn(storage="csr", norm=False, dtype=torch.float64, seed=0):
    model = dg.MaskedDeepFFN(
        6, 3, [8, 7], norm, density=0.6, activation="prelu", storage=storage, seed=seed, dtype=dtype
    )
    generator = torch.Generator().manual_seed(seed + 1)
    for layer in model.layers[:-1]:
        layer.slope.data.copy_(torch.randn(len(layer.slope), generator=generator, dtype=torch.float64))
    return model


def dense(model):
    """Return the same network of torch's modules."""
    parts = []
    for k, layer in enumerate(model.layers):
        edges = layer.edge_set
        linear = nn.Linear(edges.num_sources, edges.num_targets).to(layer.weight.dtype)
        linear.weight.data.zero_()
        src, dst = (torch.from_numpy(np.array(end)).long() for end in edges.pairs())
        linear.weight.data[dst, src] = layer.edges.values()
        linear.bias.data.copy_(layer.bias)
        parts.append(linear)
        if layer.slope is not None:
            parts += [copy.deepcopy(model.norms[k])] if len(model.norms) else []
            bent = nn.PReLU(edges.num_targets).to(layer.weight.dtype)
            bent.weight.data.copy_(layer.slope)
            parts.append(bent)
    return nn.Sequential(*parts)


def graph(**columns):
    """Return a graph of two inputs, three hidden nodes (two of them bent) and one output that is bent too."""
    g = dg.CachedLayeredGraph.from_arrays(
        [0, 0, 1, 1, 2, 3, 4], [2, 3, 3, 4, 5, 5, 5], weight=np.arange(1.0, 8.0) - 3.6
    )
    g.set_node_column("activation", np.array(["", "", "prelu", "tanh", "prelu", "prelu"]))
    for name, column in columns.items():
        g.set_node_column(name, column)
    return g


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("storage", STORAGES)
def test_a_network_equals_that_of_torchs_modules(storage, norm):
    model = ffn(storage, norm)
    other = dense(model)
    x = torch.randn(5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for batch in (x, x[:1]):
        torch.testing.assert_close(model(batch), other(batch))
        with torch.no_grad():
            torch.testing.assert_close(model(batch), other(batch))
    model(x).square().sum().backward()
    other(x).square().sum().backward()
    slopes = [module.weight.grad for module in other if isinstance(module, nn.PReLU)]
    for layer, wanted in zip(model.layers, slopes, strict=False):
        torch.testing.assert_close(layer.slope.grad, wanted)
    assert model.layers[-1].slope is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("storage", ["csr", "masked"])
def test_short_dtypes_give_the_same_up_to_rounding(storage, dtype):
    model = ffn(storage, dtype=dtype)
    exact = dense(copy.deepcopy(model).double())
    x = torch.randn(40, 6, generator=torch.Generator().manual_seed(0)).to(dtype)
    y = model(x)
    y.sum().backward()
    exact(x.double()).sum().backward()
    tolerance = 1e-5 if dtype == torch.float32 else 0.1
    assert (y.double() - exact(x.double())).norm() <= tolerance * y.double().norm()
    wanted = [module.weight.grad for module in exact if isinstance(module, nn.PReLU)]
    for layer, grad in zip(model.layers, wanted, strict=False):
        assert layer.slope.grad.dtype == dtype
        assert (layer.slope.grad.double() - grad).norm() <= tolerance * grad.norm()


@pytest.mark.parametrize("kind", ["graph", "normed", "stem and head", "cells"])
@pytest.mark.filterwarnings("ignore:the structure has")
def test_gradients_are_those_of_differences(kind):
    g = graph(slope=np.array([0.25, 0.25, -0.5, 0.25, 2.0, 0.1]))
    options = {"dtype": torch.float64, "seed": 0, "storage": "csr"}
    if kind == "graph":
        model = dg.MaskedDeepDAN.from_graph(g, **options)
    elif kind == "cells":
        model = dg.MaskedDeepDAN.from_graph(g, cell=dg.cells.Linear(2), **options)
    else:
        model = dg.MaskedDeepDAN(2, 2, g, kind == "normed", activation="prelu", **options)
    names, parameters = zip(*model.named_parameters(), strict=True)
    assert any(name.endswith("slope") for name in names)
    x = torch.randn(3, 4 if kind == "cells" else 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    leaves = [p.detach().clone() for p in parameters]

    def held(*values):
        for parameter, value in zip(parameters, values, strict=True):
            parameter.data.copy_(value.data)
        return model(x)

    model(x).square().sum().backward()
    for parameter, leaf in zip(parameters, leaves, strict=True):
        step = torch.randn(leaf.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 1e-6
        up = held(*[p + step if p is leaf else p for p in leaves]).detach().square().sum()
        down = held(*[p - step if p is leaf else p for p in leaves]).detach().square().sum()
        assert float(up - down) / 2 == pytest.approx(float((parameter.grad * step).sum()), rel=1e-4, abs=1e-12)


@pytest.mark.parametrize("storage", STORAGES)
def test_slopes_are_in_the_state_and_in_copies(storage):
    model, x = ffn(storage), torch.randn(4, 6, dtype=torch.float64)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(other(x), model(x))
    other = ffn("csr", seed=5)
    other.load_state_dict(model.state_dict())
    torch.testing.assert_close(other(x), model(x))
    state = model.state_dict()
    assert state["layers.0.slope"].shape == (8,)
    assert "layers.2.slope" not in state
    with pytest.raises(RuntimeError, match="expected 8 slopes, got shape"):
        other.load_state_dict({**state, "layers.0.slope": torch.zeros(3)})
    with pytest.raises(RuntimeError, match=r"Missing key.*layers.0.slope"):
        other.load_state_dict({name: value for name, value in state.items() if name != "layers.0.slope"})


@pytest.mark.parametrize(
    ("mine", "theirs", "options"),
    [
        (dg.SGD, torch.optim.SGD, {"lr": 0.05, "momentum": 0.9, "weight_decay": 1e-3}),
        (dg.Adam, torch.optim.Adam, {"lr": 0.01}),
        (dg.AdamW, torch.optim.AdamW, {"lr": 0.01}),
        (torch.optim.RMSprop, torch.optim.RMSprop, {"lr": 0.01}),
    ],
)
def test_every_optimizer_and_the_compiled_step_train_slopes(mine, theirs, options):
    models = [ffn() for _ in range(3)]
    optimizers = [theirs(models[0].parameters(), **options)] + [mine(m.parameters(), **options) for m in models[1:]]
    step = dg.train_step(models[2], "cross_entropy", optimizers[2])
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        x = torch.randn(16, 6, dtype=torch.float64, generator=generator)
        y = torch.randint(3, (16,), generator=generator)
        for model, optimizer in zip(models[:2], optimizers, strict=False):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
        step(x, y)
    start = ffn().layers[0].slope
    for model in models[1:]:
        for name, value in model.state_dict().items():
            torch.testing.assert_close(value, models[0].state_dict()[name])
        assert not torch.equal(model.layers[0].slope, start)


def test_edits_leave_slopes_alone_and_growing_starts_new_ones_at_a_quarter():
    model = ffn()
    optimizer = dg.RigL(model, torch.optim.Adam(model.parameters(), lr=0.01), every=2, until=20, seed=0)
    for _ in range(6):
        optimizer.zero_grad()
        model(torch.randn(8, 6, dtype=torch.float64)).square().sum().backward()
        optimizer.step()
    assert model.layers[0].edge_set.history
    x, slope = torch.randn(4, 6, dtype=torch.float64), model.layers[0].slope
    y, kept = model(x).detach(), slope.detach().clone()
    dg.grow(model, [2, 1], optimizer, seed=0)
    torch.testing.assert_close(model(x), y)
    assert model.layers[0].slope is slope
    assert torch.equal(slope, torch.cat([kept, torch.full((2,), 0.25, dtype=torch.float64)]))
    assert optimizer.optimizer.state[slope]["exp_avg"].shape == (10,)
    assert model.layers[1].slope.shape == (8,)


def test_growing_a_graph():
    model = dg.MaskedDeepDAN.from_graph(graph(stage=np.array([0, 0, 1, 1, 1, 2])), activation="prelu", seed=0)
    x = torch.randn(4, 2)
    y = model(x).detach()
    dg.grow(model, 2, seed=0)
    torch.testing.assert_close(model(x), y)
    assert model.core.slope.shape == (5,)
    model = dg.MaskedDeepDAN.from_graph(
        dg.CachedLayeredGraph.from_arrays([0, 1], [1, 2], activation_free=np.zeros(2)), activation="relu", seed=0
    )
    model._config["activation"] = "prelu"
    before = model.graph.number_of_nodes()
    with pytest.raises(UnsupportedOperationError, match=r"new neurons of an activation without a slope .* got 'prelu'"):
        dg.grow(model, 1, seed=0)
    assert model.graph.number_of_nodes() == before


def test_the_graph_shows_and_takes_slopes():
    slope = np.array([0.25, 0.25, -0.5, 0.25, 2.0, 0.125])
    model = dg.MaskedDeepDAN.from_graph(graph(slope=slope), dtype=torch.float64)
    assert model.core.slope.tolist() == [-0.5, 2.0, 0.125]
    assert model.graph.node_column("slope").tolist() == slope.tolist()
    model.graph.nodes[4]["slope"] = 3.0
    assert model.core.slope.tolist() == [-0.5, 3.0, 0.125]
    with pytest.raises(ArgumentError, match="slope: expected slopes of neurons whose activation is 'prelu'"):
        model.graph.nodes[3]["slope"] = 3.0
    with pytest.raises(ArgumentError, match="'slope' of a compiled graph: expected finite numbers"):
        model.graph.nodes[4]["slope"] = float("nan")
    with pytest.raises(StructureError, match="expected finite slopes, got NaN"):
        dg.MaskedDeepDAN.from_graph(graph(slope=np.full(6, np.nan)))
    assert dg.MaskedDeepDAN.from_graph(graph()).core.slope.tolist() == [0.25] * 3
    whole = dg.MaskedDeepDAN(3, 1, graph(slope=slope), seed=0).generate_structure(True, True)
    assert whole.node_column("slope").tolist() == [0.25] * 3 + slope.tolist() + [0.25]


@pytest.mark.parametrize("suffix", ["dgz", "json"])
def test_a_saved_graph_and_model_keep_slopes(tmp_path, suffix):
    slope = np.array([0.25, 0.25, -0.5, 0.25, 2.0, 0.125])
    model = dg.MaskedDeepDAN.from_graph(graph(slope=slope))
    x = torch.randn(4, 2)
    dg.save(model.graph.copy(), tmp_path / f"graph.{suffix}")
    loaded = dg.load(tmp_path / f"graph.{suffix}")
    assert torch.equal(dg.MaskedDeepDAN.from_graph(loaded)(x), model(x))
    dg.save(model, tmp_path / "model.dgz")
    assert torch.equal(dg.load(tmp_path / "model.dgz")(x), model(x))


def test_weights_start_by_the_gain_at_the_first_slope():
    assert activation("prelu").gain == pytest.approx((2 / (1 + 0.25**2)) ** 0.5)
