"""How a model is run: inputs and results of all forms, one sample of many, state put back, sizes said first."""

import copy
import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from deepgraph.errors import ArgumentError, DtypeError, ShapeError, TooLargeError, UnsupportedOperationError
from deepgraph.transform import estimate, extract, rule


class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(3, 2), nn.Linear(2, 2)

    def forward(self, inputs, *, extra, scale=1.0):
        hidden = torch.relu(self.a(inputs["x"]) * scale) + self.b(extra[0])
        return {"hidden": hidden, "twice": [hidden, self.b(hidden)]}


def test_keyword_and_nested_inputs_and_several_results(evaluate):
    model = Pair()
    x, y = torch.randn(4, 3), torch.randn(4, 2)
    graph = extract(model, {"x": x}, kwargs={"extra": (y,), "scale": 2.0})
    assert graph.input_positions().tolist() == [0, 1, 2, 3, 4]
    assert graph.graph["output_shapes"] == [(2,), (2,), (2,)]
    assert graph.graph["output_shape"] == (6,)
    outputs = graph.output_positions().tolist()
    assert outputs[:2] == outputs[2:4]
    with torch.no_grad():
        found = model({"x": x}, extra=(y,), scale=2.0)
    expected = torch.cat([found["hidden"], *found["twice"]], dim=1).numpy()
    assert np.allclose(evaluate(graph, torch.cat([x, y], dim=1)), expected, atol=1e-6)


def test_a_module_that_is_used_twice_shares_its_entries():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(2, 2, bias=False)

        def forward(self, x):
            return self.layer(torch.relu(self.layer(x)))

    graph = extract(Twice(), torch.randn(1, 2))
    assert graph.column("entry").tolist() == [0, 2, 1, 3, 0, 2, 1, 3]
    assert graph.node_column("module").tolist() == ["", "", "layer", "layer", "layer", "layer"]


def test_entries_of_edges_that_were_added_up_are_listed():
    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)

        def forward(self, x):
            return self.a(x) + self.b(x)

    model = Sum()
    graph = extract(model, torch.randn(1, 1))
    assert graph.number_of_edges() == 1
    assert graph.column("weight")[0] == pytest.approx((model.a.weight + model.b.weight).item())
    assert (graph.column("parameter")[0], graph.column("entry")[0]) == (-2, 0)
    listed = graph.graph["merged_entries"]
    assert listed == {"edge": [0, 0], "parameter": [0, 1], "entry": [0, 0]}


def test_x_plus_x_is_one_edge_of_weight_two():
    graph = extract(lambda x: x + x, torch.randn(1, 2), fuse=False)
    assert sorted(graph.edges(data="weight")) == [(0, 2, 2.0), (1, 3, 2.0)]


def test_functions_are_models_too():
    weight = torch.randn(4, 3)
    graph = extract(lambda x: F.relu(F.linear(x, weight)), torch.randn(1, 3))
    assert np.array_equal(graph.column("weight").reshape(3, 4), weight.t().numpy())


def test_control_flow_in_python_is_followed_and_marked():
    def model(x):
        return x * 2 if x.sum(1)[0] > 0 else x[:, :1] * 3

    positive, negative = extract(model, torch.ones(1, 2)), extract(model, -torch.ones(1, 2))
    assert (positive.number_of_edges(), negative.number_of_edges()) == (2, 1)
    assert positive.graph["input_dependent"]
    assert not positive.graph["exact"]


def test_choices_by_value_are_followed_and_marked():
    def model(x):
        return torch.where(x > 0, x, 0.1 * x) + x.sort(1).values

    graph = extract(model, torch.tensor([[3.0, -1.0]]), fuse=False)
    assert graph.graph["input_dependent"]
    assert (0, len(graph) - 1) in graph.edges
    assert not extract(torch.relu, torch.randn(1, 2)).graph["input_dependent"]


def test_only_the_first_sample_is_looked_at():
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    x = torch.randn(6, 3)
    assert extract(model, x).digest() == extract(model, x[:1]).digest()
    assert len(extract(model, x)) == 9
    moved = extract(nn.Linear(3, 2), torch.randn(5, 7, 3), batch_dim=1)
    assert moved.graph["output_shape"] == (5, 2)
    assert len(moved.graph["inputs"]) == 15


def test_a_whole_input_as_one_sample():
    model = nn.Linear(3, 2)
    graph = extract(model, torch.randn(3), batch_dim=None)
    assert (len(graph), graph.graph["output_shape"]) == (5, (2,))
    assert len(extract(model, torch.randn(4, 3), batch_dim=None)) == 4 * 5


@pytest.mark.parametrize(
    "mixing",
    [
        lambda x: x - x.mean(0),
        lambda x: x + x.flip(0),
        lambda x: F.softmax(x, dim=0),
        lambda x: x.t() @ torch.ones(2),
        lambda x: F.batch_norm(x, None, None, training=True),
        lambda x: x.view(1, -1) @ torch.ones(6, 2),
    ],
)
def test_an_operation_that_mixes_samples_is_an_error(mixing):
    with pytest.raises(UnsupportedOperationError, match=r"mix(es)? samples.*aten::"):
        extract(mixing, torch.randn(2, 3))


def test_mixing_says_how_to_take_the_input_whole():
    with pytest.raises(UnsupportedOperationError, match=r"batch_dim=0.*two copies.*pass batch_dim=None: aten::mean"):
        extract(lambda x: x.mean(0), torch.randn(2, 3))
    assert extract(lambda x: x.mean(0), torch.randn(2, 3), batch_dim=None).number_of_edges() == 6


def test_a_model_for_one_sample_only_is_told_of_batch_dim():
    with pytest.raises(RuntimeError) as caught:
        extract(lambda x: x.view(3), torch.randn(1, 3))
    assert "pass batch_dim=None" in caught.value.__notes__[0]


def test_results_that_cannot_be_told_apart_are_an_error():
    with pytest.raises(UnsupportedOperationError, match="cannot be told apart"):
        extract(lambda x: x.reshape(-1), torch.randn(1, 3))


def test_results_without_a_derivative_are_an_error():
    with pytest.raises(UnsupportedOperationError, match="scores that they are taken from"):
        extract(lambda x: x.argmax(1), torch.randn(1, 3))


def test_constant_results_are_nodes_without_inputs(evaluate):
    def model(x):
        return torch.cat([x * 2, torch.full((len(x), 1), 7.0)], dim=1)

    graph = extract(model, torch.randn(1, 2))
    assert graph.node_column("bias").tolist() == [0, 0, 0, 0, 7]
    assert np.allclose(evaluate(graph, np.ones((2, 2))), [[2, 2, 7]] * 2)


def test_inputs_that_are_results_and_unused_inputs():
    graph = extract(lambda x: x[:, [2, 0, 2]], torch.randn(1, 3))
    assert graph.node_column("role").tolist() == ["input/output", "input", "input/output"]
    assert graph.output_positions().tolist() == [2, 0, 2]


def test_no_tensor_in_or_out_is_an_error():
    with pytest.raises(ArgumentError, match="at least one tensor among the inputs"):
        extract(nn.Linear(2, 2))
    with pytest.raises(ArgumentError, match=r"expected the model to return a tensor.*got int"):
        extract(lambda x: 3, torch.randn(1, 2))
    with pytest.raises(ArgumentError, match=r"expected the model to return a tensor, got int"):
        extract(lambda x: 3, torch.randn(1, 2), order=2)
    with pytest.raises(ArgumentError, match=r"expected an nn.Module or a function of tensors, got str"):
        extract("model", torch.randn(1, 2))


def test_inputs_that_do_not_fit_are_an_error():
    with pytest.raises(ArgumentError, match=r"same number of samples.*\[\(2, 3\), \(4, 3\)\]"):
        extract(torch.add, torch.randn(2, 3), torch.randn(4, 3))
    with pytest.raises(ArgumentError, match=r"batch_dim=1, got a tensor of shape \(3,\)"):
        extract(torch.relu, torch.randn(3), batch_dim=1)
    with pytest.raises(DtypeError, match=r"expected dense input tensors, got one with layout torch.sparse_coo"):
        extract(torch.relu, torch.eye(3).to_sparse_coo())


class Stateful(nn.Module):
    def __init__(self, fail=False):
        super().__init__()
        self.linear = nn.Linear(3, 3)
        self.norm = nn.BatchNorm1d(3)
        self.drop = nn.Dropout()
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("other", torch.zeros(2))
        self.fail = fail

    def forward(self, x):
        self.calls.add_(1)
        self.other = torch.ones(2)
        torch.rand(3)
        np.random.rand()
        random.random()
        x = self.drop(torch.relu(self.norm(self.linear(x))))
        x += 1
        if self.fail:
            x = torch.cumprod(x, 1)
        return x


@pytest.mark.parametrize("fail", [False, True])
@pytest.mark.parametrize("call", [extract, estimate])
def test_everything_is_as_before_also_after_a_failure(fail, call):
    model = Stateful(fail)
    model.norm.eval()
    hook = model.linear.register_forward_hook(lambda *_: None)
    state = copy.deepcopy(model.state_dict())
    modes = [module.training for module in model.modules()]
    torch.manual_seed(1), np.random.seed(1), random.seed(1)
    x = torch.randn(2, 3)
    before = x.clone()
    drawn = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    fast, onednn = torch.backends.mha.get_fastpath_enabled(), torch.backends.mkldnn.is_available()
    if fail:
        with pytest.raises(UnsupportedOperationError, match="aten::cumprod"):
            call(model, x)
    else:
        call(model, x)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert torch.equal(x, before)
    assert torch.equal(torch.get_rng_state(), drawn[0])
    assert (np.random.get_state()[1].tolist(), random.getstate()) == drawn[1:]
    assert torch.is_grad_enabled()
    assert (torch.backends.mha.get_fastpath_enabled(), torch.backends.mkldnn.is_available()) == (fast, onednn)
    assert torch._C._get_mkldnn_enabled()
    assert not nn.modules.module._global_forward_pre_hooks
    assert not nn.modules.module._global_forward_hooks
    assert list(model.linear._forward_hooks) == [hook.id]
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_model_in_training_mode_is_traced_in_eval_mode(evaluate):
    model = Stateful().train()
    model.norm.running_mean.uniform_()
    graph = extract(model, torch.randn(1, 3))
    assert model.training
    x = torch.randn(4, 3)
    assert np.allclose(evaluate(graph, x), copy.deepcopy(model).eval()(x).detach().numpy(), atol=1e-6)
    assert not graph.graph["exact"], "it draws random numbers"


def test_an_operation_without_a_rule_names_itself_its_place_and_the_rule_to_write():
    model = nn.Sequential()
    model.add_module("head", Stateful(fail=True))
    with pytest.raises(UnsupportedOperationError) as caught:
        extract(model, torch.randn(2, 3))
    message = str(caught.value)
    assert "extract has no rule for aten::cumprod (overload default) in module 'head' (Stateful)" in message
    assert "self: (2, 3) float32, dim: 1" in message
    assert '@deepgraph.transform.rule("aten::cumprod")' in message
    assert 'unknown="dense"' in message


def test_an_unknown_operation_can_be_connected_all_to_all(reach):
    graph = extract(lambda x: torch.cumprod(x, 1), torch.randn(1, 3), unknown="dense")
    assert reach(graph).all()
    assert graph.node_column("approximate").tolist() == [False] * 3 + [True] * 3
    assert not graph.graph["exact"]
    assert graph.graph["inexact"] == ["aten::cumprod has no rule and was connected all to all"]


def test_a_user_can_add_a_rule():
    from deepgraph.transform import rules

    @rule("aten::logcumsumexp")
    def keep(call):
        return call.ids(call["self"])

    try:
        assert len(extract(lambda x: torch.logcumsumexp(x, 1), torch.randn(1, 3))) == 3
        assert len(extract(lambda x: torch.logcumsumexp(x, 2), torch.randn(1, 5, 3), order=1)) == 3
    finally:
        del rules._rules["aten::logcumsumexp"]
    with pytest.raises(ArgumentError, match='expected the name of an operation with its namespace, "aten::relu", got'):
        rule("relu")


def test_a_rule_that_returns_the_wrong_form_is_told():
    from deepgraph.transform import rules

    rule("aten::logcumsumexp")(lambda call: call.ids(call["self"])[:, :1])
    try:
        with pytest.raises(ShapeError, match=r"return ids of shape \(2, 3\), the shape of the result, got \(2, 1\)"):
            extract(lambda x: torch.logcumsumexp(x, 1), torch.randn(1, 3))
        rule("aten::logcumsumexp")(lambda call: None)
        with pytest.raises(ShapeError, match="to return ids for 1 results, got 0"):
            extract(lambda x: torch.logcumsumexp(x, 1), torch.randn(1, 3))
    finally:
        del rules._rules["aten::logcumsumexp"]


def test_sizes_are_estimated_and_refused():
    model = nn.Sequential(nn.Linear(100, 50), nn.ReLU(), nn.Linear(50, 10))
    x = torch.randn(1, 100)
    size = estimate(model, x)
    assert (size.nodes, size.edges) == (100 + 50 + 50 + 10, 5000 + 50 + 500)
    assert size.bytes > 20 * size.edges
    assert str(size).startswith("order 0: 210 nodes, 5,550 edges, about ")
    with pytest.raises(TooLargeError, match=r"max_edges=1,000 edges, got a model of order 0: 210 nodes, 5,550 edges"):
        extract(model, x, max_edges=1000)
    with pytest.raises(TooLargeError, match=r"5,550 edges.*order=2"):
        extract(model, x, max_edges=5549)
    assert extract(model, x, max_edges=5550).number_of_edges() == 5500


def test_order_two_has_a_node_per_module_call():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(3, 3), nn.Linear(3, 2)

        def forward(self, x):
            h = torch.relu(self.a(x))
            return self.b(self.a(h) + x)

    graph = extract(Model(), torch.randn(4, 3), order=2)
    assert graph.node_column("operation").tolist() == ["input", "Linear", "aten::relu", "Linear", "aten::add", "Linear"]
    assert graph.node_column("module").tolist() == ["", "a", "", "a", "", "b"]
    assert sorted(graph.edges) == [(0, 1), (0, 4), (1, 2), (2, 3), (3, 4), (4, 5)]
    assert graph.node_column("role").tolist() == ["input"] + ["hidden"] * 4 + ["output"]
    assert estimate(Model(), torch.randn(1, 3), order=2).nodes == 6


def test_attention_and_recurrence_have_the_right_structure(reach):
    encoder = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True, dropout=0.0).eval()
    for model, x in ((encoder, torch.randn(1, 3, 4)), (Last(nn.LSTM(2, 3, batch_first=True)), torch.randn(1, 3, 2))):
        graph = extract(model, x)
        assert graph.graph["exact"] == isinstance(model, Last)
        jacobian = torch.autograd.functional.jacobian(model, x)
        assert not ((jacobian.reshape(len(graph.graph["outputs"]), -1).numpy() != 0) & ~reach(graph)).any()


class Last(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x)[0]


def test_a_by_product_that_no_rule_describes_is_an_error():
    def model(x):
        normed, mean, _ = torch.native_layer_norm(x, [3], None, None, 1e-5)
        return normed + mean

    with pytest.raises(UnsupportedOperationError, match=r"got a by-product.*in aten::add"):
        extract(model, torch.randn(1, 3))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            lambda x: x.masked_fill(torch.tensor([True, False, False]), x[0, 0]),
            "constant value to fill in",
        ),
        (
            lambda x: F.embedding((x[0] > 0).long(), x.t()),
            "a constant weight or constant indices, got both depending on the input in aten::embedding",
        ),
        (
            lambda x: x.scatter_reduce(1, torch.tensor([[0]]).expand(len(x), 1), x, "amax"),
            'reduce="sum" with include_self=True, got another',
        ),
        (lambda x: F.rrelu(x, training=True), "slope of eval mode, got a random one"),
        (lambda x: torch.native_dropout(x, 0.5, True)[0], "dropout to be off in eval mode, got"),
        (lambda x: F.batch_norm(x, None, None, training=True), "recorded statistics, got statistics of the batch"),
    ],
)
def test_what_a_rule_cannot_follow_is_an_error(model, message):
    with pytest.raises(UnsupportedOperationError, match=message):
        extract(model, torch.randn(1, 3))


@pytest.mark.parametrize(
    ("function", "reduce"),
    [
        (lambda x: x[:, :1] / x[:, 1:2].exp(), "sum"),
        (lambda x: x[:, :2].pow(3).sum(1, keepdim=True).sqrt(), "sum"),
        (lambda x: x[:, :2].norm(dim=1, keepdim=True), "sum"),
        (lambda x: torch.lerp(x[:, :1], x[:, 1:2], x[:, :1]), "sum"),
        (lambda x: x[:, :2].std(1, keepdim=True), "sum"),
        (lambda x: F.gelu(x[:, :2], approximate="tanh").mean(1), "sum"),
    ],
)
def test_other_functions_have_the_right_structure_and_say_that_they_are_not_exact(reach, function, reduce):
    graph = extract(function, torch.rand(1, 3) + 0.5)
    assert reach(graph).tolist() == [[True, True, False]]
    assert not graph.graph["exact"]
    assert reduce in (graph.node_column("reduce").tolist() if graph.has_node_column("reduce") else ["sum"])


@pytest.mark.parametrize(
    ("function", "reduce"),
    [
        (lambda x: torch.maximum(x[:, :1], x[:, 1:2]), "max"),
        (lambda x: torch.minimum(x, x.flip(1)), "max"),
        (lambda x: torch.max(x, torch.tensor([0.5, -0.5, 0.1], dtype=x.dtype) + 0 * x), "max"),
        (lambda x: torch.max(x, torch.zeros_like(x)), "max"),
        (lambda x: x.amax(1, keepdim=True), "max"),
        (lambda x: x.amin(1), "max"),
        (lambda x: x.max(1, keepdim=True).values, "max"),
        (lambda x: x.min(1).values, "max"),
        (lambda x: F.pad(x, (1, 1), value=0.2).max(1).values, "max"),
        (lambda x: x[:, :1] * x[:, 1:2], "prod"),
        (lambda x: x * F.pad(x[:, :1], (1, 1), value=3), "prod"),
        (lambda x: x * x, "prod"),
        (lambda x: x**2, "prod"),
        (lambda x: (x + 1).square().mean(1), "prod"),
        (lambda x: (x - 1).prod(1, keepdim=True), "prod"),
        (lambda x: x.repeat(1, 2).prod(1), "prod"),
        (lambda x: F.pad(x, (1, 1), value=0.5).prod(1), "prod"),
        (lambda x: F.glu(x.repeat(1, 2)), "prod"),
        (lambda x: torch.addcmul(x, x, x.flip(1), value=2), "prod"),
        (lambda x: F.relu(x * torch.sigmoid(x)) + x * torch.relu(x.flip(1)), "prod"),
    ],
)
@pytest.mark.parametrize("fuse", [True, False])
def test_maxima_and_products_are_exact(evaluate, function, reduce, fuse):
    graph = extract(function, torch.randn(1, 3, dtype=torch.float64), fuse=fuse)
    x = torch.randn(5, 3, dtype=torch.float64)
    assert graph.graph["exact"]
    assert reduce in graph.node_column("reduce").tolist()
    assert np.allclose(evaluate(graph, x), function(x).numpy())


@pytest.mark.parametrize(
    "function",
    [
        lambda x: torch.zeros_like(x).scatter_add(1, torch.tensor([[2, 0, 2]]).expand(len(x), 3), x),
        lambda x: x.scatter_reduce(1, torch.tensor([[1, 1]]).expand(len(x), 2), x[:, 1:], "sum"),
        lambda x: torch.index_add(x, 1, torch.tensor([0, 0, 1]), x.flip(1), alpha=2),
        lambda x: torch.zeros_like(x).index_put_(
            (torch.arange(len(x))[:, None], torch.tensor([[0, 0, 2]])), x, accumulate=True
        ),
        lambda x: x.index_fill(1, torch.tensor([1]), 4.0) + x,
        lambda x: x.masked_scatter(torch.tensor([True, False, True]), torch.stack([x[:, 1], -x[:, 1]], 1)),
        lambda x: torch.einsum("bi,oi->bo", x, torch.arange(6, dtype=x.dtype).view(2, 3)),
        lambda x: torch.einsum("oi,bi->ob", torch.arange(6, dtype=x.dtype).view(2, 3), x).t(),
        lambda x: torch.einsum("bhi,hio->bho", x.view(-1, 3, 1), torch.arange(6, dtype=x.dtype).view(3, 1, 2)),
        lambda x: torch.matmul(torch.arange(6, dtype=x.dtype).view(2, 3), x[:, :, None])[..., 0],
        lambda x: F.instance_norm(torch.zeros_like(x)[:, :, None] + torch.arange(3.0, dtype=x.dtype)).mean(2) + x,
        lambda x: torch.lerp(x[:, :1], x[:, 1:], 0.3),
        lambda x: torch.addcmul(x, x, torch.tensor([2.0, -1.0, 0.5], dtype=x.dtype), value=3),
        lambda x: x.cumsum(1),
        lambda x: 1 - x,
        lambda x: torch.sub(x, x.flip(1), alpha=2),
        lambda x: x[:, None].tril()[:, 0] + torch.stack([x, -x], 1).sum(1) + x.repeat(1, 2)[:, 2:5],
        lambda x: torch.where(torch.tensor([True, False, True]), x, 2 * x).masked_fill(
            torch.tensor([True, True, False]), 3
        ),
        lambda x: x.index_select(1, torch.tensor([2, 2])) + x.gather(1, torch.tensor([[0, 1]]).expand(len(x), 2)),
        lambda x: torch.zeros_like(x).scatter_(1, torch.tensor([[2, 0, 1]]).expand(len(x), 3), x),
        lambda x: torch.addmm(x, x, torch.ones(3, 3, dtype=x.dtype), beta=2, alpha=0.5),
        lambda x: torch.stack([(torch.arange(3, dtype=x.dtype) @ row)[None] for row in x]),
        lambda x: torch.baddbmm(x[:, :, None], torch.ones(2, 3, 3, dtype=x.dtype)[: len(x)], x[:, :, None]),
        lambda x: torch.mv(x, torch.arange(3, dtype=x.dtype))[:, None],
        lambda x: torch.addmv(x[:, 0], x, torch.ones(3, dtype=x.dtype), alpha=2)[:, None],
    ],
)
def test_other_linear_operations_are_exact(evaluate, function):
    graph = extract(function, torch.randn(1, 3, dtype=torch.float64))
    x = torch.randn(2, 3, dtype=torch.float64)
    assert graph.graph["exact"]
    assert np.allclose(evaluate(graph, x), function(x).numpy())


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_scripted_models_are_followed():
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2), nn.ReLU(), nn.Linear(2, 1)).eval()
    x = torch.randn(2, 3)
    traced = torch.jit.trace(model, x)
    for scripted in (traced, torch.jit.freeze(traced)):
        assert extract(scripted, x).number_of_edges() == 8


def test_views_that_are_made_in_place():
    graph = extract(lambda x: (x * 1).unsqueeze_(1).transpose_(1, 2).contiguous()[:, [2, 0]], torch.randn(1, 3))
    assert sorted(graph.edges) == [(0, 3), (2, 4)]
    assert graph.output_positions().tolist() == [4, 3]


def test_a_view_with_elements_of_another_size_is_an_error():
    with pytest.raises(UnsupportedOperationError, match=r"elements of one size, got a view as torch.float16"):
        extract(lambda x: x.view(torch.float16) + 1, torch.randn(1, 2))
