"""Laws of extraction on random models: the function is carried, and the trace is honest."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F  # noqa: N812

from deepgraph.transform import estimate, extract

ACTIVATIONS = [
    F.relu,
    torch.tanh,
    torch.sigmoid,
    F.gelu,
    F.silu,
    F.elu,
    F.leaky_relu,
    F.celu,
    F.softplus,
    F.relu6,
    F.hardtanh,
    F.selu,
    F.hardsigmoid,
    F.logsigmoid,
    F.softshrink,
    lambda x: F.leaky_relu(x, 0.3),
    lambda x: F.elu(x, 0.5),
    lambda x: F.celu(x, 2.0),
    lambda x: F.softplus(x, 3.0),
    lambda x: x.clamp(min=-0.2),
    lambda x: x.clamp(max=0.4),
    lambda x: x.clamp_min(0.1),
    lambda x: F.prelu(x, torch.tensor(0.2, dtype=x.dtype).view(1)),
    torch.abs,
    lambda x: -x,
    lambda x: 1 - 2 * x / 3,
    lambda x: x + x,
]
STEPS = [
    "linear", "sparse", "activation", "residual", "cat", "fold", "flip", "norm", "slice", "write", "mean", "pad",
    "outer", "sum", "constant", "view_write", "keep", "product", "square", "extreme", "pool", "interpolate", "scatter",
]  # fmt: skip


class Random(nn.Module):
    """A random network on (B, width), built step by step from a seed."""

    def __init__(self, width, steps, seed):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.steps = []
        self.layers = nn.ModuleList()
        self.seed = seed
        for step in steps:
            choice = int(torch.randint(0, 10_000, (), generator=generator))
            layer = None
            if step in ("linear", "sparse"):
                out = 1 + choice % 5
                layer = nn.Linear(width, out, bias=choice % 3 > 0)
                nn.init.normal_(layer.weight, generator=generator)
                if step == "sparse":
                    layer.weight.data[torch.rand(layer.weight.shape, generator=generator) < 0.5] = 0
                width = out
            elif step == "norm":
                layer = nn.BatchNorm1d(width)
                layer.running_mean.normal_(generator=generator)
                layer.running_var.uniform_(0.5, 2, generator=generator)
                nn.init.normal_(layer.weight, generator=generator)
            elif step == "cat":
                width = 2 * width
            elif step == "slice":
                width = max(1, width // 2)
            elif step == "pad":
                width = width + 2
            elif step in ("mean", "sum"):
                width = 1
            elif step in ("outer", "interpolate"):
                width = width * 2
            elif step == "pool":
                width = width + 1
            self.steps.append((step, choice, layer is not None))
            if layer is not None:
                self.layers.append(layer)
        self.kept = None
        self.double()

    def forward(self, x):
        layers = iter(self.layers)
        kept = x
        for step, choice, has_layer in self.steps:
            layer = next(layers) if has_layer else None
            if layer is not None:
                x = layer(x)
            elif step == "activation":
                x = ACTIVATIONS[choice % len(ACTIVATIONS)](x)
            elif step == "residual":
                x = F.relu(x) + x
            elif step == "keep":
                x, kept = x + kept if x.shape == kept.shape else x, x
            elif step == "cat":
                x = torch.cat([x, torch.tanh(x)], dim=1)
            elif step == "fold":
                x = x.unsqueeze(1).expand(-1, 2, -1).transpose(1, 2).reshape(len(x), -1)[:, ::2].contiguous()
            elif step == "flip":
                x = x.flip(1).roll(1, 1)
            elif step == "slice":
                x = x[:, : max(1, x.shape[1] // 2)]
            elif step == "write":
                x = x.clone()
                x[:, 0] = x[:, -1] * 2
                x.add_(1)
            elif step == "view_write":
                y = torch.zeros_like(x)
                y[:, ::2] = x[:, ::2]
                x = y
            elif step == "mean":
                x = x.mean(1, keepdim=True)
            elif step == "sum":
                x = x.sum(1, keepdim=True)
            elif step == "pad":
                x = F.pad(x, (1, 1), value=0.5)
            elif step == "outer":
                x = torch.einsum("bi,j->bij", x, torch.tensor([1.0, -2.0], dtype=x.dtype)).flatten(1)
            elif step == "product":
                x = torch.tanh(x) * (x if choice % 2 else F.pad(x[:, 1:], (0, 1), value=0.5))
            elif step == "square":
                x = torch.tanh(x) ** 2 - x
            elif step == "extreme":
                x = torch.maximum(x, x.flip(1)) if choice % 2 else torch.minimum(x, F.pad(x[:, 1:], (1, 0), value=-0.1))
            elif step == "pool":
                x = F.max_pool1d(x[:, None], 2, 1, 1)[:, 0]
            elif step == "interpolate":
                x = F.interpolate(x[:, None], scale_factor=2, mode="linear", align_corners=bool(choice % 2))[:, 0]
            elif step == "scatter":
                x = x.index_add(1, torch.arange(x.shape[1]) * choice % x.shape[1], x, alpha=0.5)
            elif step == "constant":
                x = torch.matmul(x, torch.eye(x.shape[1], dtype=x.dtype).cumsum(0)) / 2
        return x


models = st.builds(
    Random,
    width=st.integers(1, 4),
    steps=st.lists(st.sampled_from(STEPS), min_size=1, max_size=8),
    seed=st.integers(0, 10_000),
)


def sample(*shape):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(len(shape) + shape[0]))


def width_of(model):
    for width in range(1, 5):
        try:
            model.eval()(torch.zeros(2, width, dtype=torch.float64))
        except RuntimeError:
            continue
        else:
            return width
    raise AssertionError("no width fits")


@given(model=models, fuse=st.booleans())
@settings(max_examples=400, deadline=None)
def test_the_graph_computes_what_the_model_computes(evaluate, model, fuse):
    width = width_of(model)
    graph = extract(model, sample(1, width), fuse=fuse)
    x = sample(5, width)
    expected = model.eval()(x).detach().numpy()
    assert graph.graph["exact"]
    assert np.allclose(evaluate(graph, x), expected, rtol=1e-9, atol=1e-9 * max(1, np.abs(expected).max()))


@given(model=models, fuse=st.booleans())
@settings(max_examples=200, deadline=None)
def test_the_support_of_the_jacobian_lies_inside_reachability(reach, model, fuse):
    width = width_of(model)
    x = sample(1, width)
    graph = extract(model, x, fuse=fuse)
    jacobian = torch.autograd.functional.jacobian(model.eval(), x)[0, :, 0].numpy()
    assert not np.any((jacobian != 0) & ~reach(graph))


@given(
    seed=st.integers(0, 10_000),
    steps=st.lists(st.sampled_from(["linear", "sparse", "smooth", "cat", "keep"]), max_size=6),
)
@settings(max_examples=60, deadline=None)
def test_reachability_equals_the_support_of_the_jacobian_of_smooth_models(reach, seed, steps):
    class Smooth(Random):
        def forward(self, x):
            layers = iter(self.layers)
            kept = x
            for step, _, has_layer in self.steps:
                x = next(layers)(x) if has_layer else x
                if step == "smooth":
                    x = torch.tanh(x)
                elif step == "cat":
                    x = torch.cat([x, torch.sigmoid(x)], dim=1)
                elif step == "keep":
                    x, kept = x + 0.7 * kept if x.shape == kept.shape else x, x
            return x

    model = Smooth(3, steps, seed)
    for layer in model.layers:
        # tanh must not saturate: where it rounds to 1 its derivative is 0 in floating point.
        layer.weight.data *= 0.1
    x = sample(1, 3)
    jacobian = torch.autograd.functional.jacobian(model.eval(), x)[0, :, 0].numpy()
    assert np.array_equal(jacobian != 0, reach(extract(model, x)))


@given(model=models)
@settings(max_examples=40, deadline=None)
def test_the_estimate_bounds_the_graph(model):
    x = sample(1, width_of(model))
    size = estimate(model, x)
    graph = extract(model, x, fuse=False)
    assert graph.number_of_edges() <= size.edges
    assert len(graph) <= size.nodes


def test_relu_of_x_plus_x_has_two_paths(evaluate):
    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(3, 3)

        def forward(self, x):
            x = self.linear(x)
            return F.relu(x) + x

    model = Residual()
    graph = extract(model, torch.randn(1, 3))
    assert len(graph) == 12
    assert sorted(graph.node_column("activation").tolist()).count("relu") == 3
    x = torch.randn(4, 3)
    assert np.allclose(evaluate(graph, x), model(x).detach().numpy(), atol=1e-6)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_is_exact_over_its_range(evaluate, activation):
    x = torch.linspace(-8, 8, 161, dtype=torch.float64)[:, None]
    graph = extract(activation, x[:1])
    assert np.allclose(evaluate(graph, x), activation(x).numpy(), atol=1e-8)
