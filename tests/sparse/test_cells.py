"""Cells: a graph of channel groups, computed edge by edge with plain loops as the reference."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from torch import nn
from torch._dynamo.utils import counters
from torch.nn import functional

import deepgraph as dg
from deepgraph.errors import (
    ArgumentError,
    DtypeError,
    EditRefusedError,
    FileFormatError,
    ShapeError,
    UnsupportedOperationError,
)
from deepgraph.sparse import edge_values
from deepgraph.sparse.cells import cell_from_config


class Scale(dg.cells.Cell):
    """A cell of one's own: an edge scales each channel of a sequence."""

    dimensions = 1

    @property
    def kernel_shape(self):
        return (self.width,)

    def message(self, inputs, kernels):
        return inputs * kernels[..., None]


CELLS = {
    "conv2d": (dg.cells.Conv2d(3), (5, 4)),
    "conv2d wide": (dg.cells.Conv2d((1, 3), width=2), (5, 4)),
    "conv1d": (dg.cells.Conv1d(3, width=3), (6,)),
    "linear": (dg.cells.Linear(4), ()),
    "own": (Scale(2), (6,)),
}


def graph(seed=0):
    return dg.priors.random_layered([3, 5, 4, 2], 0.5, seed=seed, skip=1)


def make(kind="conv2d wide", seed=0, **options):
    options = {"activation": "tanh", "dtype": torch.float64, **options}
    return dg.MaskedDeepDAN.from_graph(graph(), cell=CELLS[kind][0], seed=seed, **options)


def inputs(kind="conv2d wide", batch=4, seed=0):
    cell, size = CELLS[kind]
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, 3 * cell.width, *size, generator=generator, dtype=torch.float64)


def by_loops(model, x):
    """Return what the graph computes, one edge after the other, from its definition."""
    g, cell, layer = model.graph, model.cell, model.layer
    stage, src, dst = g.stage_array(), *g.edge_arrays()
    out, bias = {}, iter(model.bias)
    for v in np.argsort(stage, kind="stable").tolist():
        if v in g.graph.get("inputs", g.input_positions().tolist()):
            at = g.input_positions().tolist().index(v)
            out[v] = x[:, at * cell.width : (at + 1) * cell.width]
            continue
        z = next(bias).view(1, cell.width, *[1] * cell.dimensions).expand(len(x), cell.width, *x.shape[2:])
        for e in np.flatnonzero(dst == v):
            kernel = layer.weight[e] * layer.kernel[e] / layer.kernel[e].norm()
            a = out[int(src[e])]
            if isinstance(cell, dg.cells.Linear):
                z = z + a @ kernel.T
            elif isinstance(cell, Scale):
                z = z + a * kernel[:, None]
            elif cell.dimensions == 1:
                z = z + functional.conv1d(a, kernel, padding="same")
            else:
                z = z + functional.conv2d(a, kernel, padding="same")
        out[v] = z if v in g.output_positions() else torch.tanh(z)
    return torch.cat([out[int(v)] for v in g.output_positions()], 1)


def train(model, optimizer, x, steps=6):
    for _ in range(steps):
        optimizer.zero_grad()
        (model(x).square().mean() - 1).square().backward()
        optimizer.step()


@pytest.mark.parametrize("kind", CELLS)
def test_a_graph_of_cells_computes_what_its_definition_says(kind):
    model, x = make(kind), inputs(kind)
    torch.nn.init.normal_(model.bias)
    for _ in range(2):
        torch.testing.assert_close(model(x), by_loops(model, x))
        grads = [
            torch.autograd.grad(f(x).square().sum(), list(model.parameters()))
            for f in (model, lambda x: by_loops(model, x))
        ]
        for one, other in zip(*grads, strict=True):
            torch.testing.assert_close(one, other)
        src, dst = model.graph.edge_arrays()
        model.graph.edit(drop=(src[::3].copy(), dst[::3].copy()))


@pytest.mark.parametrize("kind", CELLS)
def test_messages_one_by_one_are_the_same_as_a_product(kind):
    cell, size = CELLS[kind]
    generator = torch.Generator().manual_seed(0)
    given = torch.randn(2, 3, cell.width, *size, generator=generator, dtype=torch.float64)
    kernels = torch.randn(4, *cell.kernel_shape, generator=generator, dtype=torch.float64)
    ends = torch.tensor([0, 2, 1, 0]), torch.tensor([0, 0, 1, 1])
    plain = dg.cells.Cell.combine(cell, given, kernels, *ends, 2)
    torch.testing.assert_close(cell.combine(given, kernels, *ends, 2), plain)
    dz = torch.randn(plain.shape, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(cell.pair_norms(given, dz), dg.cells.Cell.pair_norms(cell, given, dz))


@pytest.mark.parametrize("kind", ["conv2d wide", "own"])
def test_pairs_are_ranked_by_the_norm_of_the_gradient_of_their_kernel(kind):
    model, x = make(kind), inputs(kind)
    (values,) = edge_values(model)
    values.arm()
    model(x).square().sum().backward()
    (norms,) = values.captured()
    values.disarm()
    edges = values.edge_set
    free = np.argwhere((edges.stage[:, None] < edges.stage[None, :]) & ~edges.closed[None, :])
    free = [tuple(p) for p in free.tolist() if edges.find(*np.array([p]).T)[0] < 0]
    u, v = free[len(free) // 2]
    # Tried out: the pair becomes an edge, and its kernel is moved along every entry.
    edges.edit(grow=([u], [v]))
    row = int(edges.find(np.array([u]), np.array([v]))[0])
    gradient = torch.zeros(model.layer.kernel_shape, dtype=torch.float64)
    for entry in np.ndindex(*model.layer.kernel_shape):
        with torch.no_grad():
            model.layer.kernel[row] = 0
            model.layer.kernel[row][entry] = 1
            results = []
            for step in (1e-6, -1e-6):
                model.layer.weight[row] = step
                results.append(model(x).square().sum())
        gradient[entry] = (results[0] - results[1]) / 2e-6
    torch.testing.assert_close(norms[u, v], gradient.norm(), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("kind", CELLS)
def test_rewirers_act_on_channel_edges_and_extraction_returns_the_graph(kind):
    model, x = make(kind), inputs(kind)
    for name in ("SET", "RigL", "DEEPR"):
        if name == "DEEPR":
            optimizer = dg.DEEPR(model, lr=0.05, l1=0.01, temperature=1e-4, seed=0)
        else:
            inner = torch.optim.Adam(model.parameters(), lr=0.01)
            optimizer = getattr(dg, name)(model, inner, every=2, until=20, drop_fraction=0.5, seed=0)
        before, count = len(model.graph.history), model.num_edges
        train(model, optimizer, x)
        assert len(model.graph.history) > before
        assert model.num_edges == count
        torch.testing.assert_close(model(x), by_loops(model, x))
        found = dg.extract(model, x, order=1)
        assert list(found) == list(model.graph)
        assert set(found.edges) == set(model.graph.edges)
        np.testing.assert_allclose(found.column("weight"), model.graph.column("weight"))
        assert found.node_column("role").tolist() == model.graph.role_array().tolist()


def test_extraction_returns_the_graph_given_with_its_labels():
    g = dg.CachedLayeredGraph()
    g.add_edges_from([("red", "edge"), ("green", "edge"), ("green", "blob"), ("edge", "class"), ("blob", "class")])
    g.graph["order"] = 1
    model = dg.MaskedDeepDAN.from_graph(g, cell=dg.cells.Conv2d(3, width=2), seed=0)
    found = dg.extract(model, torch.randn(1, 4, 6, 6), order=1)
    assert list(found) == list(g)
    assert set(found.edges) == set(g.edges)
    assert found.graph["order"] == 1
    neurons = dg.extract(model, torch.randn(1, 4, 3, 3), order=0)
    x = torch.randn(2, 4, 3, 3)
    again = dg.MaskedDeepDAN.from_graph(neurons)
    torch.testing.assert_close(again(x.flatten(1)).view(2, 2, 3, 3), model(x), rtol=1e-4, atol=1e-5)


def test_a_graph_of_cells_inside_a_model_is_a_part_of_its_graph():
    inner = dg.MaskedDeepDAN.from_graph(graph(), cell=dg.cells.Conv2d(3, width=2), seed=0)
    model = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), inner, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    found = dg.extract(model, torch.randn(1, 1, 6, 6), order=1, fuse=False)
    operations = found.node_column("module")
    assert (operations == "2").sum() == 11 + 3  # the computed nodes, and one for the two channels of each input
    assert dg.extract(model, torch.randn(1, 1, 6, 6)).number_of_edges() > found.number_of_edges()


def test_optimizer_state_and_kernels_follow_their_edges():
    model, x = make(), inputs()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    dg.follow(model, optimizer)
    train(model, optimizer, x, 3)
    layer = model.layer
    identity = id(layer.kernel)
    moment = optimizer.state[layer.kernel]["exp_avg"]
    pairs = list(zip(*(p.tolist() for p in layer.edge_set.pairs()), strict=True))
    before = {pair: (layer.kernel[i].clone(), moment[i].clone()) for i, pair in enumerate(pairs)}
    free = next((u, v) for u in range(3) for v in range(3, 8) if (u, v) not in before)
    model.graph.edit(drop=([pairs[0][0], pairs[4][0]], [pairs[0][1], pairs[4][1]]), grow=([free[0]], [free[1]]))
    assert id(layer.kernel) == identity
    moment = optimizer.state[layer.kernel]["exp_avg"]
    for i, pair in enumerate(zip(*(p.tolist() for p in layer.edge_set.pairs()), strict=True)):
        if pair == free:
            assert layer.weight[i] == 0
            assert not moment[i].any()
            assert layer.kernel[i].any()
        else:
            assert torch.equal(layer.kernel[i], before[pair][0])
            assert torch.equal(moment[i], before[pair][1])
    model.compact()
    assert len(layer.kernel) == len(layer.weight) == model.num_edges == len(optimizer.state[layer.kernel]["exp_avg"])
    train(model, optimizer, x, 1)
    model.graph.edit(grow=([0, 0], [12, 13])) if not model.graph.has_edge(0, 12) and not model.graph.has_edge(
        0, 13
    ) else None
    train(model, optimizer, x, 1)


def test_the_kernel_of_a_pair_follows_from_the_seed():
    one, other, another = make(seed=3), make(seed=3), make(seed=4)
    for pairs in (one, other):
        src, dst = pairs.graph.edge_arrays()
        pairs.graph.edit(drop=(src[:1], dst[:1]))
        pairs.graph.edit(grow=([1], [12]))
    torch.manual_seed(0)
    assert torch.equal(one.layer.kernel, other.layer.kernel)
    assert not torch.equal(one.layer.kernel[0], another.layer.kernel[0])


@pytest.mark.parametrize("kind", ["conv2d", "linear"])
def test_state_copies_and_files(kind, tmp_path):
    model, x = make(kind), inputs(kind)
    train(model, dg.SET(model, torch.optim.SGD(model.parameters(), lr=0.1), every=2, seed=0), x)
    expected = model(x)
    other = make(kind, seed=9)
    other.load_state_dict(model.state_dict())
    dg.save(model, tmp_path / "model")
    for twin in (other, copy.deepcopy(model), pickle.loads(pickle.dumps(model)), dg.load(tmp_path / "model")):
        assert torch.equal(twin(x), expected)
        src, dst = twin.graph.edge_arrays()
        twin.graph.edit(drop=(src[:2], dst[:2]))
        torch.testing.assert_close(twin(x), by_loops(twin, x))
        assert torch.equal(model(x), expected)
    broken = dict(model.state_dict())
    broken["layer.kernel"] = broken["layer.kernel"][:2]
    with pytest.raises(RuntimeError, match="expected kernels of shape"):
        other.load_state_dict(broken)
    del broken["layer.kernel"]
    with pytest.raises(RuntimeError, match=r'Missing key.*"layer.kernel"'):
        other.load_state_dict(broken)


def test_edits_between_forward_and_backward_are_refused():
    model, x = make(), inputs()
    src, dst = model.graph.edge_arrays()
    y = model(x)
    with pytest.raises(EditRefusedError, match="between a forward and its backward"):
        model.graph.edit(drop=(src[:1], dst[:1]))
    y.sum().backward()
    with torch.no_grad():
        y = model(x)
    model.graph.edit(drop=(src[:1], dst[:1]))
    assert not model.layer.edges.pending()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", CELLS)
def test_a_compiled_network_gives_the_same_and_edits_compile_nothing_again(kind):
    model, x = make(kind, activation="prelu"), inputs(kind)
    torch._dynamo.reset()
    counters.clear()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    for _ in range(3):
        found = []
        for call in (model, compiled):
            model.zero_grad()
            leaf = x.clone().requires_grad_()
            y = call(leaf)
            y.square().sum().backward()
            found.append([y.detach(), leaf.grad, *(p.grad for p in model.parameters())])
        torch.testing.assert_close(*found)
        with torch.no_grad():
            torch.testing.assert_close(compiled(x), model(x))
        src, dst = model.graph.edge_arrays()
        model.graph.edit(drop=(src[:2].copy(), dst[:2].copy()))
    # One for training and one for inference.
    assert counters["stats"]["unique_graphs"] == 2
    torch._dynamo.reset()


@pytest.mark.filterwarnings("ignore")
def test_a_compiled_network_captures_refuses_and_has_no_second_order():
    model, x = make("linear"), inputs("linear")
    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    values = model.layer.edges
    captured = []
    for call in (model, compiled):
        values.arm()
        call(x).square().sum().backward()
        captured.append(values.captured()[0].clone())
        values.disarm()
    torch.testing.assert_close(*captured)
    y = compiled(x)
    src, dst = model.graph.edge_arrays()
    with pytest.raises(EditRefusedError, match="between a forward and its backward"):
        model.graph.edit(drop=(src[:1], dst[:1]))
    y.sum().backward()
    model.graph.edit(drop=(src[:1], dst[:1]))
    handle = model._engines["cells"].handle
    parameters = model._engines["cells"].parameters()
    y = torch.ops.deepgraph.cells(x.reshape(len(x), 3, -1), parameters, handle)[0]
    (grad,) = torch.autograd.grad(y.square().sum(), parameters[0], create_graph=True)
    with pytest.raises(UnsupportedOperationError, match=r"deepgraph::cells are not .* call the module itself"):
        grad.sum().backward()
    torch._dynamo.reset()


def test_weights_and_biases_of_the_graph_are_taken_over():
    g = dg.CachedLayeredGraph.from_arrays([0, 1], [2, 2], weight=[2.0, -1.0])
    g.set_node_column("bias", np.array([0.0, 0.0, 0.5]))
    model = dg.MaskedDeepDAN.from_graph(g, cell=dg.cells.Linear(2), seed=0)
    assert model.layer.kernels().flatten(1).norm(dim=1).tolist() == pytest.approx([2.0, 1.0])
    assert model(torch.zeros(1, 4)).tolist() == [[0.5, 0.5]]
    assert "Linear" in str(model.plan)
    assert "Linear(width=2)" in repr(model)


def test_what_does_not_fit_is_refused():
    g = graph()
    g.graph["order"] = 1
    with pytest.raises(UnsupportedOperationError, match=r"say what a node computes with cell=, for example cell="):
        dg.MaskedDeepDAN.from_graph(g)
    with pytest.raises(DtypeError, match=r"cell: expected a deepgraph.cells.Cell such as cells.Conv2d\(3\), got 3"):
        dg.MaskedDeepDAN.from_graph(g, cell=3)
    with pytest.raises(ArgumentError, match="width: expected a number of channels from 1, got 0"):
        dg.cells.Linear(0)
    with pytest.raises(ArgumentError, match=r"kernel_size: expected 2 odd numbers from 1, .* got 4"):
        dg.cells.Conv2d(4)
    with pytest.raises(FileFormatError, match="cell: expected one of Linear, Conv1d, Conv2d, got 'os'"):
        cell_from_config({"class": "os"})
    with pytest.raises(
        UnsupportedOperationError, match=r"cell: expected one of deepgraph.cells for a file .* got Scale"
    ):
        make("own").config()
    model = make("conv2d")
    with pytest.raises(ShapeError, match=r"x: expected shape \(batch, 3, height, width\), 1 channels for each of 3"):
        model(torch.zeros(2, 4, 5, 5, dtype=torch.float64))
    with pytest.raises(DtypeError, match=r"x: expected torch.float64 on cpu as the model, got torch.float32"):
        model(torch.zeros(2, 3, 5, 5))
    with pytest.raises(EditRefusedError, match="graph: expected captured gradients, got none"):
        edge_values(model)[0].captured()
    with pytest.raises(UnsupportedOperationError, match="for the factors of gradients, got kernels"):
        edge_values(model)[0].factors()
    g.set_node_column("reduce", np.array(["sum"] * 5 + ["max"] + ["sum"] * 8))
    with pytest.raises(UnsupportedOperationError, match="node column 'reduce': expected 'sum' for cells"):
        dg.MaskedDeepDAN.from_graph(g, cell=dg.cells.Conv2d(3))

    class Wrong(Scale):
        def message(self, inputs, kernels):
            return inputs[..., :-1]

    with pytest.raises(ShapeError, match=r"cell: expected messages of the inputs' shape \(2, 6\), got \(2, 5\)"):
        dg.MaskedDeepDAN.from_graph(graph(), cell=Wrong(2), seed=0)(torch.zeros(1, 6, 6))
